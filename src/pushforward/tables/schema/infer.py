"""Learns a column's description from its training rows: grid, atom, bounds, and the first transform it needs.

Each choice is made only if the data call for it, and is recorded in the schema for everyone to read:

- *values*: few of them, each occurring many times: they have a probability each, like categories;
- *grid*: all values are whole multiples of a step, and most of them occur more than once;
- *atoms*: values that stand out in a column without a grid: zeros, amounts that are asked for again and again, weekly
  wages over whole hours; or all values, if there are no more than 2,000, three times each;
- *bounds*: stated by the user, or all values lie in (0, 1) and come near both ends, or none is negative;
- *first transform*: see ``first.py``.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ...errors import InputError
from .columns import Column, refuse_outside
from .first import choose_first

ATOM, HEAP = 0.02, 0.003  # shares of rows that make a value an atom: always, and if it has room
HEAPED, ROOM = 10, 1e-5  # rows of such a value, and standard deviations to the next one
MOST_ATOMS = 100  # in a column that also has other values
QUANTILES = 33
FILL = 17  # quantiles between which missing values are drawn
LARGEST = 1e30  # flows compute in float32, whose numbers end at 3e38; squares of differences must fit in float64
FEW, SOME = 12, 60  # distinct values that have a probability each: always, and if they lie on no scale
TILES, REPEATED = 2000, 3  # distinct values on no scale, and rows of each on average, if no others are possible
FAR = 10.0  # standard deviations from 0 that make a bound there unnecessary

Bounds = tuple[float, float | None]  # an open interval; None for no upper end


def few_values(x: np.ndarray) -> bool:
    """Whether numbers are so few, and each so frequent, that each is better given a probability."""
    unique = np.unique(x)
    if len(unique) <= FEW:
        return 2 * len(unique) <= len(x)
    if len(unique) > SOME or 10 * len(unique) > len(x):
        return False
    gaps = np.sort(np.diff(unique))
    common = np.isclose(gaps, gaps[:, None], rtol=1e-6).sum(0).max()
    return bool(common < 0.5 * len(gaps))


def learn_column(
    name: str,
    x: np.ndarray,
    source: str,
    bounds: Bounds | None = None,
    period: tuple[float, float] | None = None,
    *,
    float32: bool = False,
    dtype: str = "",
    form: str = "",
) -> Column:
    """Describes one column from its values.

    Args:
        name: The column's name.
        x: Its values, float64; NaN for missing ones.
        source: The file's name, for error messages.
        bounds: The open interval of the values, as stated by the user.
        period: The beginning and end of a circular column's period, as stated by the user.
        float32: Whether the values passed through float32, which blurs grids.
        dtype: Their type in the table, as in :class:`Column`.
        form: The format of text dates and times.

    Raises:
        InputError: the column is constant, or a value lies outside the stated bounds.
    """
    rows = np.flatnonzero(~np.isnan(x))
    holes, x = 1 - len(rows) / len(x), x[rows]
    if period is not None:
        x = np.where(x == period[1], period[0], x)  # the same point of the circle
    lowest, highest = float(x.min()), float(x.max())
    if lowest == highest:
        raise InputError(
            f"{source}: column {name!r} is constant ({lowest:g} in every row), so it has no density; "
            "leave it out with `columns=`"
        )
    column = Column(
        name,
        minimum=lowest,
        maximum=highest,
        quantiles=tuple(np.quantile(x, np.linspace(0, 1, QUANTILES), method="nearest").tolist()),
        integer=bool((x == np.round(x)).all()),
        dtype=dtype,
        form=form,
        holes=holes,
    )
    column = _find_cells(column, x, float32)
    if period is not None:
        column = _on_circle(column, x, source, period, rows)
        return dataclasses.replace(column, fill=tuple(np.clip(_fill(column, x), *column.window)))
    column = _set_bounds(column, x, source, bounds, rows)
    column = choose_first(column, _middles(column, x))
    return dataclasses.replace(column, fill=_fill(column, x))


def _fill(column: Column, x: np.ndarray) -> tuple[float, ...]:
    """Quantiles of the values spread over their cells, strictly increasing."""
    u = np.random.default_rng(0).random(len(x))
    low, width = np.full(len(x), -0.5 * column.step), np.full(len(x), column.step)
    for value, below, wide in column.atoms:
        low, width = np.where(x == value, below, low), np.where(x == value, wide, width)
    ends = np.quantile(x + low + width * u, np.linspace(0, 1, FILL))
    least = 1e-3 * max(float(ends[-1] - ends[0]), 1e-6 * float(np.abs(ends).max())) / FILL
    return tuple((np.maximum.accumulate(ends - least * np.arange(FILL)) + least * np.arange(FILL)).tolist())


def _find_cells(column: Column, x: np.ndarray, float32: bool) -> Column:
    unique, counts = np.unique(x, return_counts=True)
    step, decimals = _grid(unique, float32) if column.integer or len(unique) <= 0.5 * len(x) else (0.0, 0)
    if step:
        kind = "integer" if column.integer else "rounded"
        return dataclasses.replace(column, kind=kind, step=step, origin=float(unique[0]), decimals=decimals)
    if REPEATED * len(unique) <= len(x) and len(unique) <= TILES:
        return dataclasses.replace(column, kind="inflated", atoms=_tiles(unique))
    often = _often(unique, counts, float(x.std()))
    if not len(often) or len(unique) < 3:
        return column
    atoms = tuple(_atom(unique, int(place), float(x.std())) for place in often)
    return dataclasses.replace(column, kind="inflated", atoms=atoms)


def _often(unique: np.ndarray, counts: np.ndarray, spread: float) -> np.ndarray:
    """Indices of the values that stand out, at most the ``MOST_ATOMS`` commonest."""
    rows, gaps = counts.sum(), np.diff(unique)
    room = np.minimum(np.append(gaps, np.inf), np.append(np.inf, gaps)) >= ROOM * spread
    always = (counts >= ATOM * rows) & (counts >= 5)
    places = np.flatnonzero(always | (room & (counts >= HEAP * rows) & (counts >= HEAPED)))
    return np.sort(places[np.argsort(-counts[places], kind="stable")[:MOST_ATOMS]])


def _grid(unique: np.ndarray, float32: bool) -> tuple[float, int]:
    """The largest step that explains every value, and the decimals to write; (0, 0) if there is none."""
    gaps = unique - unique[0]
    blur = (6e-8 if float32 else 1e-15) * np.abs(unique).max() * 4
    for decimals in range(7):
        scaled = gaps * 10.0**decimals
        if np.abs(scaled - np.round(scaled)).max() <= max(blur * 10.0**decimals, 1e-9) < 0.1:
            step = int(np.gcd.reduce(np.round(scaled).astype(np.int64))) / 10.0**decimals
            return step, _decimals(unique[0], max(decimals, 0), float32)
    return 0.0, 0


def _decimals(origin: float, decimals: int, float32: bool) -> int:
    """The number of decimals that can represent both the step and the grid's origin."""
    for more in range(decimals, 10):
        if abs(round(origin, more) - origin) <= (1e-6 if float32 else 1e-12) * max(abs(origin), 1.0):
            return more
    return 10


