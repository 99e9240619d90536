"""What a model knows about a table: its columns by name, how rows are encoded, and how they are written back."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from .categories import given_features
from .columns import Column, ContextColumn, refuse_outside
from .missingness import Missingness
from .numbers import missing, refuse_text, refuse_unread, require_columns, usable_rows
from .relations import Relation, complete
from .unseen import is_unseen, log_of_unseen


@dataclass(frozen=True)
class Schema:
    """The columns of a model, by name.

    Args:
        columns: The modelled columns, in the order of the flow's features; at the end, for every numeric column with
            missing values in training, a column that flags them; if missingness is uninformative and a guide fills the
            holes, there is no such column (:meth:`ignoring`).
        given: The columns that are conditioned on, in the order of the context features.
        relations: Columns that follow from others.
        order: The names of the columns of samples, in the table's order; empty for the order of ``columns``.
        notes: What was decided about columns, one sentence each, with the option that changes it.
    """

    columns: tuple[Column, ...]
    given: tuple[ContextColumn, ...] = field(default=())
    relations: tuple[Relation, ...] = ()
    order: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The modelled columns of the table."""
        return [column.name for column in self.columns if not column.of]

    @property
    def follow_names(self) -> list[str]:
        """The columns that follow from others."""
        return [relation.column.name for relation in self.relations]

    @property
    def fields(self) -> tuple[Column, ...]:
        """The modelled columns of the table, without those that flag missing values."""
        return tuple(column for column in self.columns if not column.of)

    @property
    def given_names(self) -> list[str]:
        return [given.name for given in self.given]

    @property
    def text_names(self) -> list[str]:
        """The columns that hold text or booleans."""
        named = [column.name for column in self.columns if column.categories and column.dtype in ("String", "Boolean")]
        return named + [given.name for given in self.given if given.categories]

    @property
    def context_features(self) -> int:
        return sum(given.width for given in self.given)

    @property
    def numbers(self) -> list[int]:
        """Indices of the numeric columns."""
        return [j for j, column in enumerate(self.columns) if not column.categories]

    @property
    def circles(self) -> list[int]:
        """Indices of the columns with a period."""
        return [j for j, column in enumerate(self.columns) if column.period is not None]

    @property
    def classes(self) -> tuple[int, ...]:
        """The number of categories of each column; 0 for numbers."""
        return tuple(column.classes for column in self.columns)

    @property
    def numeric(self) -> Schema:
        """The schema of the numeric columns alone."""
        return Schema(tuple(self.columns[j] for j in self.numbers))

    @property
    def has_cells(self) -> bool:
        """Whether log-densities are averages over cells: of whole, rounded or inflated numbers, or of missing ones."""
        return self.has_holes or any(column.has_cells for column in self.columns)

    @cached_property
    def missingness(self) -> Missingness:
        """What is known of missing values."""
        return Missingness(self.columns)

    @property
    def has_holes(self) -> bool:
        """Whether training rows have missing numbers."""
        return self.missingness.occurs

    @property
    def value_classes(self) -> tuple[int, ...]:
        """The number of values of each column that has a probability for each, missing not counted; 0 for numbers."""
        return tuple(len(column.categories) for column in self.columns)

    @property
    def labels(self) -> dict[int, tuple[str, ...]]:
        """The names of the values of every column that has a probability for each."""
        return {j: column.labels for j, column in enumerate(self.columns) if column.classes}

    @property
    def steps(self) -> dict[int, float]:
        """The spacing of the values of every column that lies on a grid."""
        return {j: column.step for j, column in enumerate(self.columns) if column.step > 0}

    @property
    def speaks(self) -> bool:
        """Whether the values of some column are shown as text, not as plain numbers."""
        return any(self.classes)

    def bare(self) -> Schema:
        """The schema without first transforms, except those that keep a column within its bounds."""
        return replace(self, columns=tuple(column.bare() for column in self.columns))

    def features_of(self, names: Collection[str]) -> Tensor:
        """Which features belong to the columns of these names, ``(features,)``, with the flags of missing values."""
        return torch.tensor([column.name in names or column.of in names for column in self.columns])

    def ignoring(self) -> Schema:
        """The schema without the flags of values missing at random, which are integrated out."""
        columns = [self.columns[j] for j in self.missingness.telling]
        return replace(self, columns=tuple(c.ignoring() if c.at_random else c for c in columns))

    def ignore(self, x: Tensor) -> Tensor:
        """Encoded rows ``(n, features)`` as encoded by the schema that :meth:`ignoring` returns."""
        x = x[:, self.missingness.telling]
        for j, column in enumerate(self.ignoring().columns):
            if column.ignored and column.categories:
                x[:, j].masked_fill_(x[:, j] == len(column.categories), math.nan)
        return x

    def snap(self, x: Tensor) -> Tensor:
        """Drawn rows ``(n, features)`` moved to values that the table can hold; NaN where they are missing."""
        columns = [column.snap(values.numpy()) for column, values in zip(self.columns, x.T, strict=True)]
        snapped = torch.stack([torch.as_tensor(values, dtype=torch.float64) for values in columns], 1)
        for column, flag in self.missingness.flags.items():
            snapped[:, column] = torch.where(x[:, flag] > 0.5, math.nan, snapped[:, column])
        return snapped

    def seen(self, x: Tensor) -> Tensor:
        """Encoded rows ``(*batch, features)`` with every unseen number replaced by the nearest one that was seen."""
        places = [j for j, column in enumerate(self.columns) if column.unseen]
        if places:
            x = x.clone()
            x[..., places] = x[..., places].floor()
        return x

    def log_of_unseen(self, x: Tensor) -> Tensor | float:
        """The change in the log-densities of encoded rows for numbers that no training row had, in nats; see
        :mod:`~.unseen`."""
        return sum((log_of_unseen(c, x[..., j]) for j, c in enumerate(self.columns) if c.unseen), start=0.0)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "columns": [asdict(c) for c in self.columns], "given": [asdict(g) for g in self.given]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Schema:
        relations = [
            Relation(_made(Column, relation.pop("column")), **{k: _frozen(v) for k, v in relation.items()})
            for relation in map(dict, values.get("relations", []))
        ]
        return cls(
            tuple(_made(Column, column) for column in values["columns"]),
            tuple(_made(ContextColumn, given) for given in values["given"]),
            tuple(relations),
            tuple(values.get("order", ())),
            tuple(values.get("notes", ())),
        )

    def usable(self, frame: pl.DataFrame) -> np.ndarray:
        """Which rows have a value in every column of the model."""
        return usable_rows(frame, [*self.names, *self.given_names])

    def check(self, frame: pl.DataFrame, source: str) -> None:
        """Refuses a table that lacks a column of the model, or holds text in a numeric column of the model.

        Raises:
            InputError: says which columns, and what is expected.
        """
        require_columns(frame, [*self.names, *self.given_names], source)
        known: list[Column | ContextColumn] = [*self.fields, *self.given]
        plain = [c.name for c in known if not c.categories and c.dtype in ("", "String")]
        refuse_text(frame, plain, source)

    def extra_names(self, columns: Sequence[str]) -> list[str]:
        """Columns of a table that the model does not use."""
        known = {*self.names, *self.given_names, *self.follow_names}
        return [name for name in columns if name not in known]

    def encode(self, frame: pl.DataFrame, source: str, first: int = 0) -> tuple[Tensor, Tensor | None]:
        """x of shape (rows, features) in float64 and the context of shape (rows, context features), or None.

        A missing value is NaN; for a category with missing values in training it is the code after the last.

        Args:
            frame: The rows.
            source: Their file, for error messages.
            first: The number of the first row in the file, from 0, for error messages.

        Raises:
            InputError: a column is missing, or a given category was not seen in training.
        """
        self.check(frame, source)
        values = {column.name: column.read(frame[column.name]) for column in self.fields}
        for column in self.fields:
            refuse_unread(frame[column.name], values[column.name], column, source, first)
            if column.period is not None:
                refuse_outside(column, values[column.name], source, first + np.arange(len(frame)))
        values = complete(values, self.fields, self.relations, frame)
        columns = [np.isnan(values[c.of]).astype(np.float64) if c.of else values[c.name] for c in self.columns]
        return torch.from_numpy(np.column_stack(columns)), self.context(frame, source, first)

    def unseen(self, frame: pl.DataFrame) -> tuple[list[str], list[str]]:
        """Which modelled categories, and which of few numbers, no training row had, in words: ``'cut' in 3 rows``."""
        found = {c.name: c.read(frame[c.name]) for c in self.fields if c.categories}
        names = {name: int((codes < 0).sum()) for name, codes in found.items()}
        numbers = {name: int(is_unseen(codes).sum()) for name, codes in found.items()}
        names_said, numbers_said = (
            [f"{name!r} in {count:,} row{'s' if count > 1 else ''}" for name, count in rows.items() if count]
            for rows in (names, numbers)
        )
        return names_said, numbers_said

    def unheard_of(self, frame: pl.DataFrame) -> list[str]:
        """Which columns have missing values although no training row does, in words: ``'cut' in 3 rows``."""
        rows = {c.name: int(missing(frame[c.name]).sum()) for c in self.fields if not c.holes}
        return [f"{name!r} in {count:,} row{'s' if count > 1 else ''}" for name, count in rows.items() if count]

    def broken(self, frame: pl.DataFrame, x: np.ndarray) -> list[np.ndarray]:
        """For every relation, which rows violate it: encoded as ``x`` and as they are in the table."""
        if not self.relations:
            return []
        values, columns = self._values(x), {column.name: column for column in self.columns}
        return [
            relation.broken(relation.column.read(frame[relation.column.name]), values, columns)
            if relation.column.name in frame.columns
            else np.zeros(len(x), bool)
            for relation in self.relations
        ]

    def context(self, frame: pl.DataFrame, source: str, first: int = 0) -> Tensor | None:
        """The given columns as float32 features, or None if the model has none."""
        if not self.given:
            return None
        parts = [given_features(frame[given.name], given, source, first) for given in self.given]
        return torch.from_numpy(np.concatenate(parts, 1)).float()

    def decode(self, x: Tensor) -> pl.DataFrame:
        """Samples as a table: snapped to grids, whole numbers as integers, categories by name, holes empty."""
        values, columns = (
            self._values(x.detach().double().cpu().numpy()),
            {column.name: column for column in self.columns},
        )
        for column in self.columns:
            if column.of:
                values[column.of] = np.where(values[column.name] > 0.5, np.nan, values[column.of])
        written = [column.written(values[column.name]) for column in self.fields]
        snapped = {c.name: c.snap(values[c.name]) if not c.categories else values[c.name] for c in self.fields}
        for relation in self.relations:
            snapped[relation.column.name] = relation.computed(snapped, columns, len(x))
            written.append(relation.column.written(snapped[relation.column.name]))
        return pl.DataFrame(written).select(self.order or pl.all())

    def _values(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return {column.name: values.copy() for column, values in zip(self.columns, x.T, strict=True)}


def _made(kind: type[Any], values: dict[str, Any]) -> Any:
    return kind(**{k: _frozen(v) for k, v in values.items()})


def _frozen(value: Any) -> Any:
    """Converts lists from JSON back to tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
