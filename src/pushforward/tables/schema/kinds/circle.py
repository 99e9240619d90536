"""Numbers on a circle: directions, hours of the day, days of the week."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from torch import Tensor

from ....errors import InputError
from .base import Hints, Numbers
from .grid import REMARK, Grid
from .numeric import Numeric, numbers_of


@dataclass(frozen=True, kw_only=True)
class Periodic(Numeric, saved_as="Circle"):
    """Numbers with a period, whose beginning and end are the same value."""

    period: tuple[float, float]  # the beginning and the end
    # the grid of the values, as for :class:`Grid`, if there is one that fits the period
    step: float = 0.0
    origin: float = 0.0

    remark: ClassVar[str] = REMARK

    @classmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        if hints.period is None:
            return None
        refuse_outside(numbers_of(values), hints.period, hints.source, hints.name)
        low, high = hints.period
        x = cls(period=hints.period).read(values)
        x = x[~np.isnan(x)]
        if np.ptp(x) == 0:
            raise InputError(f"{hints.source}: column {hints.name!r} is constant; leave it out with `columns=`")
        grid = Grid.found(x, hints)
        kind = cls.of(x, period=hints.period)
        if grid is not None and _divides(grid.step, high - low) and _divides(grid.step, grid.origin - low):
            kind = replace(kind, step=grid.step, origin=grid.origin, decimals=grid.decimals)
        return replace(kind, fill=tuple(np.clip(kind.quantiles_of_cells(x), *kind.circle).tolist()))

    @property
    def circle(self) -> tuple[float, float]:  # type: ignore[override]
        """One turn that holds whole cells: the period, shifted back by half a step."""
        return self.period[0] - 0.5 * self.step, self.period[1] - 0.5 * self.step

    @property
    def outcomes(self) -> tuple[Any, ...]:
        return (*super().outcomes, self.period)

    def read(self, values: pl.Series) -> Numbers:
        x = numbers_of(values)
        return np.where(x == self.period[1], self.period[0], x)

    def encoded(self, values: Tensor) -> Tensor:
        return values.where(values != self.period[1], self.period[0])

    def between(self, low: float, high: float) -> Numbers:
        """Past the end of the turn where ``low > high``: from 22 to 3 o'clock."""
        start, stop = self.circle
        if low > high:
            return np.concatenate([self.between(start, high), self.between(low, stop)], 1)
        ends = super().between(low, high).clip(start, stop)
        return ends[:, ends[0] < ends[1]]

    def snap(self, numbers: Numbers) -> Numbers:
        numbers, (low, high) = super().snap(numbers), self.period
        return np.where((numbers < low) | (numbers >= high), low + np.mod(numbers - low, high - low), numbers)

    def can(self, numbers: Numbers) -> Any:
        return (numbers >= self.period[0]) & (numbers <= self.period[1])

    def shaped(self, x: Numbers, weight: Numbers, again: bool = False) -> Self:
        return self


def _divides(step: float, length: float) -> bool:
    return abs(length / step - round(length / step)) <= 1e-6


def refuse_outside(numbers: Numbers, period: tuple[float, float], source: str, name: str, first: int = 0) -> None:
    """Refuses values outside a period: ``first`` is the number of the first row in the file."""
    low, high = period
    outside = np.flatnonzero((numbers < low) | (numbers > high))
    if len(outside):
        value = f"{numbers[outside[0]]:g} lies outside its period, {low:g} to {high:g}"
        raise InputError(f"{source}: column {name!r}, row {first + outside[0] + 1}: {value}")
