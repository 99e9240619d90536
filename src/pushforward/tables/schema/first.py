"""Chooses a column's first transform: the one that makes the column likeliest under its own Gaussian.

A candidate f is scored by the Gaussian log-likelihood of f(x), converted to the units of x by the mean log-slope of
f; constants common to all are omitted. Without bounds, a column is left alone unless log x or arsinh x gains at least
``GAIN`` nats a row. Bounds require a transform that ends there: logit between two, log or inverse softplus above one.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .columns import Column

GAIN = 0.1  # nats a row that a first transform must gain if none is required

Scored = tuple[float, tuple[str, float, float]]  # nats a row; name, loc and scale


def choose_first(column: Column, x: np.ndarray) -> Column:
    """The column with its first transform.

    Args:
        column: The column with its cells and bounds.
        x: Its values, each in the middle of its cell.
    """
    if column.bounds is None:
        alone = float(-np.log(x.std()))
        gain, best = max([*_logarithm(column, x), _arsinh(x)])
        if gain - alone < GAIN:
            return column
    elif column.bounds[1] is None:
        loc = _outward(lowest_edge(column, column.bounds[0]), -np.inf)
        _, best = max(_log(x, loc), _inverse_softplus(x, loc))
    else:
        loc = _outward(lowest_edge(column, column.bounds[0]), -np.inf)
        best = ("logit", loc, _outward(highest_edge(column, column.bounds[1]) - loc, np.inf))
    first, loc, scale = best
    return dataclasses.replace(column, first=first, loc=float(loc), scale=float(scale))


def _log(x: np.ndarray, loc: float) -> Scored:
    y = np.log(x - loc)
    return float(-np.log(y.std()) - y.mean()), ("log", loc, 1.0)


def _arsinh(x: np.ndarray) -> Scored:
    quarter, middle, three_quarters = np.quantile(x, [0.25, 0.5, 0.75])
    scale = max(three_quarters - quarter, 1e-3 * x.std())
    u = (x - middle) / scale
    slope = -0.5 * np.log1p(u * u).mean() - np.log(scale)
    return float(-np.log(np.arcsinh(u).std()) + slope), ("asinh", middle, scale)


def _inverse_softplus(x: np.ndarray, loc: float) -> Scored:
    scale = float(np.float32(x.std()))
    u = (x - loc) / scale
    y = u + np.log(-np.expm1(-u))
    slope = np.logaddexp(0.0, -y).mean() - np.log(scale)
    return float(-np.log(y.std()) + slope), ("softplus", loc, scale)


def _logarithm(column: Column, x: np.ndarray) -> list[Scored]:
    """The logarithm, if it can start: at 0 for positive columns, one cell below 0 for columns that begin at 0."""
    if lowest_edge(column, column.minimum) > 0:
        return [_log(x, 0.0)]
    if column.minimum < 0:
        return []
    if column.step > 0:
        return [_log(x, -column.step)]
    return [_log(x, low * 2) for value, low, _ in column.atoms if value == 0]


def lowest_edge(column: Column, low: float) -> float:
    """The lower end of the cells of values down to ``low``."""
    low = min([low, *(value + below for value, below, _ in column.atoms if value <= max(low, column.minimum))])
    return low - 0.5 * column.step


def highest_edge(column: Column, high: float) -> float:
    ends = [value + below + width for value, below, width in column.atoms if value >= min(high, column.maximum)]
    high = max([high, *ends])
    return high + 0.5 * column.step


def _outward(value: float, towards: float) -> float:
    """The nearest float32 beyond a value: flows keep their constants in float32."""
    near = np.float32(value)
    beyond = near >= value if towards > 0 else near <= value
    return float(near if beyond else np.nextafter(near, np.float32(towards)))
