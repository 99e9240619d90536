"""Cells that may know only a part of a number: an interval in which it lies, or a measurement with its error.

They are structs of ``low``, ``high``, ``above`` and ``below`` (whether the ends are excluded), and ``error``; the ends
of a number that is known exactly, or was measured, are equal. A text cell such as ``<0.1`` stands for such a struct.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import polars as pl

from ...numerics.partly_known import between, measured
from .kinds.base import Bounds, Numbers
from .numbers import as_numbers

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
SIGNED = re.compile(rf"\s*(<=|>=|<|>|≤|≥)\s*({NUMBER})\s*")
RANGE = re.compile(rf"\s*({NUMBER})\s*(?:-|\u2013|to)\s*({NUMBER})\s*")
OPEN = re.compile(rf"\s*({NUMBER})\s*\+\s*")
BRACKETS = re.compile(rf"\s*([\[(])\s*({NUMBER}|-\s*[Ii]nf|)\s*[,;]\s*({NUMBER}|\+?[Ii]nf|)\s*([\])])\s*")
EMPTY = {"low": np.nan, "high": np.nan, "above": False, "below": False, "error": 0.0}
ON_GRID = 1e-6  # of a step
ENOUGH = 20  # exact numbers that tell how a column is written

Ends = tuple[float, float, bool, bool]  # low, high, and whether they are excluded


def cells(low: Any, high: Any, above: Any = False, below: Any = False, error: Any = 0.0) -> pl.Series:
    """A series of structs; null where an end is NaN, or both are infinite."""
    low, high, above, below, error = np.broadcast_arrays(low, high, above, below, error)
    frame = pl.DataFrame({"low": low, "high": high, "above": above, "below": below, "error": error})
    known = ~(np.isnan(low) | np.isnan(high) | (np.isinf(low) & np.isinf(high)))
    return frame.select(pl.when(pl.Series(known)).then(pl.struct(pl.all()))).to_series()


def points_of(column: pl.Series) -> Numbers:
    """The numbers of structs that are known exactly, or were measured; NaN elsewhere."""
    low, high = (column.struct.field(name).fill_null(np.nan).to_numpy() for name in ("low", "high"))
    return np.where(low == high, low, np.nan)


def typical_of(column: pl.Series) -> tuple[pl.Series, bool]:
    """Numbers that are typical of cells: those that are known exactly, if they are enough; or else one for each, which
    says nothing about how numbers are written."""
    points, there = points_of(column), column.is_not_null().to_numpy()
    if np.isfinite(points).sum() >= ENOUGH:
        return pl.Series(points, nan_to_null=True), True
    low, high = (column.struct.field(name).fill_null(np.nan).to_numpy() for name in ("low", "high"))
    with np.errstate(invalid="ignore"):
        middle = np.where(np.isinf(high), low, np.where(np.isinf(low), high, 0.5 * low + 0.5 * high))
    return pl.Series(np.where(there, middle, np.nan), nan_to_null=True), False


def encoded(column: pl.Series, step: float, origin: float, bounds: Bounds | None) -> Numbers:
    """Structs as encoded numbers, for a column with these cells and bounds; see ``numerics/partly_known.py``."""
    low, high, above, below, error = (
        column.struct.field(name).fill_null(empty).to_numpy() for name, empty in EMPTY.items()
    )
    point = (low == high) & (error == 0)
    bottom, top = (-np.inf, None) if bounds is None else bounds
    first = np.maximum(_edge(low, above, step, origin), bottom - 0.5 * step)
    last = np.minimum(-_edge(-high, below, step, -origin), np.inf if top is None else top + 0.5 * step)
    found = np.where(point, low, between(_or(first, -np.inf), _or(last, np.inf)))
    return np.where(error > 0, measured(_or(low, 0.0), error), found)


def _or(x: Numbers, empty: float) -> Numbers:
    return np.where(np.isnan(x), empty, x)


def _edge(low: Numbers, excluded: np.ndarray, step: float, origin: float) -> Numbers:
    """The lower edge of the first cell that is not below a limit."""
    if not step:
        return low
    place = np.where(np.isfinite(low), low - origin, 0.0) / step
    on = np.abs(place - np.round(place)) < ON_GRID
    first = np.where(on, np.round(place) + excluded, np.ceil(place))
    return np.where(np.isfinite(low), origin + (first - 0.5) * step, low)


def parsed(column: pl.Series) -> pl.Series:
    """Text cells as structs; null for those that are neither numbers nor intervals."""
    if column.dtype == pl.Struct:
        return column
    plain = as_numbers(column)
    low, high = plain.copy(), plain.copy()
    above, below = np.zeros(len(plain), bool), np.zeros(len(plain), bool)
    if column.dtype == pl.String:
        for text in column.filter(pl.Series(np.isnan(plain))).drop_nulls().unique().to_list():
            if (ends := interval(text)) is not None:
                rows = (column == text).fill_null(False).to_numpy()
                low[rows], high[rows], above[rows], below[rows] = ends
    return cells(low, high, above, below)


def interval(text: str) -> Ends | None:
    """The interval that a cell's text stands for, if it is one: ``<0.1``, ``>= 5``, ``10-20``, ``85+``, ``[1, 2)``."""
    if found := SIGNED.fullmatch(text):
        sign, number = found[1], float(found[2])
        upper = sign in ("<", "<=", "≤")
        return (-np.inf, number, False, sign == "<") if upper else (number, np.inf, sign == ">", False)
    if found := OPEN.fullmatch(text):
        return float(found[1]), np.inf, False, False
    if found := RANGE.fullmatch(text):
        low, high = float(found[1]), float(found[2])
        return (low, high, False, False) if low < high else None
    if found := BRACKETS.fullmatch(text):
        low, high = (
            float(end.replace(" ", "")) if end else sign * np.inf for end, sign in ((found[2], -1), (found[3], 1))
        )
        return (low, high, found[1] == "(", found[4] == ")") if low < high else None
    return None


def holds_intervals(column: pl.Series, most: int) -> bool:
    """Whether text cells are numbers, more than ``most`` different ones, but for intervals."""
    plain = as_numbers(column)
    rest = column.filter(pl.Series(np.isnan(plain))).drop_nulls().unique().to_list()
    if not rest or len(np.unique(plain[~np.isnan(plain)])) <= most:
        return False
    return all(interval(text) is not None for text in rest)


def recorded(column: pl.Series, text: pl.Series) -> tuple[tuple[float | None, float | None, str], ...]:
    """The intervals that no other cell overlaps, so that what lies in them is recorded so: ends and text of each."""
    some = pl.DataFrame({"cell": column, "text": text}).drop_nulls()
    low, high = (some["cell"].struct.field(name).to_numpy() for name in ("low", "high"))
    low = np.where(some["cell"].struct.field("above").to_numpy(), np.nextafter(low, np.inf), low)
    high = np.where(some["cell"].struct.field("below").to_numpy(), np.nextafter(high, -np.inf), high)
    wide = sorted({(a, b, t) for a, b, t in zip(low, high, some["text"], strict=True) if a < b})
    return tuple(
        (None if np.isinf(a) else float(a), None if np.isinf(b) else float(b), t)
        for a, b, t in wide
        if not np.any((low <= b) & (high >= a) & ((low != a) | (high != b)))
        and sum((c, d) == (a, b) for c, d, _ in wide) == 1
    )
