"""What follows from a date: its year, quarter, month, week, weekday, day or hour; and dates as weeks and weekdays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from ..columns import Column
from ..kinds.base import Hints, Numbers
from ..kinds.grid import Grid, Months
from .base import Columns, Dependency, Relation, Rows, inputs_of
from .look_up import LookUp, implies

PARTS: Mapping[str, Callable[[pl.Series], pl.Series]] = {
    "weekday": lambda moment: moment.dt.weekday(),
    "quarter": lambda moment: moment.dt.quarter(),
    "month": lambda moment: moment.dt.month(),
    "hour": lambda moment: moment.dt.hour(),
    "day of the month": lambda moment: moment.dt.day(),
    "week": lambda moment: moment.dt.week(),
    "day of the year": lambda moment: moment.dt.ordinal_day(),
    "day of a leap year": lambda moment: (
        moment.dt.ordinal_day() + ((moment.dt.month() > 2) & ~moment.dt.is_leap_year())
    ),
    "year": lambda moment: moment.dt.year(),
}
FEWEST = 3  # rows of each value of a part on average
DAYS, MONDAY = 7, -3  # days of a week, and the first Monday relative to the first of January, 1970


@dataclass(frozen=True, repr=False)
class DatePart(LookUp):
    """A column that is a part of a date, or follows from it: a weekday, a season, whether it is a weekend.

    A part that training rows do not have implies what the nearest does.
    """

    part: str = "year"  # one of ``PARTS``
    # ``Date`` or ``Datetime``, the input's, and its time zone, whose clock tells the part
    dtype: str = "Date"
    shift: float | None = None  # what is added to the part, if the column is that in all rows, and no class
    zone: str | None = None

    rest = Dependency.rest  # a part does not tell the date

    def looked_at(self, values: Rows) -> Numbers:
        return part_of(values[self.inputs[0]], self.dtype, self.part, self.zone)

    def computed(self, values: Rows, columns: Columns) -> Numbers:
        return super().computed(values, columns) if self.shift is None else self.looked_at(values) + self.shift

    def known(self, values: Rows) -> np.ndarray | bool:
        """The rows whose part training rows have."""
        return self.shift is not None or super().known(values)

    def __str__(self) -> str:
        return f"{self.column.name!r} is the {self.part} of {self.inputs[0]!r}, or follows from it"


@dataclass(frozen=True, repr=False)
class Weeks(Relation):
    """A date of which a column tells the weekday, seen as that and the Monday before.

    So the other columns may depend on the weekday, and the two always agree. The change of variables is one of whole
    numbers; a row whose weekday is another's has density 0.
    """

    date: str  # the column of dates
    weekday: str  # the column of weekdays
    codes: tuple[float, ...]  # its encoded values from Monday to Sunday; -1 for a day that no training row has

    def split(self, values: dict[str, Numbers]) -> None:
        """Replaces encoded dates by Mondays; weekdays that are not theirs have no class, and missing ones follow."""
        days = values[self.date]
        place = np.mod(days - MONDAY, DAYS)
        known = ~np.isnan(place)
        own = np.where(known, np.array(self.codes)[np.where(known, place, 0).astype(np.int64)], np.nan)
        told = np.where(np.isnan(values[self.weekday]), own, values[self.weekday])
        values[self.weekday] = np.where(known & (told != own), -1.0, told)
        values[self.date] = days - place

    def joined(self, values: dict[str, Numbers]) -> None:
        """Replaces Mondays by the dates of the weekdays."""
        codes = np.array(self.codes)
        place = np.argmin(np.abs(values[self.weekday][:, None] - np.where(codes < 0, np.inf, codes)), 1)
        values[self.date] = values[self.date] + np.where(np.isnan(values[self.weekday]), 0.0, place)

    def __str__(self) -> str:
        return f"{self.weekday!r} is the weekday of {self.date!r}"


@dataclass(frozen=True, kw_only=True)
class Mondays(Grid):
    """Mondays on a grid of weeks, which are written after the weekday is added."""

    def write(self, numbers: Numbers) -> pl.Series:
        return pl.Series(numbers.round(), nan_to_null=True)


def part_of(numbers: Numbers, dtype: str, part: str, zone: str | None = None) -> Numbers:
    """A part of encoded dates by the clock of a time zone, as a number; NaN for missing ones."""
    there, unit = np.isfinite(numbers), 86_400e6 if dtype == "Date" else 1e6
    times = pl.Series((np.where(there, numbers, 0) * unit).astype(np.int64)).cast(pl.Datetime("us", zone))
    return np.where(there, PARTS[part](times).cast(pl.Float64).to_numpy(), np.nan)


def date_parts(columns: Sequence[Column], values: Rows, free: Collection[str]) -> list[Dependency]:
    """Columns, but for the free ones, that follow from a part of a date in every row."""
    dates = [column for column in columns if column.reading.day and not column.classes]
    can = [c for c in columns if (c.kind.is_number or c.classes) and not c.reading.moment and c.name not in free]
    parts = (next((found for date in dates if (found := _part(column, date, values))), None) for column in can)
    return [part for part in parts if part is not None]


def _part(column: Column, date: Column, values: Rows) -> DatePart | None:
    """The coarsest part of a date from which a column follows, with as many missing values."""
    x, days = values[column.name], values[date.name]
    if column.holes.share or np.isnan([x, days]).any():
        return None
    clock: dict[str, Any] = {"dtype": date.reading.dtype, "zone": None if date.reading.day == 1 else date.reading.zone}
    for part in PARTS:
        at, codes = np.unique(part_of(days, part=part, **clock), return_inverse=True)
        if len(at) < 2 or (table := implies((at, codes), x)) is None:
            continue
        amounts = column.kind.amounts(np.array(table))
        if part != "weekday" and len({*(amounts - at)}) == 1:  # the part itself, of which all values are known
            numbers = Grid.of(column.kind.amounts(x), step=1.0, origin=float(amounts[0]), decimals=0)
            column = replace(column, kind=numbers, reading=replace(column.reading, dtype=""))
            return DatePart(column, (date.name,), part=part, shift=float(amounts[0] - at[0]), **clock)
        if FEWEST * len(at) <= len(x):
            return DatePart(column, (date.name,), table, tuple(map(float, at)), part=part, **clock)
    return None


def weeks(
    columns: list[Column], relations: Sequence[Dependency], values: dict[str, Numbers]
) -> tuple[list[Column], list[Dependency], list[Weeks]]:
    """Keeps the weekdays, which follow, of the only column of dates among the modelled ones, if of more than months'
    ends, and replaces its dates by Mondays, in its encoded rows too."""
    dates = [column for column in columns if column.reading.day]
    parts = [r for r in relations if isinstance(r, DatePart) and r.part == "weekday" and r.column.classes]
    found = next((part for part in parts if len(set(part.implied)) == len(part.at)), None)
    others = [relation for relation in relations if relation is not found]
    needed = inputs_of([relation for relation in others if not isinstance(relation, DatePart)])
    alone = len(dates) == 1 and dates[0].kind.step == 1 and dates[0].name not in needed
    if found is None or found.dtype != "Date" or not alone or isinstance(dates[0].kind, Months):
        return columns, list(relations), []
    codes = dict(zip(found.at, found.implied, strict=True))
    split = Weeks(dates[0].name, found.column.name, tuple(codes.get(k, -1.0) for k in range(1, DAYS + 1)))
    split.split(values)
    mondays = values[split.date]
    kind = Mondays.of(mondays, step=float(DAYS), origin=float(mondays.min()), decimals=0)
    kind = kind.mapped(pl.Series(mondays), Hints(name=split.date, scale=True, day=1.0))
    modelled = [replace(column, kind=kind) if column is dates[0] else column for column in columns]
    return [*modelled, found.column], others, [split]