def _atom(unique: np.ndarray, place: int, spread: float) -> tuple[float, float, float]:
    """The cell of an atom: beyond the other values if it is at an end of the range, narrow if it lies among them."""
    value = float(unique[place])
    if place == 0:
        return value, -0.1 * spread, 0.1 * spread
    if place == len(unique) - 1:
        return value, 0.0, 0.1 * spread
    width = min(0.02 * spread, float(np.diff(unique[place - 1 : place + 2]).min()))
    return value, -0.5 * width, width


def _tiles(unique: np.ndarray) -> tuple[tuple[float, float, float], ...]:
    """Cells of listed values that meet half-way between neighbours."""
    half = 0.5 * np.diff(unique)
    low, high = np.array([half[0], *half]), np.array([*half, half[-1]])
    return tuple(zip(unique.tolist(), (-low).tolist(), (low + high).tolist(), strict=True))


def _set_bounds(column: Column, x: np.ndarray, source: str, bounds: Bounds | None, rows: np.ndarray) -> Column:
    if bounds is None:
        return _own_bounds(column, x)
    low, high = bounds[0], math.inf if bounds[1] is None else bounds[1]
    closed = column.step > 0  # a cell leaves room beside a value on a bound
    outside = np.flatnonzero((x < low) | (x > high) if closed else (x <= low) | (x >= high))
    outside = outside[~np.isin(x[outside], [value for value, _, _ in column.atoms])]
    if len(outside):
        value, row = x[outside[0]], rows[outside[0]] + 1
        where = "on its bound" if value in bounds else "outside its bounds"
        raise InputError(
            f"{source}: column {column.name!r}, row {row}: {value:g} lies {where} {low:g} and {high:g}; "
            "give it wider `bounds=`"
        )
    return dataclasses.replace(column, bounds=(float(low), None if bounds[1] is None else float(high)))


def _on_circle(column: Column, x: np.ndarray, source: str, period: tuple[float, float], rows: np.ndarray) -> Column:
    """A column with a period; its grid counts only if it fits the period, and values that stand out are ignored."""
    column = dataclasses.replace(column, period=period)
    refuse_outside(column, x, source, rows)
    turns = (period[1] - period[0]) / column.step if column.step else 0.5
    away = (column.origin - period[0]) / column.step if column.step else 0.5
    if max(abs(turns - round(turns)), abs(away - round(away))) > 1e-6:
        return dataclasses.replace(column, kind="continuous", step=0.0, origin=0.0, decimals=0, atoms=())
    return column


def _own_bounds(column: Column, x: np.ndarray) -> Column:
    """Bounds if none are given: shares lie between 0 and 1, and what is never negative stays so."""
    near_both = ((x < 0.01).mean() >= 0.005) and ((x > 0.99).mean() >= 0.005)
    if near_both and column.minimum > 0 and column.maximum < 1 and not column.has_cells:
        return dataclasses.replace(column, bounds=(0.0, 1.0))
    if column.minimum < 0 or column.minimum > FAR * x.std() or column.dtype in ("Date", "Datetime"):
        return column
    if column.minimum == 0 and not column.step and not any(value == 0 for value, _, _ in column.atoms):
        atom = _atom(np.unique(x), 0, float(x.std()))
        column = dataclasses.replace(column, kind="inflated", atoms=(atom, *column.atoms))
    return dataclasses.replace(column, bounds=(0.0, None))


def _middles(column: Column, x: np.ndarray) -> np.ndarray:
    """The middle of each value's cell, which represents the value when first transforms are compared."""
    for value, low, width in column.atoms:
        x = np.where(x == value, value + low + 0.5 * width, x)
    return x
