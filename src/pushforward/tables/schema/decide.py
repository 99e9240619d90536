"""Decides how to treat each column of a table: as modelled, and how; as computed from others; or as left out.

Any decision that a user might have wanted otherwise is noted, with the option that changes it; ``strict`` refuses it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from ...errors import InputError, listed
from .at_random import random_holes
from .categories import MAX_CATEGORIES, learn_category, value_names
from .columns import Column, ContextColumn
from .infer import FEW, LARGEST, Bounds, few_values, learn_column
from .names import as_names, numbers_that_are_names
from .numbers import missing, refuse_gaps, spoilt
from .reading import MOMENTS, as_numbers, is_text, moment_form, stored_type
from .relations import Relation, complete
from .schema import Schema
from .sums import find_relations

MOST_UNIQUE = 0.5  # share of distinct values among the rows above which text counts as identifiers
AT_RANDOM = "values are missing at random, so log-densities do not count which are"
SPOILT = 0.05  # share of non-numeric cells in a numeric column


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
        asked: Whether the user named the columns, so that row counters and identifiers are not left out.
        strict: Refuse what would otherwise be decided.

    Raises:
        InputError: a column leaves its stated bounds, no column is left to model, or ``strict`` refuses one.
    """
    decisions = Decisions(source, strict)
    if strict:
        refuse_gaps(frame, [*names, *given], source)
    learner = Learner(decisions, dict(bounds or {}), categories, numbers, asked, dict(circular or {}))
    columns: list[Column] = []
    relations: list[Relation] = []
    for name in names:
        found, stored = learner.learn(frame[name]), stored_type(frame[name].dtype)
        if isinstance(found, Relation):
            relations.append(replace(found, column=replace(found.column, stored=stored)))
        elif found is not None:
            columns.append(replace(found, stored=stored))
    if not columns:
        raise InputError("; ".join([f"{source}: no column is left to model", *decisions.notes()]))
    values = {column.name: column.read(frame[column.name]) for column in columns}
    named = numbers_that_are_names([c for c in columns if c.name not in (*numbers, *learner.bounds)], values)
    for name, other in named.items():
        decisions.add(name, f"numbers that are names, as {other!r} follows from them", "`numbers=` makes them numbers")
    columns = [as_names(c, values[c.name]) if c.name in named else c for c in columns]
    values |= {c.name: c.read(frame[c.name]) for c in columns if c.name in named}
    columns, follow = find_relations(columns, values)
    for relation in follow:
        decisions.add(
            relation.column.name,
            f"{relation}: computed so in samples; a row that breaks it has density 0",
            "`columns=` leaves it out",
            f" follows from others ({relation}), so together they have no density; leave one out with `columns=`",
        )
    relations += follow
    values = complete(values, columns, follow, frame)
    columns = [replace(c, holes=float(c.missing(values[c.name]).mean())) if c.holes else c for c in columns]
    at_random = random_holes(columns, values)
    columns = [replace(c, at_random=c.name in at_random) for c in columns]
    for name in sorted(at_random):
        decisions.add(name, AT_RANDOM, "")
    flags = [
        Column(
            f"{c.name} is missing", "missing", maximum=1.0, quantiles=(0.0, 1.0), categories=("no", "yes"), of=c.name
        )
        for c in columns
        if c.holes and not c.categories
    ]
    kept = [name for name in names if name in {c.name for c in [*columns, *(r.column for r in relations)]}]
    return Schema(
        (*columns, *flags),
        tuple(learner.learn_given(frame[name]) for name in given),
        tuple(relations),
        tuple(kept),
        decisions.notes(),
    )


