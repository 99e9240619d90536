"""Kinds of one's own that are numbers in other clothes: addresses, amounts with units."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import polars as pl

from .base import Description, Hints, Kind, Numbers
from .grid import Grid, Spikes
from .numeric import Number, Numeric

NUMBERS: tuple[type[Numeric], ...] = (Grid, Spikes, Number)  # from the most special to the most general


def numbers_kind(values: pl.Series, hints: Hints) -> Numeric:
    """The kind of numbers on a scale: a grid, some that stand out, or any."""
    return next(kind for each in NUMBERS if (kind := each.fits(values, hints)) is not None)


def _of_numbers(name: str) -> Any:
    """A member of a quantity that is that of its numbers."""
    return property(lambda quantity: getattr(quantity.numbers, name))


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

    step = _of_numbers("step")
    resolution = _of_numbers("resolution")
    atoms = _of_numbers("atoms")
    fill = _of_numbers("fill")
    ends = _of_numbers("ends")
    typical = _of_numbers("typical")
    can = _of_numbers("can")
    between = _of_numbers("between")
    snap = _of_numbers("snap")
    limits = _of_numbers("limits")
    first_map = _of_numbers("first_map")

    def without(self, *maps: str) -> Self:
        return replace(self, numbers=self.numbers.without(*maps))

    def reaching(self, x: Numbers) -> Self:
        return replace(self, numbers=self.numbers.reaching(x))

    def shaped(self, x: Numbers, weight: Numbers, again: bool = False) -> Self:
        return replace(self, numbers=self.numbers.shaped(x, weight, again))

    def describe(self) -> Description:
        low, high = (self.shown(end) for end in (self.numbers.minimum, self.numbers.maximum))
        return replace(self.numbers.describe(), kind=type(self).__name__.lower(), low=low, high=high)
