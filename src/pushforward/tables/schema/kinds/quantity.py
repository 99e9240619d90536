"""Kinds of one's own that are numbers in other clothes: addresses, amounts with units."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import polars as pl

from ....transforms.base import Transform
from .base import Atom, Description, Hints, Kind, Numbers
from .grid import Grid
from .number import Number
from .numeric import Numeric
from .spikes import Spikes

NUMBERS: tuple[type[Numeric], ...] = (Grid, Spikes, Number)  # from the most special to the most general


def numbers_kind(values: pl.Series, hints: Hints) -> Numeric:
    """The kind of numbers on a scale: a grid, some that stand out, or any."""
    return next(kind for each in NUMBERS if (kind := each.fits(values, hints)) is not None)


@dataclass(frozen=True, kw_only=True)
class Quantity(Kind):
    """Values that stand for numbers on a scale. A subclass says which: :meth:`parse` and :meth:`format`.

    Args:
        numbers: The kind of these numbers.
    """

    numbers: Numeric

    contents: ClassVar[str] = "text"
    is_number: ClassVar[bool] = False

    @staticmethod
    @abstractmethod
    def parse(values: pl.Series) -> pl.Series:
        """The numbers that values stand for; null for missing values, and for those that stand for none."""

    @staticmethod
    @abstractmethod
    def format(numbers: pl.Series) -> pl.Series:
        """The values that numbers stand for; null stays null."""

    @classmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        numbers = cls.parse(values)
        return None if numbers.null_count() > values.null_count() else cls(numbers=numbers_kind(numbers, hints))

    def read(self, values: pl.Series) -> Numbers:
        return self.numbers.read(self.parse(values))

    def write(self, numbers: Numbers) -> pl.Series:
        return self.format(self.numbers.write(numbers))

    @property
    def step(self) -> float:  # type: ignore[override]
        return self.numbers.step

    @property
    def resolution(self) -> float:
        return self.numbers.resolution

    @property
    def atoms(self) -> tuple[Atom, ...]:  # type: ignore[override]
        return self.numbers.atoms

    @property
    def fill(self) -> tuple[float, ...]:  # type: ignore[override]
        return self.numbers.fill

    @property
    def ends(self) -> tuple[float, float]:
        return self.numbers.ends

    @property
    def typical(self) -> tuple[float, ...]:
        return self.numbers.typical

    def can(self, numbers: Numbers) -> Any:
        return self.numbers.can(numbers)

    def between(self, low: float, high: float) -> Numbers:
        return self.numbers.between(low, high)

    def snap(self, numbers: Numbers) -> Numbers:
        return self.numbers.snap(numbers)

    def limits(self, spreads: float) -> tuple[float, float]:
        return self.numbers.limits(spreads)

    def first_map(self) -> Transform:
        return self.numbers.first_map()

    def bare(self) -> Self:
        return replace(self, numbers=self.numbers.bare())

    def untailed(self) -> Self:
        return replace(self, numbers=self.numbers.untailed())

    def shaped(self, x: Numbers, weight: Numbers) -> Self:
        return replace(self, numbers=self.numbers.shaped(x, weight))

    def reshaped(self, x: Numbers, weight: Numbers) -> Self:
        return replace(self, numbers=self.numbers.reshaped(x, weight))

    def describe(self) -> Description:
        low, high = (self.shown(end) for end in (self.numbers.minimum, self.numbers.maximum))
        return replace(self.numbers.describe(), kind=type(self).__name__.lower(), low=low, high=high)
