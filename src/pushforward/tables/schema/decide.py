"""Decides how to treat each column of a table: as modelled, and how; as computed from others; or as left out.

Any decision that a user might have wanted otherwise is noted, with the option that changes it; ``strict`` refuses it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from ...errors import InputError, listed
from ...numerics.partly_known import known_in_part
from .columns import Column, ContextColumn, Holes
from .kinds.base import Bounds, Hints, Kind, Numbers
from .kinds.category import Category
from .kinds.circle import Periodic
from .kinds.few_values import FEW, FewValues, are_few
from .kinds.flag import Flag
from .kinds.grid import Grid
from .kinds.named import MOST
from .kinds.number import Number
from .kinds.numeric import numbers_of, present
from .kinds.quantity import NUMBERS
from .missingness import random_holes
from .moments import Form, find_form, moment_name
from .names import as_names, numbers_that_are_names
from .numbers import missing, refuse_gaps, spoilt
from .partial_cells import holds_intervals, parsed, recorded, typical_of
from .reading import Reading, as_numbers, is_text, stored_type
from .relations.base import Relation
from .relations.constant import Constant
from .relations.dates import weeks
from .relations.finding import complete, find_relations
from .relations.known_in_part import KnownInPart
from .relations.order import find_orders
from .schema import Schema

KINDS: tuple[type[Kind], ...] = (Category, Periodic, FewValues, *NUMBERS)  # from the most special to the most general
MOST_UNIQUE = 0.5  # share of distinct values among the rows above which text counts as identifiers
AT_RANDOM = "values are missing at random, so log-densities do not count which are"
KEPT = "in every row, and kept so in samples; a row that breaks it is unlikely, but not impossible"
SPOILT = 0.05  # share of non-numeric cells in a numeric column
LARGEST = 1e30  # flows compute in float32, whose numbers end at 3e38; squares of differences must fit in float64


@dataclass
class Decisions:
    """The decisions about columns: for every reason, the columns; ``strict`` refuses instead."""

    source: str
    strict: bool = False
    found: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, name: str, what: str, option: str, refusal: str = "") -> None:
        """Notes a decision; with ``strict``, refuses the column with the message ``refusal`` if there is one."""
        if self.strict and refusal:
            raise InputError(f"{self.source}: column {name!r}{refusal}")
        self.found.setdefault((what, option), []).append(name)

    def notes(self) -> tuple[str, ...]:
        """One sentence per reason."""
        return tuple(
            f"{listed(names)}: {what}{f' ({option})' if option else ''}" for (what, option), names in self.found.items()
        )


def learn_schema(
    frame: pl.DataFrame,
    names: Sequence[str],
    given: Sequence[str],
    source: str,
    bounds: Mapping[str, Bounds] | None = None,
    categories: Collection[str] = (),
    numbers: Collection[str] = (),
    *,
    circular: Mapping[str, tuple[float, float]] | None = None,
    kinds: Mapping[str, Kind | type[Kind]] | None = None,
    orders: Sequence[tuple[str, str]] = (),
    related: bool = True,
    free: Collection[str] = (),
    in_part: Sequence[KnownInPart] = (),
    asked: bool = True,
    strict: bool = False,
) -> Schema:
    """The schema of a table's rows.

    Args:
        frame: The rows.
        names: The columns to model.
        given: The columns to condition on.
        source: The file's name, for error messages.
        bounds: Open intervals for columns, as stated by the user.
        categories: Columns to model as categories although they may hold numbers; text always is.
        numbers: Columns to treat as numeric, however few values they have.
        circular: Columns with a period, and where it begins and ends.
        kinds: Columns of kinds of the user's own: each a kind, or a class that fits itself to the column.
        orders: Pairs of columns of which the first is never above the second.
        related: Whether to look for relations between columns.
        free: Columns of which none is looked for.
        in_part: Columns that said what rows know of others, whose cells now say it themselves.
        asked: Whether the user named the columns, so that row counters and identifiers are not left out.
        strict: Refuse what would otherwise be decided.

    Raises:
        InputError: a column leaves its stated bounds, no column is left to model, or ``strict`` refuses one.
    """
    decisions = Decisions(source, strict)
    if strict:
        refuse_gaps(frame, [*names, *given], source)
    learner = Learner(
        decisions,
        dict(bounds or {}),
        categories,
        numbers,
        asked,
        dict(circular or {}),
        dict(kinds or {}),
        {each.name for each in in_part},
    )
    found = [found for name in names if (found := learner.learn(frame[name])) is not None]
    columns = [column for column in found if isinstance(column, Column)]
    relations = [relation for relation in found if isinstance(relation, Relation)]
    if not columns:
        raise InputError("; ".join([f"{source}: no column is left to model", *decisions.notes()]))
    values = learner.encoded
    for said in in_part:
        decisions.add(f"{said}", "as stated", "")
    exempt = [c.name for c in columns if c.reading.dtype == "Part"]
    columns = _named(columns, values, decisions, [*numbers, *learner.bounds, *learner.kinds, *exempt])
    columns, follow = find_relations(columns, values, free) if related else (columns, [])
    columns, follow, split = weeks(columns, follow, values)
    if split is not None:
        decisions.add(f"{split}", "kept so in samples; a row that breaks it has density 0", "")
    for relation in follow:
        decisions.add(
            relation.column.name,
            f"{relation}: computed so in samples; a row that breaks it has density 0",
            "`columns=` leaves it out",
            f" follows from others ({relation}), so together they have no density; leave one out with `columns=`",
        )
    values = complete(values, columns, follow, values)
    columns = _with_holes(columns, values, decisions)
    found_orders = find_orders(columns, values, source, orders, found=related)
    found_orders = tuple(each for each in found_orders if each.stated or not {each.low, each.high} & {*free})
    for each in found_orders:
        if not each.stated:
            decisions.add(f"{each}", KEPT, "")
    flags = [
        Column(f"{c.name} is missing", Flag(flags=c.name)) for c in columns if c.holes.share and not c.kind.classes
    ]
    relations += follow
    kept = {c.name for c in [*columns, *(r.column for r in relations)]}
    return Schema(
        (*columns, *flags),
        tuple(learnt for name in given if (learnt := learner.learn_given(frame[name])) is not None),
        tuple(relations),
        tuple(name for name in names if name in kept),
        decisions.notes(),
        orders=found_orders,
        in_part=tuple(in_part),
        weeks=split,
    )


def _named(
    columns: list[Column], values: dict[str, Numbers], decisions: Decisions, stated: Collection[str]
) -> list[Column]:
    """The columns, with numbers that turn out to be names as categories, which are encoded anew."""
    named = numbers_that_are_names([column for column in columns if column.name not in stated], values)
    for name, other in named.items():
        decisions.add(name, f"numbers that are names, as {other!r} follows from them", "`numbers=` makes them numbers")
    columns = [as_names(c, values[c.name]) if c.name in named else c for c in columns]
    for column in columns:
        if column.name in named:
            values[column.name] = column.kind.read(pl.Series(values[column.name], nan_to_null=True))
    return columns


def _with_holes(columns: list[Column], values: Mapping[str, Numbers], decisions: Decisions) -> list[Column]:
    """The columns with what their missing values mean, after some were completed from others."""
    shares = {c.name: float(c.missing(values[c.name]).mean()) if c.holes.share else 0.0 for c in columns}
    columns = [replace(c, holes=replace(c.holes, share=shares[c.name])) for c in columns]
    at_random = random_holes(columns, values)
    for name in sorted(at_random):
        decisions.add(name, AT_RANDOM, "")
    return [replace(c, holes=replace(c.holes, at_random=c.name in at_random)) for c in columns]


@dataclass
class Learner:
    """Learns one column after another; ``encoded`` holds what it read, by name."""

    decisions: Decisions
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    categories: Collection[str] = ()
    numbers: Collection[str] = ()
    asked: bool = True
    circular: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    kinds: Mapping[str, Kind | type[Kind]] = field(default_factory=dict)
    in_part: Collection[str] = ()
    encoded: dict[str, Numbers] = field(default_factory=dict)

    def learn(self, column: pl.Series) -> Column | Relation | None:
        """The description of a column: modelled, computed, or None if it is left out."""
        name, there = column.name, column.filter(pl.Series(~missing(column), dtype=pl.Boolean))
        if (column.dtype.is_nested() and name not in self.in_part) or column.dtype in (pl.Binary, pl.Object):
            self._leave(
                name, "holds lists or other nested values", " holds nested values; leave it out with `columns=`"
            )
            return None
        if not len(there):
            self._leave(name, "has no value in any row", " has no value in any row; leave it out with `columns=`")
            return None
        if there.n_unique() == 1 and len(there) == len(column):
            return self._constant(column)
        if name in self.kinds:
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
        if self._numbers_rows(name, values) or self._is_too_wide(name, values, hints):
            return None
        if reading.dtype == "" and column.dtype.is_float() and bool(column.is_infinite().any()):
            self.decisions.add(
                name, "infinite values are treated as missing", "`drop_missing=True` leaves such rows out"
            )
        kind = next(found for kind in KINDS if (found := kind.fits(values, hints)) is not None)
        return self._made(column, kind, reading.naming(kind.labels), values)

    def learn_given(self, column: pl.Series) -> ContextColumn | None:
        """How a column that is conditioned on is turned into context features; None if it is left out."""
        name, there = column.name, column.filter(pl.Series(~missing(column), dtype=pl.Boolean))
        if there.n_unique() < 2:
            said = f"is {(there.to_list() or [None])[0]!r} in every row"
            self._leave(name, f"{said}, so nothing depends on it", f" {said}; leave it out of `given=`")
            return None
        reading = self._reading(column, there)
        if name in self.kinds:
            known = self._own(column)
        elif name in self.categories or reading.dtype in ("String", "Boolean"):
            known = self._category(column, reading, "`given=`")
        else:
            values = reading.values(column)
            known = self._made(column, Number.of(present(values)), reading, values)
        numbers = self.encoded.pop(name)
        numbers = numbers[~np.isnan(numbers)]
        return (
            ContextColumn(known) if known.classes else ContextColumn(known, float(numbers.mean()), float(numbers.std()))
        )

    def _reading(self, column: pl.Series, there: pl.Series) -> Reading:
        """How a column's cells are read: as dates, truth values, numbers, numbers with marks, or names."""
        if column.name in self.in_part:
            return Reading(dtype="Part")
        if column.dtype.is_temporal() and column.name not in self.categories and there.n_unique() > 1:
            return Reading(dtype=moment_name(column.dtype))
        if column.dtype == pl.Boolean:
            return Reading(dtype="Boolean")
        if not is_text(column):
            return Reading()
        if column.dtype == pl.String and column.name not in self.categories and there.n_unique() > FEW:
            if (found := find_form(column)) is not None:
                self._note_form(column.name, found)
                return Reading(dtype=found.dtype, form=found.form, lenient=found.slip is not None)
            if holds_intervals(column, FEW):
                return Reading(dtype="Part", recorded=recorded(parsed(column), column))
            if (what := spoilt(column)) is not None and self._note_spoilt(column, *what):
                return Reading(dtype="Marked")
        return Reading(dtype="String")

    def _note_form(self, name: str, found: Form) -> None:
        """Notes what might have been read otherwise."""
        if found.slip is not None:
            self.decisions.add(
                name,
                f"dates or times; {found.slip!r} and the like are missing values",
                "`categories=` treats it as names",
                f": {found.slip!r} is not a {found.dtype.lower()}; correct it, or leave the column out with `columns=`",
            )
        if found.ambiguous is not None:
            first = "month" if found.form.replace("-", "").startswith("%m") else "day"
            self.decisions.add(
                name,
                f"dates such as {found.ambiguous!r} are read with the {first} first",
                "written as 2020-03-04 they cannot be misread",
            )

    def _note_spoilt(self, column: pl.Series, what: str, mend: str) -> bool:
        """Whether text is treated as numbers, with a note: if all but a few cells, or one or two words, are numbers."""
        values = as_numbers(column, marked=True)
        bad = np.isnan(values) & ~missing(column)
        if bad.sum() > SPOILT * len(values) and column.filter(pl.Series(bad)).n_unique() > 2:
            return False
        shown = "" if not bad.any() else f"; {column[int(bad.argmax())]!r} and the like are missing values"
        self.decisions.add(
            column.name,
            f"numbers that are written as text{shown}",
            "`categories=` treats it as names",
            f", {what}; {mend}",
        )
        return True

    def _hints(self, column: pl.Series, reading: Reading) -> Hints:
        name = column.name
        return Hints(
            name=name,
            source=self.decisions.source,
            bounds=self.bounds.get(name),
            period=self.circular.get(name),
            named=name in self.categories,
            scale=reading.moment or reading.dtype == "Part" or name in {*self.numbers, *self.bounds, *self.circular},
            moment=reading.dtype in ("Date", "Datetime"),
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
            self.decisions.add(
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
        name, kind = column.name, self.kinds[column.name]
        if isinstance(kind, type):
            found = kind.fits(column, replace(self._hints(column, Reading()), scale=True))
            if found is None:
                raise InputError(
                    f"{self.decisions.source}: column {name!r} is not of the kind {kind.__name__}", "kinds"
                )
            kind = found
        return self._made(column, kind, Reading(dtype="String"), column)

    def _category(self, column: pl.Series, reading: Reading, option: str) -> Column:
        values = column if column.dtype.is_integer() and not reading.dtype else reading.values(column)
        kind = Category.of(values)
        if kind.grouped:
            count = len(kind.values) - 1 + kind.grouped
            self.decisions.add(
                column.name,
                f"more than {MOST} different values: the rarest share the category (other)",
                f"{option} leaves it out",
                f" holds {count} different values, and a category may have {MOST}; leave it out with {option}, or "
                "group them",
            )
        return self._made(column, kind, reading.naming(kind.labels), values)

    def _constant(self, column: pl.Series) -> Relation:
        self.decisions.add(
            column.name,
            "constant, and written so in samples; a row with another value has density 0",
            "`columns=` leaves it out",
            f" is constant ({column[0]!r} in every row), so it has no density; leave it out with `columns=`",
        )
        temporal, stored = column.dtype.is_temporal(), stored_type(column.dtype)
        if column.dtype == pl.Boolean or (is_text(column) and not temporal):
            reading = Reading(dtype="Boolean" if column.dtype == pl.Boolean else "String", stored=stored)
            return Constant(Column(column.name, Category.of(column), reading))
        reading = Reading(dtype=moment_name(column.dtype) if temporal else "", stored=stored)
        value = present(reading.values(column))[:1]
        return Constant(Column(column.name, Number.of(value), reading), value=float(value[0]))

    def _names_rows(self, column: pl.Series, there: pl.Series, reading: Reading) -> bool:
        """Whether a column of text is left out, as a name or free text.

        Raises:
            InputError: it was to be numbers.
        """
        name = column.name
        if reading.dtype != "String" or name in self.categories or not is_text(column):
            return False
        if name in self.numbers:
            raise InputError(f"{self.decisions.source}: holds {there[0]!r}, which is not a number", "numbers", name)
        if there.n_unique() <= MOST_UNIQUE * len(column) or self.asked:
            return False
        self._leave(
            name,
            "a name or free text, different in most rows; `categories=` models it",
            f" holds {there.n_unique()} different values in {len(column)} rows; leave it out with `columns=`, or "
            "group them",
        )
        return True

    def _numbers_rows(self, name: str, values: pl.Series) -> bool:
        """Whether a column is left out, since it holds the row numbers, from 0 or 1, in any order."""
        if self.asked or self.decisions.strict or len(values) < 10 or values.null_count():
            return False
        ordered = np.sort(numbers_of(values))
        if ordered[0] not in (0, 1) or not (np.diff(ordered) == 1).all():
            return False
        self.decisions.add(name, "left out: it numbers the rows", "`columns=` models it")
        return True

    def _is_too_wide(self, name: str, values: pl.Series, hints: Hints) -> bool:
        """Whether a column is left out, since single precision does not hold its numbers."""
        x = present(values)
        if (not hints.scale and are_few(x)) or not (np.abs(x).max() > LARGEST or 0 < np.ptp(x) < 1 / LARGEST):
            return False
        what = f"runs from {x.min():g} to {x.max():g}, outside what single precision holds"
        if self.asked:
            raise InputError(f"{self.decisions.source}: column {name!r} {what}; change its units")
        self._leave(name, what, f" {what}; change its units")
        return True

    def _leave(self, name: str, why: str, refusal: str) -> None:
        """Leaves a column out."""
        self.decisions.add(name, f"left out: {why}", "", refusal)
