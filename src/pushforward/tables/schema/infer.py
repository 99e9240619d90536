"""Learns a column's description from its training rows: grid, atom, bounds, and the first transform it needs.

Each choice is made only where the data ask for it, and is written in the schema for everybody to read:

- *grid*: all values are whole multiples of a step, and most of them occur more than once;
- *atoms*: values that make up a fiftieth of the rows each, in a column that has no grid ("zero-inflated");
- *bounds*: stated by the user, or all values lie in (0, 1) and come near both ends;
- *first transform*: see ``first.py``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import polars as pl

from ..errors import InputError, listed
from .categories import learn_category, learn_given
from .columns import Column
from .first import choose_first
from .numbers import holds_names, to_numbers
from .schema import Schema

ATOM = 0.02  # share of rows that makes a value an atom
QUANTILES = 33
LARGEST = 1e30  # flows compute in float32, whose numbers end at 3e38; squares of differences must fit in float64
FLAT = 1e-11  # least eigenvalue of a correlation matrix that rounding in float64 does not explain

Bounds = tuple[float, float | None]  # an open interval; None for no upper end


def learn_schema(
    frame: pl.DataFrame,
    names: Sequence[str],
    given: Sequence[str],
    source: str,
    bounds: Mapping[str, Bounds] | None = None,
    categories: Collection[str] = (),
) -> Schema:
    """The schema of a table's training rows, in which nothing may be missing.

    Args:
        frame: The rows.
        names: The columns to model.
        given: The columns to condition on.
        source: The file's name, for the errors.
        bounds: Open intervals that the user says columns lie in.
        categories: Columns that are modelled as categories though they may hold numbers; text always is.

    Raises:
        InputError: a column is constant, follows from others, or leaves its stated bounds.
    """
    bounds = bounds or {}

    def learn(column: pl.Series) -> Column:
        if column.name in categories or holds_names(column):
            return learn_category(column, source)
        values = to_numbers(frame, [column.name])[:, 0]
        return learn_column(column.name, values, source, bounds.get(column.name), float32=column.dtype == pl.Float32)

    schema = Schema(tuple(learn(frame[name]) for name in names), learn_given(frame, given, source, categories))
    _refuse_relations(to_numbers(frame, schema.numeric.names), schema.numeric.columns, source)
    return schema


def learn_column(
    name: str, x: np.ndarray, source: str, bounds: Bounds | None = None, *, float32: bool = False
) -> Column:
    """Describes one column from its values.

    Args:
        name: The column's name.
        x: Its values, float64, finite.
        source: The file's name, for the errors.
        bounds: The open interval that the user says the values lie in.
        float32: Whether the values went through float32, which blurs grids.

    Raises:
        InputError: the column is constant, or a value lies outside the stated bounds.
    """
    lowest, highest = float(x.min()), float(x.max())
    if max(-lowest, highest) > LARGEST or 0 < highest - lowest < 1 / LARGEST:
        raise InputError(
            f"{source}: column {name!r} runs from {lowest:g} to {highest:g}, outside of what single precision holds; "
            "change its units"
        )
    if lowest == highest:
        raise InputError(
            f"{source}: column {name!r} is constant ({lowest:g} in every row), so it has no density; "
            "leave it out with --columns"
        )
    column = Column(
        name,
        minimum=lowest,
        maximum=highest,
        quantiles=tuple(np.quantile(x, np.linspace(0, 1, QUANTILES), method="nearest").tolist()),
        integer=bool((x == np.round(x)).all()),
    )
    column = _find_cells(column, x, float32)
    column = _set_bounds(column, x, source, bounds)
    return choose_first(column, _middles(column, x))


def _find_cells(column: Column, x: np.ndarray, float32: bool) -> Column:
    unique, counts = np.unique(x, return_counts=True)
    step, decimals = _grid(unique, float32) if column.integer or len(unique) <= 0.5 * len(x) else (0.0, 0)
    if step:
        kind = "integer" if column.integer else "rounded"
        return dataclasses.replace(column, kind=kind, step=step, origin=float(unique[0]), decimals=decimals)
    often = np.flatnonzero((counts >= ATOM * len(x)) & (counts >= 5))
    if not len(often) or len(unique) < 3:
        return column
    atoms = tuple(_atom(unique, int(place), float(x.std())) for place in often)
    return dataclasses.replace(column, kind="inflated", atoms=atoms)


def _grid(unique: np.ndarray, float32: bool) -> tuple[float, int]:
    """The largest step that explains every value, and the decimals to write; (0, 0) where there is none."""
    gaps = unique - unique[0]
    blur = (6e-8 if float32 else 1e-15) * np.abs(unique).max() * 4
    for decimals in range(7):
        scaled = gaps * 10.0**decimals
        if np.abs(scaled - np.round(scaled)).max() <= max(blur * 10.0**decimals, 1e-9) < 0.1:
            step = int(np.gcd.reduce(np.round(scaled).astype(np.int64))) / 10.0**decimals
            return step, _decimals(unique[0], max(decimals, 0), float32)
    return 0.0, 0


def _decimals(origin: float, decimals: int, float32: bool) -> int:
    """Decimals that write both the step and the grid's origin."""
    for more in range(decimals, 10):
        if abs(round(origin, more) - origin) <= (1e-6 if float32 else 1e-12) * max(abs(origin), 1.0):
            return more
    return 10


