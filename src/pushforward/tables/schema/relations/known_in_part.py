"""Columns that say what others know of a number: two limits, a flag of observed times, a standard deviation.

They are not modelled: the density is that of the number itself, and a row has the probability of what it knows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from ....errors import InputError
from ...options import ColumnOptions
from ..numbers import as_numbers, is_text, refuse_twice, require_columns
from ..partial_cells import cells
from .base import Relation


@dataclass(frozen=True, repr=False)
class KnownInPart(Relation):
    """How further columns say what is known of one."""

    name: str  # the column of numbers

    @property
    @abstractmethod
    def aside(self) -> tuple[str, ...]:
        """The columns that say it."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The table's columns that :meth:`read` needs."""
        return self.name, *self.aside

    @abstractmethod
    def read(self, frame: pl.DataFrame, source: str) -> pl.Series:
        """What each row knows of the number."""

    @abstractmethod
    def write(self, numbers: pl.Series) -> list[pl.Series]:
        """The table's columns for numbers that are known exactly."""

    def joined(self, frame: pl.DataFrame, source: str) -> pl.DataFrame:
        """The table with the column as structs, without those that say what is known; unchanged if it lacks these."""
        if not {*self.columns} <= {*frame.columns}:
            return frame
        return frame.with_columns(self.read(frame, source).alias(self.name)).drop(self.aside)


@dataclass(frozen=True, repr=False)
class Limits(KnownInPart):
    """A number between two columns; a missing limit is infinite, and equal ones are the number itself."""

    low: str = ""  # the column of its lower limit
    high: str = ""  # and of its upper one

    @property
    def aside(self) -> tuple[str, ...]:
        return self.low, self.high

    @property
    def columns(self) -> tuple[str, ...]:
        return self.aside  # the number itself has none

    def read(self, frame: pl.DataFrame, source: str) -> pl.Series:
        low, high = (frame[name].cast(pl.Float64, strict=False) for name in self.aside)
        wrong = np.flatnonzero((low > high).fill_null(False))
        if len(wrong):
            row = int(wrong[0])
            raise InputError(f"{source}, row {row + 1}: {low[row]:g} and {high[row]:g} are no limits", "limits")
        return cells(low.fill_nan(None).fill_null(-np.inf).to_numpy(), high.fill_nan(None).fill_null(np.inf).to_numpy())

    def write(self, numbers: pl.Series) -> list[pl.Series]:
        return [numbers.alias(self.low), numbers.alias(self.high)]

    def __str__(self) -> str:
        return f"{self.name!r} lies between {self.low!r} and {self.high!r}"


@dataclass(frozen=True, repr=False)
class Censored(KnownInPart):
    """A time until an event that had not come in some rows: their times are lower limits."""

    flag: str = ""  # the column that says whether it came
    event: float | bool = 1  # its value where it did

    @classmethod
    def of(cls, frame: pl.DataFrame, name: str, flag: str, source: str) -> Censored:
        """From a column of two values, of which the higher one says that the event came."""
        found = frame[flag].drop_nulls().unique().sort()
        if len(found) > 2 or not (found.dtype.is_numeric() or found.dtype == pl.Boolean) or not len(found):
            raise InputError(f"{source}: {flag!r} should be 1 where the event came, and 0 elsewhere", "censored")
        return cls(name, flag, found[-1] if len(found) == 2 else (found.dtype.is_numeric() and found[0]) or 1)

    @property
    def aside(self) -> tuple[str, ...]:
        return (self.flag,)

    def read(self, frame: pl.DataFrame, source: str) -> pl.Series:
        text = [name for name in self.columns if is_text(frame[name])]
        if text:
            raise InputError(f"{source}: {text[0]!r} holds no numbers", "censored", text[0])
        time, came = as_numbers(frame[self.name]), as_numbers(frame[self.flag]) == self.event
        return cells(time, np.where(came | np.isnan(time), time, np.inf), above=~came)

    def write(self, numbers: pl.Series) -> list[pl.Series]:
        return [numbers.alias(self.name), pl.Series(self.flag, [self.event] * len(numbers))]

    def __str__(self) -> str:
        return f"{self.name!r} is a lower limit where {self.flag!r} is not {self.event}; draws are times of events"


@dataclass(frozen=True, repr=False)
class Measured(KnownInPart):
    """A number that was measured with normal errors: the density is that of true values."""

    error: str = ""  # the column of their standard deviations

    @property
    def aside(self) -> tuple[str, ...]:
        return (self.error,)

    def read(self, frame: pl.DataFrame, source: str) -> pl.Series:
        value, error = (as_numbers(frame[name].cast(pl.Float64, strict=False)) for name in self.columns)
        wrong = np.flatnonzero(error < 0)
        if len(wrong):
            raise InputError(f"{source}, row {wrong[0] + 1}: {self.error!r} is negative", "noise", self.name)
        return cells(np.where(np.isnan(error), np.nan, value), value, error=error)  # nothing is known without an error

    def write(self, numbers: pl.Series) -> list[pl.Series]:
        return [numbers.alias(self.name), pl.Series(self.error, np.zeros(len(numbers)))]

    def __str__(self) -> str:
        return f"{self.name!r} was measured with the errors {self.error!r}; the density is that of true values"


def joined(frame: pl.DataFrame, in_part: Sequence[KnownInPart], source: str) -> pl.DataFrame:
    """The table with what its rows know of numbers in their own cells, not in further columns."""
    for each in in_part:
        frame = each.joined(frame, source)
    return frame


def stated(frame: pl.DataFrame, said: ColumnOptions, source: str) -> tuple[KnownInPart, ...]:
    """What the user says of columns."""
    for argument, named in (
        ("limits", [name for ends in said.limits.values() for name in ends]),
        ("censored", [*said.censored, *said.censored.values()]),
        ("noise", [*said.noise, *said.noise.values()]),
    ):
        require_columns(frame.columns, named, source, argument)
    found: list[KnownInPart] = [Limits(name, *ends) for name, ends in said.limits.items()]
    found += [Censored.of(frame, name, flag, source) for name, flag in said.censored.items()]
    found += [Measured(name, error) for name, error in said.noise.items()]
    names = [name for each in found for name in (each.name, *each.aside)]
    refuse_twice(names, "limits" if said.limits else "censored" if said.censored else "noise")
    return tuple(found)
