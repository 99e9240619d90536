"""What a model knows about a table: its columns by name, how rows are encoded, and how they are written back."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ...distributions.truncated import InOrder
from ...errors import listed
from ...models.console import aligned
from ...numerics.indicators import indicators
from ...numerics.partly_known import unknown
from .columns import Column, ContextColumn
from .kinds.base import Numbers
from .kinds.few_values import is_unseen
from .missingness import Missingness
from .notes import Note
from .numbers import refuse_text, require_columns, usable_rows
from .partial_cells import typical_of
from .relations.base import Dependencies, Dependency, Relation
from .relations.composition import Composition, compositions
from .relations.dates import Weeks
from .relations.formula import Formula, Near
from .relations.formula_search import near
from .relations.known_in_part import KnownInPart, joined
from .relations.labels import Threshold
from .relations.order import Kept, in_order
from .saved import Saved
from .upgrade import upgraded


@dataclass(frozen=True)
class Encoded:
    """Rows of a table as a model sees them."""

    x: Tensor  # ``(rows, features)``, float64; NaN where a value is missing, unless a column has a class for that
    context: Tensor | None  # ``(rows, context features)``; None if the model has no given columns
    follow: Mapping[str, Numbers]  # the columns that follow from others, as far as the table has them
    strange: Tensor  # which rows have a given value of which nothing is known, ``(rows,)``; x is NaN there
    notes: tuple[Note, ...]  # what is said of these


def _of(kind: Any) -> Callable[[Any], tuple[Any, ...]]:
    """The relations of a schema that are of one kind."""
    return lambda schema: tuple(relation for relation in schema.relations if isinstance(relation, kind))


@dataclass(frozen=True)
class Schema(Saved):
    """The columns of a model, by name.

    Args:
        columns: The modelled columns, in the order of the flow's features; at the end, for every column of numbers with
            missing values in training that others do not tell, one that flags them; if missingness is uninformative and
            a guide fills the holes, there is no such column (:meth:`ignoring`).
        given: The columns that are conditioned on, in the order of the context features.
        relations: What columns know of each other: which follow from others, are formulas of them up to a remainder
            (none computed from a later one), are never above another, are parts of a whole, ...
        order: The names of the columns of samples, in the table's order; empty for the order of ``columns``.
        notes: What was decided about columns, one sentence each, with the option that changes it.
    """

    columns: tuple[Column, ...]
    given: tuple[ContextColumn, ...] = field(default=())
    relations: tuple[Relation, ...] = ()
    order: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """The columns, and the relations between them, one in each line."""
        return "\n".join([f"Schema of {len(self.table_names)} columns", *self.described])

    @property
    def described(self) -> list[str]:
        """How each column is treated, and what columns know of each other, in lines."""
        said = [(column.name, column.describe()) for column in self.fields]
        table = [(name, each.kind, each.low, each.high, each.first) for name, each in said]
        lines = aligned([("column", "kind", "from", "to", "first transform"), *table])
        lines += [f"  {column.name}: {listed(column.kind.labels)}" for column in self.fields if column.classes]
        lines += [f"  {relation}" for relation in self.relations]
        for given in self.given:
            labels = given.column.kind.labels
            lines.append(f"  given {given.name}: {listed(labels) if labels else 'a number'}")
        remarks = [*(column.kind.remark for column in self.fields), *self.missingness.remarks]
        return [*lines, *(line for remark in dict.fromkeys(filter(None, remarks)) for line in ("", remark))]

    @cached_property
    def fields(self) -> tuple[Column, ...]:
        """The modelled columns of the table, without those that flag missing values."""
        return tuple(column for column in self.columns if not column.kind.flags)

    def drawn(self, at: Sequence[int]) -> dict[str, Any]:
        """What figures have to know of some columns: names, steps of grids, and how dates are written."""
        columns = [self.columns[j] for j in at]
        steps = {k: column.kind.step for k, column in enumerate(columns) if column.kind.step > 0}
        texts = {k: column.shown for k, column in enumerate(columns) if column.reading.moment}
        return {"columns": [column.name for column in columns], "steps": steps, "texts": texts}

    @cached_property
    def features(self) -> list[str]:
        """What the features of encoded rows are called."""
        return [column.name for column in self.columns]

    @cached_property
    def names(self) -> list[str]:
        """The modelled columns of the table."""
        return [column.name for column in self.fields]

    @cached_property
    def follow_names(self) -> list[str]:
        """The columns that follow from others."""
        return [column.name for column in self.dependencies.columns]

    @cached_property
    def asked(self) -> dict[str, Column]:
        """The columns that have a distribution, by name: modelled ones, and those that follow from others."""
        return {column.name: column for column in (*self.fields, *self.dependencies.columns)}

    @cached_property
    def dependencies(self) -> Dependencies:
        """Columns that follow from others, and are not modelled."""
        return Dependencies(_of(Dependency)(self), self.columns)

    near = cached_property(_of(Near))  # columns that are formulas of others up to a remainder
    orders = cached_property(_of(Kept))  # which values columns have beside others
    in_part = cached_property(_of(KnownInPart))  # columns that say what rows know of others
    compositions = cached_property(_of(Composition))  # parts of a whole, of which one follows from the others
    weeks = cached_property(_of(Weeks))  # which dates are seen as Mondays, beside the weekdays that a column tells

    @cached_property
    def given_names(self) -> list[str]:
        return [given.name for given in self.given]

    @property
    def table_names(self) -> list[str]:
        """All columns of the table that the model knows: modelled, given, and those that follow from others."""
        return [*self.names, *self.given_names, *self.follow_names]

    @cached_property
    def context_features(self) -> int:
        return sum(given.width for given in self.given)

    @cached_property
    def classes(self) -> tuple[int, ...]:
        """The number of classes of each column, counting a missing value as one if it has its own; 0 for numbers."""
        return tuple(column.classes for column in self.columns)

    @cached_property
    def numbers(self) -> list[int]:
        """Indices of the columns of numbers."""
        return [j for j, classes in enumerate(self.classes) if not classes]

    @cached_property
    def circles(self) -> list[int]:
        """Indices of the columns with a period."""
        return [j for j, column in enumerate(self.columns) if column.kind.circle is not None]

    @cached_property
    def labels(self) -> dict[int, tuple[str, ...]]:
        """The names of the classes of every column that has any."""
        return {j: column.labels for j, column in enumerate(self.columns) if column.classes}

    @cached_property
    def numeric(self) -> Schema:
        """The schema of the columns of numbers alone."""
        return Schema(tuple(self.columns[j] for j in self.numbers), relations=(*self.near, *self.compositions))

    @cached_property
    def has_cells(self) -> bool:
        """Whether log-densities are averages over cells: of whole, rounded or inflated numbers, or of missing ones."""
        return self.missingness.occurs or any(column.kind.has_cells for column in self.columns)

    @cached_property
    def missingness(self) -> Missingness:
        """What is known of missing values."""
        return Missingness(self.columns)

    # Changed schemas

    def bare(self) -> Schema:
        """The schema without first maps, except those that keep a column within its bounds."""
        return replace(self, columns=tuple(replace(c, kind=c.kind.without("asinh", "histogram")) for c in self.columns))

    def shaped(self, x: Tensor, weights: Tensor | None = None, *, again: bool = False) -> Schema:
        """The schema whose first maps have what they take from the training rows: histograms and tails.

        Args:
            x: Encoded training rows ``(n, features)``.
            weights: The weight of each row, ``(n,)``.
            again: Whether other rows have shaped it, whose sort of first maps is kept: what is to judge rows that a
                density did not see must not have taken them into a histogram either.
        """
        weight = np.ones(len(x)) if weights is None else weights.double().numpy()
        pairs = zip(self.columns, x.T.numpy(), strict=True)
        columns = tuple(replace(c, kind=c.kind.shaped(values, weight, again)) for c, values in pairs)
        return replace(self, columns=columns)

    def with_near(self, x: Tensor, free: Collection[str], stated: Mapping[str, Formula]) -> Schema:
        """The schema with parts of wholes, and formulas that columns are up to a remainder, each said in a note.

        Args:
            x: Encoded training rows ``(n, features)``.
            free: Columns of which none is looked for.
            stated: Formulas of columns that the user stated.
        """
        values = self._values(x.numpy())
        wholes = compositions(self.fields, self.dependencies.relations, values)
        seen = {name for each in wholes if each.ratios for name in (*each.parts, *each.wholes)}
        left = {name: formula for name, formula in stated.items() if name not in seen}
        found = near(self.fields, values, {*free, *seen}, left)
        why = "it is defined in too few rows, leaves no remainder, or is one of a circle"
        unused = left.keys() - {relation.name for relation in found}
        said = [f"{each}" for each in wholes]
        said += [f"{relation}: the flow learns the remainder" for relation in found]
        said += [f"{name!r} is modelled without {left[name]}: {why}" for name in left if name in unused]
        return replace(self, relations=(*self.relations, *found, *wholes), notes=(*self.notes, *said))

    def ignoring(self) -> Schema:
        """The schema without the flags of values missing at random, which are integrated out, unless there is but one
        value, of which nothing would be left to learn."""
        idle = [flag for j, flag in self.missingness.flags.items() if self.columns[j].holes.at_random]
        columns = [column for j, column in enumerate(self.columns) if j not in idle]
        return replace(
            self, columns=tuple(c.ignoring() if c.holes.at_random and c.kind.classes != 1 else c for c in columns)
        )

    def rows_of(self, other: Schema, x: Tensor) -> Tensor:
        """Rows ``(n, features)`` that a schema with more features has encoded, as this one encodes them."""
        x = x[:, [other.features.index(name) for name in self.features]]
        for j, column in enumerate(self.columns):
            if column.holes.ignored and column.classes:
                x[:, j].masked_fill_(x[:, j] == column.classes, math.nan)
        return x

    def following(self) -> Schema:
        """The schema in which modelled labels that modelled columns tell are computed from these."""
        told = {label.column.name for label in self.told_labels}
        apart = [each for each in self.orders if {*each.names} & told]
        columns = [column for column in self.columns if column.name not in told]
        return replace(self, columns=tuple(columns), relations=tuple(r for r in self.relations if r not in apart))

    # From a table to numbers

    def check(self, frame: pl.DataFrame, source: str) -> None:
        """Refuses a table that lacks a column of the model, or holds text in a numeric column of the model."""
        frame = self.joined(frame, source)
        if not self._needed.keys() <= {*frame.columns}:
            require_columns(frame.columns, [*self._needed], source)
        odd = [name for name, plain in self._needed.items() if plain and not frame[name].dtype.is_numeric()]
        if odd:
            refuse_text(frame, odd, source)

    @cached_property
    def known(self) -> tuple[Column, ...]:
        """The columns that rows must have: those that are modelled, and the given ones."""
        return (*self.fields, *(given.column for given in self.given))

    @cached_property
    def _needed(self) -> dict[str, bool]:
        """Their names, and whether they must hold numbers."""
        return {column.name: column.reading.takes_numbers for column in self.known}

    @cached_property
    def _strict(self) -> list[Column]:
        """The modelled columns that refuse some cells."""
        return [column for column in self.fields if column.refuses]

    @cached_property
    def lenient(self) -> list[Column]:
        """The columns that rows may have in which text that cannot be read is a missing value."""
        known = (*self.asked.values(), *(given.column for given in self.given))
        return [c for c in known if c.reading.lenient or c.reading.dtype in ("Marked", "Part")]

    def extra_names(self, columns: Sequence[str]) -> list[str]:
        """Columns of a table that the model does not use."""
        aside = [name for each in self.in_part for name in each.aside]
        return [name for name in columns if name not in [*self.table_names, *aside]]

    def lacks(self, columns: Collection[str]) -> list[str]:
        """The modelled columns of which a table with these columns says nothing."""
        told = [each.name for each in self.in_part if {*each.columns} <= {*columns}]
        return [name for name in self.names if name not in columns and name not in told]

    def usable(self, frame: pl.DataFrame) -> np.ndarray:
        """Which rows have a value in every column of the model that the table has."""
        return usable_rows(self.joined(frame, "table"), [name for name in self._needed if name in frame.columns])

    def encode(self, frame: pl.DataFrame, source: str, first: int = 0) -> Encoded:
        """Rows of a table as the model sees them.

        Args:
            source: Their file, for error messages.
            first: The number of the first row in the file, from 0, for error messages.
        """
        frame = self.joined(frame, source)
        self.check(frame, source)
        values: dict[str, Numbers] = {column.name: column.read(frame[column.name]) for column in self.fields}
        for column in self._strict:
            column.refuse(frame[column.name], values[column.name], source, first)
        follow: dict[str, Numbers] = {}
        if self.relations:
            known = [column for column in self.dependencies.columns if column.name in frame.columns]
            follow = {column.name: column.read(frame[column.name]) for column in known}
            values = self.dependencies.completed(values, follow)
        for week in self.weeks:
            week.split(values)
        for name, flag in self.missingness.flag_of.items():
            cells = values.get(name, follow.get(name))
            gone = np.full(frame.height, np.nan) if cells is None else self.asked[name].missing(cells)
            values[self.columns[flag].name] = gone.astype(np.float64)
        x = torch.from_numpy(np.column_stack([values[column.name] for column in self.columns]))
        context, strange, notes = self.context(frame, source, first)
        return Encoded(x.masked_fill(strange[:, None], math.nan) if notes else x, context, follow, strange, notes)

    def joined(self, frame: pl.DataFrame, source: str) -> pl.DataFrame:
        """The table with what its rows know of numbers in their own cells, not in further columns."""
        return joined(frame, self.in_part, source) if self.in_part else frame

    def values_of(self, context: Tensor | None) -> list[tuple[Column, Tensor]]:
        """The given columns and their values ``(n,)``, from the features of a context."""
        if context is None:
            return []
        parts = context.double().split([given.width for given in self.given], -1)
        return [(given.column, given.values(part)) for given, part in zip(self.given, parts, strict=True)]

    def context(
        self, frame: pl.DataFrame, source: str, first: int = 0
    ) -> tuple[Tensor | None, Tensor, tuple[Note, ...]]:
        """The given columns as float32 features, None if the model has none; which rows have a value of which nothing
        is known, ``(rows,)``; and what is said of these, a sentence for each column."""
        if not self.given:
            return None, torch.zeros(frame.height, dtype=torch.bool), ()
        strange, notes, parts = torch.zeros(frame.height, dtype=torch.bool), list[Note](), list[Tensor]()
        for given in self.given:
            features, odd = given.features(frame[given.name], source, first)
            parts.append(features)
            strange |= odd
            if odd.any():
                notes.append(given.column.strange_in(frame[given.name], odd, source, first))
        return torch.cat(parts, 1).float(), strange, tuple(notes)

    def unseen(self, x: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
        """The named columns with which encoded rows have an impossible value there, and which merely one that no
        training row had, ``(n,)`` each."""
        for j in self._named:
            new, possible = x[:, j] < 0, bool(self.columns[j].kind.stands_in)
            yield self.features[j], new & (not possible), is_unseen(x[:, j]) | new & possible

    def as_new(self, x: Tensor) -> Tensor:
        """Encoded rows of those that the columns were learnt from, as further rows would be encoded."""
        return torch.stack([column.kind.as_new(x[:, j]) for j, column in enumerate(self.columns)], 1)

    def unplaced(self, x: Tensor) -> Tensor:
        """Which encoded rows have a value without a class, ``(n,)``."""
        return (x[:, self._named] < 0).any(1)

    def lacking(self, x: Tensor) -> Tensor:
        """Which entries of encoded rows ``(n, features)`` are missing although no training row misses them."""
        return unknown(x) & torch.tensor([not (column.holes.share or column.kind.flags) for column in self.columns])

    def broken(self, rows: Encoded) -> np.ndarray:
        """Which rows violate each dependency, ``(dependencies, n)``."""
        return self.dependencies.broken(self.dated(rows.x), rows.follow, len(rows.x))

    def contradictions(self, broken: Iterable[np.ndarray], source: str, first: int = 0, so: str = "") -> list[Note]:
        """What is said of rows that violate dependencies, ``(dependencies, n)``, and what follows of that."""
        pairs = zip(self.dependencies, broken, strict=True)
        return [Note.of(odd, f" contradicts this: {each}{so}", source, first) for each, odd in pairs if odd.any()]

    def dated(self, x: Tensor) -> dict[str, Numbers]:
        """The columns of encoded rows by name, with dates in the place of Mondays."""
        values = self._values(x.numpy())
        for week in self.weeks:
            week.joined(values)
        return values

    # About encoded rows

    def features_of(self, names: Collection[str]) -> Tensor:
        """Which features belong to the columns of these names, ``(features,)``, with the flags of missing values."""
        return torch.tensor([column.name in names or column.kind.flags in names for column in self.columns])

    def seen(self, x: Tensor) -> Tensor:
        """Encoded rows ``(*batch, features)`` with every unseen number replaced by the nearest one that was seen."""
        if self._named:
            x = x.clone()
            x[..., self._named] = x[..., self._named].floor()
        return x

    def before_numbers(self, x: Tensor, context: Tensor | None) -> Tensor | None:
        """What the numbers of encoded rows are modelled given: their context, then an indicator of every category."""
        parts = [] if context is None else [context.float()]
        if self._named:
            parts.append(indicators(x[..., self._named], [self.classes[j] for j in self._named]).float())
        return torch.cat(parts, -1) if parts else None

    @cached_property
    def _named(self) -> list[int]:
        """Indices of the columns with classes."""
        return [j for j, classes in enumerate(self.classes) if classes]

    def far(self, x: Tensor) -> Tensor:
        """Which drawn rows ``(*batch, features)`` have a number, or one follows, of which training rows tell nothing:
        farther beyond them than they are apart, or beyond an end that many of them share."""
        x, (low, high) = self.missingness.emptied(x.detach().double().cpu()), self.reach
        odd = ((x < low) | (x > high)).any(-1)
        if self.follow_names:
            values = self.dated(self.snap(x.flatten(0, -2)))  # as they are written, so that few values are those
            odd |= torch.from_numpy(self.dependencies.far(values)).view(odd.shape)
        return odd

    @cached_property
    def reach(self) -> tuple[Tensor, Tensor]:
        """Between which ends each feature is not far, ``(features,)`` each; what is known in part may lie beyond."""
        low, high = zip(*(column.limits(1.0 + (column.holes.in_part > 0)) for column in self.columns), strict=True)
        return torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)

    def reaching(self, x: Tensor) -> Schema:
        """The schema whose draws may lie where further encoded rows do, too, and what follows from these."""
        values = {**self.dependencies.computed(self.dated(x.double())), **self._values(x.double().numpy())}

        def wider(column: Column) -> Column:
            return replace(column, kind=column.kind.reaching(values[column.name]))

        told = (replace(r, column=wider(r.column)) if isinstance(r, Dependency) else r for r in self.relations)
        return replace(self, columns=tuple(map(wider, self.columns)), relations=tuple(told))

    def log_of_unseen(self, x: Tensor) -> Tensor | float:
        """The change in the log-densities of encoded rows for numbers that no training row had, in nats; see
        :mod:`~.kinds.few_values`."""
        changes = [self.columns[j].kind.log_unseen(x[..., j]) for j in self._named if self.columns[j].kind.unseen]
        return sum(changes, start=0.0)

    def in_order(self, *stated: bool) -> InOrder | None:
        """Whether encoded rows keep orders that are stated, and labels (True), orders that are found (False) or either,
        if there are any."""
        labels = self.told_labels if True in stated else []
        orders = [*(each for each in self.orders if each.stated in stated), *labels]
        return in_order(orders, self.columns, self.missingness.flags, self.relations) if orders else None

    @cached_property
    def told_labels(self) -> list[Threshold]:
        """The modelled labels that modelled columns tell."""
        return [each for each in _of(Threshold)(self) if each.column.name in self.names]

    # From numbers to a table

    def snap(self, x: Tensor) -> Tensor:
        """Drawn rows ``(n, features)`` moved to values that the table can hold; NaN where they are missing."""
        return torch.from_numpy(np.column_stack(list(self._snapped(self.missingness.emptied(x)).values())))

    def _snapped(self, x: Tensor) -> dict[str, Numbers]:
        """The columns of drawn rows, NaN where numbers are missing, by name, the same way."""
        pairs = zip(self.columns, x.double().numpy().T, strict=True)
        snapped = {column.name: column.kind.snap(values) for column, values in pairs}
        for composition in self.compositions:
            composition.fit_in(snapped)
        return snapped

    def frame(self, x: Tensor, context: Tensor | None) -> pl.DataFrame:
        """Encoded rows as the table has them, with the given columns last."""
        given = [column.written(values.numpy()) for column, values in self.values_of(context)]
        return self.decode(x).hstack(given)

    def values_in(self, name: str, x: Tensor) -> Tensor:
        """A column of drawn rows ``(*batch, features)``, be it one that follows from others, encoded; NaN where it is
        missing."""
        rows = self.dated(self.snap(x.double().cpu().flatten(0, -2)))
        return torch.from_numpy(self.dependencies.computed(rows)[name]).reshape(x.shape[:-1])

    def decode(self, x: Tensor, into: pl.DataFrame | None = None, told: Tensor | None = None) -> pl.DataFrame:
        """Samples as a table: snapped to grids, whole numbers as integers, categories by name, holes empty.

        Args:
            x: Encoded rows ``(n, features)``.
            into: The table whose holes they fill: numbers are written as such, not as the interval that is recorded for
                them, and dates that are no text there as dates.
            told: What was told of these rows, encoded, from which others follow as it is; NaN where nothing was.
        """
        drawn, known = self.missingness.emptied(x.detach().double().cpu()), self.fields
        together = self.follow_names or self.compositions or self.weeks
        snapped = self._snapped(drawn) if together else self._values(drawn.numpy())
        if told is not None:
            values = self._values(told.numpy())
            snapped = {name: np.where(np.isnan(values[name]), own, values[name]) for name, own in snapped.items()}
        for week in self.weeks:
            week.joined(snapped)
        if self.follow_names:
            follow = self.dependencies
            snapped, known = follow.computed(snapped), (*known, *follow.columns)
        if into is not None:
            known = tuple(replace(c, reading=c.reading.into(into.schema.get(c.name))) for c in known)
        rows = pl.DataFrame([column.written(snapped[column.name]) for column in known]).select(self.order or pl.all())
        for each in self.in_part:
            if each.name in rows.columns:
                rows = rows.drop(each.name).with_columns(each.write(rows[each.name]))
        return rows

    def amounts(self, rows: pl.DataFrame) -> pl.DataFrame:
        """A table with dates, and numbers that are written as text, as numbers: what distances can be taken of."""
        for name, column in self.dependencies.known.items():
            if rows.schema.get(name) == pl.String:
                read = column.reading.values(rows[name])
                rows = rows.with_columns((typical_of(read)[0] if read.dtype == pl.Struct else read).alias(name))
        return rows

    def _values(self, x: np.ndarray) -> dict[str, Numbers]:
        return dict(zip(self.features, x.T.copy(), strict=True))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Schema:
        return super().from_json(upgraded(values))