def _atom(unique: np.ndarray, place: int, spread: float) -> tuple[float, float, float]:
    """The cell of an atom: outside the other values at an end of the range, narrow where it stands among them."""
    value = float(unique[place])
    if place == 0:
        return value, -0.1 * spread, 0.1 * spread
    if place == len(unique) - 1:
        return value, 0.0, 0.1 * spread
    width = min(0.02 * spread, float(np.diff(unique[place - 1 : place + 2]).min()))
    return value, -0.5 * width, width


def _set_bounds(column: Column, x: np.ndarray, source: str, bounds: Bounds | None) -> Column:
    if bounds is None:
        near_both = ((x < 0.01).mean() >= 0.005) and ((x > 0.99).mean() >= 0.005)
        inside = column.minimum > 0 and column.maximum < 1
        return (
            dataclasses.replace(column, bounds=(0.0, 1.0)) if near_both and inside and not column.has_cells else column
        )
    low, high = bounds[0], math.inf if bounds[1] is None else bounds[1]
    closed = column.step > 0  # a cell has room beside the value on a bound
    outside = np.flatnonzero((x < low) | (x > high) if closed else (x <= low) | (x >= high))
    outside = outside[~np.isin(x[outside], [value for value, _, _ in column.atoms])]
    if len(outside):
        value, row = x[outside[0]], outside[0] + 1
        where = "on its bound" if value in bounds else "outside its bounds"
        raise InputError(
            f"{source}: column {column.name!r}, row {row}: {value:g} lies {where} {low:g} and {high:g}; "
            f"widen them with --bounds {column.name}=LOW,HIGH"
        )
    return dataclasses.replace(column, bounds=(float(low), None if bounds[1] is None else float(high)))


def _middles(column: Column, x: np.ndarray) -> np.ndarray:
    """The middle of each value's cell: what stands for the value when first transforms are compared."""
    for value, low, width in column.atoms:
        x = np.where(x == value, value + low + 0.5 * width, x)
    return x


def _refuse_relations(values: np.ndarray, columns: tuple[Column, ...], source: str) -> None:
    """Refuses continuous columns that lie on a line or a plane: the density on it would be infinite."""
    smooth = [j for j, column in enumerate(columns) if not column.has_cells]
    if len(smooth) < 2:
        return
    smallest, direction = (part[..., 0] for part in np.linalg.eigh(np.corrcoef(values[:, smooth], rowvar=False)))
    if smallest > FLAT:
        return
    names = [columns[j].name for j, weight in zip(smooth, direction, strict=True) if abs(weight) > 0.01]
    raise InputError(
        f"{source}: columns {listed(names)} determine each other (a sum of multiples of them is constant), so together "
        "they have no density; leave one of them out with --columns"
    )