@dataclass
class Learner:
    """Learns one column after another."""

    decisions: Decisions
    bounds: Mapping[str, Bounds]
    categories: Collection[str]
    numbers: Collection[str]
    asked: bool
    circular: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def learn(self, column: pl.Series) -> Column | Relation | None:
        """The description of a column: modelled, computed, or None if it is left out."""
        name, there = column.name, column.filter(pl.Series(~missing(column), dtype=pl.Boolean))
        if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
            self._leave(
                name, "holds lists or other nested values", " holds nested values; leave it out with `columns=`"
            )
            return None
        if not len(there):
            self._leave(name, "has no value in any row", " has no value in any row; leave it out with `columns=`")
            return None
        if there.n_unique() == 1 and len(there) == len(column):
            return self._constant(column)
        if name in self.categories:
            return self._category(column, there)
        if column.dtype.is_temporal():
            return self._moment(column, _moment_name(column.dtype))
        if is_text(column):
            return self._text(column, there)
        if column.dtype == pl.Boolean:
            return learn_category(column)
        return self._number(column)

    def learn_given(self, column: pl.Series) -> ContextColumn:
        """How a column that is conditioned on is turned into context features."""
        name, there = column.name, column.filter(pl.Series(~missing(column), dtype=pl.Boolean))
        if there.n_unique() < 2:
            shown = there.to_list()[:1] or [None]
            said = f"column {name!r} is {shown[0]!r} in every row; leave it out of `given=`"
            raise InputError(f"{self.decisions.source}: {said}")
        dtype, form = _moment_name(column.dtype) if column.dtype.is_temporal() else "", ""
        if column.dtype == pl.String and name not in self.categories and there.n_unique() > FEW:
            dtype, form = moment_form(column) or (dtype, form)
            if not dtype and (what := spoilt(column)) is not None and self._note_spoilt(column, *what):
                dtype = "Marked"
        if name in self.categories or (is_text(column) and not dtype):
            known = self._category(column, there, "given")
            return ContextColumn(name, known.categories, dtype=known.dtype, holes=known.holes, grouped=known.grouped)
        values = as_numbers(column, dtype, form)
        holes, values = float(np.isnan(values).mean()), values[~np.isnan(values)]
        scale = float(values.std())
        return ContextColumn(name, mean=float(values.mean()), scale=scale, dtype=dtype, form=form, holes=holes)

    def _leave(self, name: str, why: str, refusal: str) -> None:
        self.decisions.add(name, f"left out: {why}", "", refusal)

    def _constant(self, column: pl.Series) -> Relation:
        shown = column[0]
        self.decisions.add(
            column.name,
            "constant, and written so in samples; a row with another value has density 0",
            "`columns=` leaves it out",
            f" is constant ({shown!r} in every row), so it has no density; leave it out with `columns=`",
        )
        if column.dtype == pl.Boolean or (is_text(column) and not column.dtype.is_temporal()):
            return Relation(learn_category(column))
        dtype = _moment_name(column.dtype) if column.dtype.is_temporal() else ""
        value = float(as_numbers(column, dtype)[0])
        known = Column(column.name, integer=value % 1 == 0, minimum=value, maximum=value, dtype=dtype)
        return Relation(known, offset=value)

    def _category(self, column: pl.Series, there: pl.Series, argument: str = "columns") -> Column:
        count = len(value_names(there))
        if count > MAX_CATEGORIES:
            self.decisions.add(
                column.name,
                f"more than {MAX_CATEGORIES} different values: the rarest share the category (other)",
                f"`{argument}=` leaves it out",
                f" holds {count} different values, and a category may have {MAX_CATEGORIES}; leave it out with "
                f"`{argument}=`, or group them",
            )
        return learn_category(column)

    def _text(self, column: pl.Series, there: pl.Series) -> Column | None:
        name, distinct = column.name, there.n_unique()
        if distinct > FEW:
            form = None if column.dtype != pl.String else moment_form(column)
            if form is not None:
                return self._moment(column, *form)
            if column.dtype == pl.String and (what := spoilt(column)) is not None and self._note_spoilt(column, *what):
                return self._number(column, "Marked")
        if name in self.numbers:
            raise InputError(f"{self.decisions.source}: holds {there[0]!r}, which is not a number", "numbers", name)
        if distinct > MOST_UNIQUE * len(column) and not self.asked:
            self._leave(
                name,
                "a name or free text, different in most rows; `categories=` models it",
                f" holds {distinct} values in {len(column)} rows; leave it out with `columns=`, or group them",
            )
            return None
        return self._category(column, there)

    def _note_spoilt(self, column: pl.Series, what: str, mend: str) -> bool:
        """Whether text is treated as numbers, with a note: if all but a few cells, or one or two words, are numbers."""
        values = as_numbers(column, "Marked")
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

    def _moment(self, column: pl.Series, dtype: str, form: str = "") -> Column:
        values = as_numbers(column, dtype, form)
        if len(np.unique(values[~np.isnan(values)])) == 1:
            return learn_category(column)
        return learn_column(column.name, values, self.decisions.source, dtype=dtype, form=form)

    def _number(self, column: pl.Series, dtype: str = "") -> Column | None:
        name, values = column.name, as_numbers(column, dtype)
        there = values[~np.isnan(values)]
        if not (self.asked or self.decisions.strict) and _counts_rows(values):
            self.decisions.add(name, "left out: it numbers the rows", "`columns=` models it")
            return None
        period = self.circular.get(name)
        chosen = name in self.numbers or name in self.bounds or period is not None
        if len(np.unique(there)) == 1 or (not chosen and few_values(there)):
            return learn_category(pl.Series(name, values, nan_to_null=True), "values")
        if np.abs(there).max() > LARGEST or 0 < np.ptp(there) < 1 / LARGEST:
            lowest, highest = there.min(), there.max()
            what = f"runs from {lowest:g} to {highest:g}, outside what single precision holds"
            if self.asked:
                raise InputError(f"{self.decisions.source}: column {name!r} {what}; change its units")
            self._leave(name, what, f" {what}; change its units")
            return None
        infinite = column.dtype.is_float() and bool(column.is_infinite().any())
        if infinite:
            self.decisions.add(
                name, "infinite values are treated as missing", "`drop_missing=True` leaves such rows out"
            )
        float32 = column.dtype == pl.Float32
        bounds = self.bounds.get(name)
        return learn_column(name, values, self.decisions.source, bounds, period, float32=float32, dtype=dtype)


def _counts_rows(values: np.ndarray) -> bool:
    """Whether a column holds the row numbers, from 0 or 1, in any order."""
    if len(values) < 10 or np.isnan(values).any():
        return False
    ordered = np.sort(values)
    return ordered[0] in (0, 1) and bool((np.diff(ordered) == 1).all())


def _moment_name(dtype: pl.DataType) -> str:
    return next(name for name in MOMENTS if dtype == getattr(pl, name))
