"""Values on a grid: whole and rounded numbers, and dates that are all the first days of months, or all the last."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import polars as pl

from .base import Hints, Numbers
from .numeric import Numeric, present

REMARK = "integer, rounded and inflated values are cells: their density is the average over the cell"
FEWEST = 3  # different dates that tell
HALF = 15.5 * 86_400e6  # of a month, in microseconds


@dataclass(frozen=True, kw_only=True)
class Grid(Numeric):
    """Numbers that are multiples of a step away from each other; most of them occur more than once, or all are whole.

    Args:
        step: Spacing of the grid.
        origin: One of its values.
    """

    step: float = 1.0
    origin: float = 0.0

    remark: ClassVar[str] = REMARK

    @classmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        found = cls.found(present(values), hints)
        return None if found is None else found.mapped(values, hints)

    @classmethod
    def found(cls, x: Numbers, hints: Hints) -> Self | None:
        """The grid on which numbers lie, without a first map."""
        unique = np.unique(x)
        if len(unique) > 0.5 * len(x) and not (x == np.round(x)).all():
            return None
        step, decimals = grid_of(unique, hints.float32)
        return cls.of(x, step=step, origin=float(unique[0]), decimals=decimals) if step else None

    def snap(self, numbers: Numbers) -> Numbers:
        return super().snap(on_grid(numbers, self.step, self.origin, self.decimals or 0))


def on_grid(numbers: Numbers, step: float, origin: float, decimals: int) -> Numbers:
    """Numbers moved to the nearest value of a grid; zeros have no sign."""
    return np.asarray(np.round(np.round((numbers - origin) / step) * step + origin, decimals) + 0.0)


def grid_of(unique: Numbers, float32: bool) -> tuple[float, int]:
    """The largest step that explains every value, and the decimals to write; (0, 0) if there is none."""
    gaps = unique - unique[0]
    blur = (6e-8 if float32 else 1e-15) * np.abs(unique).max() * 4
    exact = np.abs(unique).max() < (2**24 if float32 else 2**53)  # whole numbers are
    for decimals in range(7):
        scaled = gaps * 10.0**decimals
        off, slack = np.abs(scaled - np.round(scaled)).max(), max(blur * 10.0**decimals, 1e-9)
        if off <= slack < 0.1 or (exact and off == decimals == 0):
            step = int(np.gcd.reduce(np.round(scaled).astype(np.int64))) / 10.0**decimals
            return step, _decimals(unique[0], decimals, float32)
    return 0.0, 0


def _decimals(origin: float, decimals: int, float32: bool) -> int:
    """The number of decimals that can represent both the step and the grid's origin."""
    for more in range(decimals, 10):
        if abs(round(origin, more) - origin) <= (1e-6 if float32 else 1e-12) * max(abs(origin), 1.0):
            return more
    return 10


@dataclass(frozen=True, kw_only=True)
class Months(Grid):
    """Days of which the first, or the last, of each month occur: what is drawn is the nearest such.

    Args:
        day: A day in the column's unit.
        last: Whether they are the last days.
    """

    day: float = 1.0
    last: bool = False

    @classmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        x = present(values)
        if not hints.day or len(np.unique(x)) < FEWEST:
            return None
        ends = [last for last in (False, True) if np.array_equal(_nearest(x, hints.day, last), x)]
        found = super().fits(values, hints) if ends else None
        return None if found is None else replace(found, day=hints.day, last=ends[0])

    def snap(self, numbers: Numbers) -> Numbers:
        there = np.isfinite(numbers)
        return np.where(there, _nearest(np.where(there, numbers, 0.0), self.day, self.last), np.nan)


def _nearest(x: Numbers, day: float, last: bool) -> Numbers:
    """The nearest first or last day of a month, in days or seconds since 1970."""
    ticks = 86_400e6 / day
    start = pl.Series((x.ravel() * ticks + HALF).astype(np.int64)).cast(pl.Datetime("us")).dt.truncate("1mo")
    return np.asarray(start.to_physical().to_numpy() / ticks - day * last).reshape(x.shape)
