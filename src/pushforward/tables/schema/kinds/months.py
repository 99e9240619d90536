"""Dates that are all the first days of months, or all the last."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import polars as pl

from .base import Hints, Numbers
from .grid import Grid
from .numeric import present

FEWEST = 3  # different dates that tell
HALF = 15.5 * 86_400e6  # of a month, in microseconds


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
