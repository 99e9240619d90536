"""Whole and rounded numbers: values on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import polars as pl

from .base import Hints, Numbers
from .numeric import Numeric, present

REMARK = "integer, rounded and inflated values are cells: their density is the average over the cell"


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
