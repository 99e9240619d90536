"""Learns what a column is from its cells: how they are read, of which kind it is, or that it is left out."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import time
from typing import Any

import numpy as np
import polars as pl

from ...errors import InputError, listed
from ...numerics.partly_known import known_in_part
from ..options import TableOptions
from .columns import Column, ContextColumn, Holes
from .kinds.base import Hints, Kind, Numbers
from .kinds.circle import Periodic
from .kinds.few_values import FEW, FewValues, are_few
from .kinds.grid import Grid, Months
from .kinds.named import MOST, Category
from .kinds.numeric import Number, numbers_of, present
from .kinds.quantity import NUMBERS
from .moments import Form, find_form, moment_name
from .numbers import as_numbers, is_text, missing, more
from .partial_cells import holds_intervals, parsed, recorded, typical_of
from .reading import ZEROS, Marks, Reading, stored_type
from .relations.base import Constant, Dependency
from .relations.formula import Determined
from .relations.known_in_part import KnownInPart
from .schema import Schema

# from the most special to the most general
KINDS: tuple[type[Kind], ...] = (Category, Periodic, FewValues, Months, *NUMBERS)
MOST_UNIQUE = 0.5  # share of distinct values among all that are there above which text counts as identifiers
SPOILT = 0.05  # share of non-numeric cells in a numeric column
PANDAS = re.compile(r"__index_level_\d+__")  # a column of a file that pandas wrote
LARGEST = 1e30  # flows compute in float32, whose numbers end at 3e38; squares of differences must fit in float64


def kind_of(values: pl.Series, hints: Hints, kinds: Sequence[type[Kind]] = KINDS) -> Kind:
    """The first of some kinds that values are of."""
    return next(found for kind in kinds if (found := kind.fits(values, hints)) is not None)


def said_of(schema: Schema) -> dict[str, Any]:
    """What a user would say of a table's columns so that they are again what a schema says; see
    :class:`~pushforward.tables.options.ColumnOptions`."""
    scales = [column for column in schema.fields if not column.classes and column.kind.is_number]
    names = [column for column in schema.fields if column.classes and not column.kind.is_number]
    named = [column for column in names if column.reading.dtype in ("Int64", "Float64")]
    stated = {each.name: each.formula for each in schema.near if each.stated}
    stated |= {r.column.name: r.formula for r in schema.dependencies if isinstance(r, Determined) and r.stated}
    return {
        "columns": [*schema.names, *schema.follow_names],
        "given": schema.given_names,
        "categories": [column.name for column in named],
        "numbers": [column.name for column in scales if not column.reading.moment],
        "bounds": {},
        "circular": {column.name: column.kind.period for column in scales if column.kind.period is not None},
        "order": [(order.low, order.high) for order in schema.orders if order.stated],
        "relations": ",".join(f"{name} = {formula}" for name, formula in stated.items()) or "auto",
        "kinds": {column.name: type(column.kind) for column in schema.fields if column.kind.contents == "text"},
    }


@dataclass
class Learner:
    """Learns one column after another; ``encoded`` holds what it read, by name, and ``decided`` for every reason the
    columns.
    """

    said: TableOptions  # what the user says of columns, with the names of all that are to be modelled
    source: str  # the file's name, for error messages
    in_part: Sequence[KnownInPart] = ()  # columns that said what rows know of others, whose cells now say it themselves
    asked: bool = True  # whether the user named the columns, so that row counters and identifiers are not left out
    # how the cells of columns are read of which that is known
    readings: Mapping[str, Reading] = field(default_factory=dict)
    days: Collection[str] = ()  # whose cells are midnights of a time zone
    encoded: dict[str, Numbers] = field(default_factory=dict)
    decided: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)  # columns left out as names, some of which repeat

    def note(self, name: str, what: str, option: str, refusal: str = "") -> None:
        """Notes a decision; ``strict`` refuses the column with the message ``refusal`` if there is one."""
        if self.said.strict and refusal:
            raise InputError(f"{self.source}: column {name!r}{refusal}")
        self.decided.setdefault((what, option), []).append(name)

    def scaling(self, names: Sequence[str]) -> Learner:
        """A new one, to which the numbers of some columns lie on a scale."""
        numbers = [*self.said.numbers, *names]
        return self._anew(names, "on a scale: rows not seen are likelier so than with lists of values", numbers=numbers)

    def naming(self) -> Learner:
        """A new one, which models names that differ in most rows."""
        why = "modelled, as nothing else is left: names that differ in most rows"
        return self._anew(self.names, why, categories=[*self.said.categories, *self.names])

    def _anew(self, names: Sequence[str], why: str, **said: Any) -> Learner:
        """A new one, as if the user had said something else of columns, which is noted."""
        other = Learner(replace(self.said, **said), self.source, self.in_part, self.asked)
        for name in names:
            other.note(name, why, "")
        return other

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence per reason."""
        told = self.decided.items()
        return tuple(f"{listed(names)}: {what}{f' ({option})' if option else ''}" for (what, option), names in told)

    def learn(self, column: pl.Series) -> Column | Dependency | None:
        """The description of a column: modelled, computed, or None if it is left out."""
        name, there = column.name, column.filter(pl.Series(~missing(column), dtype=pl.Boolean))
        nested = column.dtype.is_nested() and not self._in_part(column)
        if nested or column.dtype in (pl.Binary, pl.Object):
            self._leave(name, "holds lists or other nested values")
            return None
        if not len(there) or (PANDAS.fullmatch(name) and not self.asked):
            self._leave(name, "is the row index of a pandas frame" if len(there) else "has no value in any row")
            return None
        if there.n_unique() == 1 and len(there) == len(column):
            return self._constant(column)
        if name in self.said.kinds:
            return self._own(column)
        reading = self._reading(column, there)
        if self._names_rows(column, there, reading):
            return None
        values = reading.values(column)
        hints = self._hints(column, reading)
        if values.dtype == pl.Struct:
            return self._known_in_part(column, reading, values, hints)
        if not values.dtype.is_numeric() or hints.named:
            return self._category(column, reading, "`columns=`")
        if self._numbers_rows(name, values) or self._is_too_wide(name, values, hints, there.n_unique()):
            return None
        if reading.dtype == "" and column.dtype.is_float() and bool(column.is_infinite().any()):
            self.note(name, "infinite values are treated as missing", "`drop_missing=True` leaves such rows out")
        if reading.dtype == "" and _are_days(x := present(values)):
            self.note(name, f"numbers such as {x[0]:.0f} are not read as dates", "written as 2020-03-04 they are")
        if (row := _far_mark(numbers_of(values), reading.moment)) is not None:
            what = f"{column[row]} is far from all other values, and is taken for one"
            self.note(name, what, "if it marks missing cells, empty them")
        kind = kind_of(values, hints)
        return self._made(column, kind, reading.naming(kind.labels), values)

    def learn_given(self, column: pl.Series) -> ContextColumn | None:
        """How a column that is conditioned on is turned into context features; None if it is left out."""
        name, there = column.name, column.filter(pl.Series(~missing(column), dtype=pl.Boolean))
        if there.n_unique() < 2:
            self._tells_nothing(name, f"is {(there.to_list() or [None])[0]!r} in every row")
            return None
        reading = self._reading(column, there)
        if name in self.said.kinds:
            known = self._own(column)
        elif name in self.said.categories or reading.dtype in ("String", "Boolean"):
            if there.n_unique() == len(column):
                self._tells_nothing(name, "has another value in every row")
                return None
            known = self._category(column, reading, "`given=`", single=False)
        else:
            values = reading.values(column)
            kind = Number.of(present(values)).bounded(values, self._hints(column, reading))
            known = self._made(column, kind, reading, values)
        numbers = self.encoded.pop(name)
        numbers = numbers[~np.isnan(numbers)]
        scale = () if known.classes else (float(numbers.mean()), float(numbers.std()))
        return ContextColumn(known, *scale)

    def _in_part(self, column: pl.Series) -> bool:
        return any(each.name == column.name for each in self.in_part)

    def _reading(self, column: pl.Series, there: pl.Series) -> Reading:
        """How a column's cells are read: as dates, truth values, numbers, numbers with marks, or names."""
        if column.dtype.is_nested() and self._in_part(column):
            return Reading(dtype="Part")
        if column.name in self.readings:
            return self.readings[column.name]
        plain = _plain_reading(column, column.name in self.days)
        if plain is not None and not (plain.moment and (column.name in self.said.categories or there.n_unique() == 1)):
            return plain
        few = max(1, min(FEW, MOST_UNIQUE * len(there)))  # as many as names have that repeat
        if (
            column.dtype == pl.String
            and column.name not in self.said.categories
            and (there.n_unique() > few or column.name in self.said.numbers)
        ):
            if (found := find_form(column)) is not None:
                self._note_form(column.name, found)
                return Reading(dtype=found.dtype, form=found.form, lenient=found.slip is not None)
            if holds_intervals(column, FEW):
                return Reading(dtype="Part", recorded=recorded(parsed(column), column))
            if self._holds_numbers(column, marks := Marks.of(there)):
                return Reading(dtype="Marked", marks=marks)
        return Reading(dtype="String")

    def _note_form(self, name: str, found: Form) -> None:
        """Notes what might have been read otherwise."""
        if found.slip is not None:
            self.note(
                name,
                f"dates or times; {found.slip!r} and the like are missing values",
                "`categories=` treats it as names",
                f": {found.slip!r} is not a {found.dtype.lower()}; correct it, or leave the column out with `columns=`",
            )
        if found.ambiguous is not None:
            first = "month" if found.form.replace("-", "").startswith("%m") else "day"
            self.note(
                name,
                f"dates such as {found.ambiguous!r} are read with the {first} first",
                "written as 2020-03-04 they cannot be misread",
            )

        if found.offsets:
            clocks = listed(found.offsets)
            self.note(name, f"its clocks differ from UTC by {clocks}; samples are of UTC, +00:00", "")

    def _holds_numbers(self, column: pl.Series, marks: Marks) -> bool:
        """Whether text is numbers, some of them with decimals, or numbers but for marks, a few cells, or one or two
        words; says so in a note."""
        plain, values = as_numbers(column), as_numbers(marks.numbers(column))
        there, mend = ~missing(column), "or treat it as a category with `categories=`"
        odd, bad = there & np.isnan(plain), there & np.isnan(values)
        signed = odd & ~bad
        marked = signed.sum() > 0.5 * there.sum()
        codes = not odd.any() and column.name not in self.said.numbers and _are_codes(column.filter(pl.Series(there)))
        if codes or not (marked or odd.sum() <= 0.5 * there.sum()):
            return False
        others = column.filter(pl.Series(bad))
        in_units = marks.unit and others.str.contains(rf"\d|{re.escape(marks.unit)}").any()  # as 1TB among 16GB, or AWD
        if bad.sum() > SPOILT * len(values) and (others.n_unique() > 2 or in_units):
            return False
        shown = "" if not bad.any() else f"; {column[int(bad.argmax())]!r} and the like are missing values"
        row = int((signed if marked else odd).argmax())
        what = "a number with marks; write it without them" if marked else f"not a number{more(odd.sum())}; correct it"
        what = what if odd.any() else "text; write it as a number"
        bare = column.filter(pl.Series(~np.isnan(plain) & (marks.sign == "%")))
        per_cent = f", in per cent without % as well, as in {bare[0]!r}" if len(bare) else ""
        parted = ", where a comma parts thousands" if marks.thousands == "," else ""
        self.note(
            column.name,
            f"numbers that are written as text{f', in {marks.unit}' if marks.unit else per_cent}{parted}{shown}",
            "`categories=` treats it as names",
            f", row {row + 1}: {column[row]!r} is {what}, leave the column out with `columns=`, {mend}",
        )
        return True

    def _hints(self, column: pl.Series, reading: Reading) -> Hints:
        name = column.name
        return Hints(
            name=name,
            source=self.source,
            bounds=self.said.bounds.get(name),
            period=self.said.circular.get(name),
            named=name in self.said.categories,
            scale=reading.moment
            or reading.dtype == "Part"
            or name in {*self.said.numbers, *self.said.bounds, *self.said.circular},
            day=reading.day,
            float32=column.dtype == pl.Float32,
        )

    def _made(self, column: pl.Series, kind: Kind, reading: Reading, values: pl.Series) -> Column:
        """The column, whose encoded values are kept."""
        numbers = kind.read(values)
        partly = known_in_part(numbers)
        holes = Holes(share=float((np.isnan(numbers) & ~partly).mean()), in_part=float(partly.mean()))
        known = Column(column.name, kind, replace(reading, stored=stored_type(column.dtype)), holes)
        self.encoded[column.name] = known.with_holes(numbers)
        return known

    def _known_in_part(self, column: pl.Series, reading: Reading, values: pl.Series, hints: Hints) -> Column:
        """A column of numbers of which some rows know only a part."""
        if is_text(column) and column.dtype != pl.Struct:
            shown = column.filter(pl.Series(np.isnan(numbers_of(values)))).drop_nulls()
            self.note(
                column.name,
                f"{shown[0]!r} and the like are intervals, which have a probability",
                "`categories=` treats it as names",
            )
        typical, exact = typical_of(values)
        kind: Kind | None = Grid.fits(typical, hints) if exact else None
        if kind is None:
            number = Number.of(present(typical)).mapped(typical, hints)
            kind = number if exact else replace(number, decimals=None, whole=False)
        return self._made(column, kind, reading, values)

    def _own(self, column: pl.Series) -> Column:
        """A column of a kind of the user's own."""
        name, kind = column.name, self.said.kinds[column.name]
        if not issubclass(kind if isinstance(kind, type) else type(kind), Kind):
            raise InputError(f"expected a kind of column, or its class, for {name!r}", "kinds", {name: kind})
        if isinstance(kind, type):
            found = kind.fits(column, replace(self._hints(column, Reading()), scale=True))
            if found is None:
                raise InputError(f"{self.source}: column {name!r} is not of the kind {kind.__name__}", "kinds")
            kind = found
        return self._made(column, kind, Reading(dtype="String"), column)

    def _category(self, column: pl.Series, reading: Reading, option: str, single: bool = True) -> Column:
        values = column if column.dtype.is_integer() and not reading.dtype else reading.values(column)
        kind = Category.of(values, single=single)
        count = len(kind.values) - 1 + kind.grouped
        if kind.grouped and count <= MOST:
            self.note(column.name, "values of a single row, and those of none, share the category (other)", "")
        elif kind.grouped:
            self.note(
                column.name,
                f"more than {MOST} different values: the rarest share the category (other)",
                f"{option} leaves it out",
                f" holds {count} different values, and a category may have {MOST}; leave it out with {option}, or "
                "group them",
            )
        names = pl.Series(kind.values, dtype=pl.String)
        plain = names.str.strip_chars().str.replace_all(r"\s+", " ").str.to_lowercase()
        if (twice := plain.is_duplicated()).any():
            alike = names.filter(plain == plain.filter(twice)[0]).to_list()
            what = f"{listed(map(repr, alike))} are {len(alike)} names"
            self.note(column.name, what, "write them alike if they are one")
        return self._made(column, kind, reading.naming(kind.labels), values)

    def _constant(self, column: pl.Series) -> Dependency:
        self.note(
            column.name,
            "constant, and written so in samples; a row with another value has density 0",
            "`columns=` leaves it out",
            f" is constant ({column[0]!r} in every row), so it has no density; leave it out with `columns=`",
        )
        reading = replace(_plain_reading(column) or Reading(dtype="String"), stored=stored_type(column.dtype))
        if reading.contents in ("truth", "names"):
            return Constant(Column(column.name, Category.of(column), reading))
        value = present(reading.values(column))[:1]
        return Constant(Column(column.name, Number.of(value), reading), value=float(value[0]))

    def _names_rows(self, column: pl.Series, there: pl.Series, reading: Reading) -> bool:
        """Whether a column of text is left out, as a name or free text."""
        name = column.name
        if reading.dtype != "String" or name in self.said.categories or not is_text(column):
            return False
        if name in self.said.numbers:
            raise InputError(f"{self.source}: holds {there[0]!r}, which is not a number", "numbers", name)
        if there.n_unique() <= MOST_UNIQUE * len(there) or self.asked:
            return False
        if there.n_unique() < len(there):
            self.names.append(name)
        self._leave(
            name,
            "a name or free text, different in most rows; `categories=` models it",
            f" holds {there.n_unique()} different values in {len(there)} rows; leave it out with `columns=`, or "
            "group them",
        )
        return True

    def _numbers_rows(self, name: str, values: pl.Series) -> bool:
        """Whether a column is left out, since it holds row numbers, in any order: those of at least half of a table."""
        if self.asked or self.said.strict or len(values) < 10 or values.null_count():
            return False
        ordered = np.sort(numbers_of(values))
        gaps, most = np.diff(ordered), len(ordered) * (1 if len(ordered) < 100 else 2)
        dense = 0 <= ordered[0] <= gaps.max() and ordered[-1] <= most
        if not dense or (gaps < 1).any() or (ordered % 1).any():
            return False
        self.note(name, "left out: it numbers the rows", "`columns=` models it")
        return True

    def _is_too_wide(self, name: str, values: pl.Series, hints: Hints, different: int) -> bool:
        """Whether a column is left out, since single precision does not hold its numbers, or double none of so many
        different ones apart."""
        x = present(values)
        fits = (np.abs(x).max() <= LARGEST and not 0 < np.ptp(x) < 1 / LARGEST) or (not hints.scale and are_few(x))
        if fits and (different == 1 or np.ptp(x)):
            return False
        what = f"runs from {x.min():g} to {x.max():g}, outside what single precision holds"
        if self.asked:
            raise InputError(f"{self.source}: column {name!r} {what}; change its units")
        self._leave(name, what, f" {what}; change its units")
        return True

    def _tells_nothing(self, name: str, why: str) -> None:
        """Leaves out a column that is conditioned on."""
        self._leave(name, f"{why}, so nothing depends on it", f" {why}; leave it out of `given=`")

    def _leave(self, name: str, why: str, refusal: str = "") -> None:
        """Leaves a column out."""
        self.note(name, f"left out: {why}", "", refusal or f" {why}; leave it out with `columns=`")


def _are_days(x: Numbers) -> bool:
    """Whether numbers are all days of this century or the last, as 20200131."""
    if x.min() < 19_000_101 or x.max() > 20_991_231 or (x % 1).any():
        return False
    return not pl.Series(x).cast(pl.Int64).cast(pl.String).str.to_date("%Y%m%d", strict=False).null_count()


def _far_mark(x: Numbers, moment: bool) -> int | None:
    """A row that holds a number farther from all others than these are apart, in several rows, and looks like a mark:
    of nines, or alone below 0; dates have no such looks."""
    different, counts = np.unique(x[~np.isnan(x)], return_counts=True)
    for end, rest in ((0, different[1:]), (-1, different[:-1])):
        looks = moment or different[end] < 0 <= rest.min(initial=0.0) or {*f"{abs(different[end]):.0f}"} == {"9"}
        if looks and len(rest) > 2 and counts[end] > 1 and np.ptp(different) > 2 * np.ptp(rest):
            return int(np.flatnonzero(x == different[end])[0])
    return None


def _are_codes(there: pl.Series) -> bool:
    """Whether text of numbers is whole ones, begins with zeros, or has two texts of one, as versions 1.1 and 1.10."""
    numbers = np.unique(as_numbers(there).view(np.int64))  # of which 0 and -0 are two
    return bool(
        not there.str.contains(r"\.\d").any() or there.str.contains(ZEROS).any() or there.n_unique() > len(numbers)
    )


def days_of(columns: Sequence[pl.Series]) -> list[str]:
    """The columns of midnights of a time zone, unless others hold times of a clock or durations, of which they would be
    in other units."""
    clocks = [each for each in columns if each.dtype in (pl.Datetime, pl.Duration)]
    days = [getattr(each.dtype, "time_zone", None) and (each.dt.time() == time()).all() for each in clocks]
    return [each.name for each in clocks] if all(days) else []


def _plain_reading(column: pl.Series, days: bool = False) -> Reading | None:
    """How a column that is no text is read; None for text."""
    if column.dtype.is_temporal():
        return Reading(dtype="Date" if days else moment_name(column.dtype), stored=stored_type(column.dtype))
    if column.dtype == pl.Boolean:
        return Reading(dtype="Boolean")
    return None if is_text(column) else Reading()
