"""What a model knows about a table: its columns by name, how rows are encoded, and how they are written back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from .categories import given_features
from .columns import Column, ContextColumn, refuse_outside
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

    @property
    def has_holes(self) -> bool:
        """Whether training rows have missing numbers."""
        return bool(self.holes or self.ignored)

    @property
    def holes(self) -> dict[int, int]:
        """For numeric columns with missing values in training, the column that flags them."""
        places = {column.name: j for j, column in enumerate(self.columns)}
        return {places[column.of]: j for j, column in enumerate(self.columns) if column.of}

    @property
    def ignored(self) -> dict[int, float]:
        """For columns with values missing at random that encoded rows do not flag, the share that is missing."""
        return {j: column.holes for j, column in enumerate(self.columns) if column.ignored}

    @property
    def telling(self) -> list[int]:
        """All columns except those that flag numbers missing at random, which carry no information about the row."""
        at_random = {column.name for column in self.columns if column.at_random}
        return [j for j, column in enumerate(self.columns) if column.of not in at_random]

    def ignoring(self) -> Schema:
        """The schema of the columns that are :attr:`telling`: values missing at random are integrated out."""
        columns = [self.columns[j] for j in self.telling]
        return replace(self, columns=tuple(c.ignoring() if c.at_random else c for c in columns))

    def ignore(self, x: Tensor) -> Tensor:
        """Encoded rows ``(n, features)`` as encoded by the schema that :meth:`ignoring` returns."""
        x = x[:, self.telling]
        for j, column in enumerate(self.ignoring().columns):
            if column.ignored and column.categories:
                x[:, j].masked_fill_(x[:, j] == len(column.categories), math.nan)
        return x

    def miss_at_random(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Drawn rows ``(*batch, features)``, with values removed at random as often as they are missing in training."""
        share = x.new_zeros(len(self.columns))
        for j, often in self.ignored.items():
            share[j] = often
        lots = torch.rand(x.shape, generator=generator, device=generator.device, dtype=x.dtype)
        return x.masked_fill(lots.to(x.device) < share, math.nan) if self.ignored else x

    def log_of_holes(self, x: Tensor) -> Tensor | float:
        """The log-probability of the missingness pattern, over the columns with values missing at random; in nats."""
        total: Tensor | float = 0.0
        places = {column.name: j for j, column in enumerate(self.columns)}
        tells = {column.of: column.name for column in self.columns if column.of}
        for column in self.columns:
            if column.at_random and not column.ignored:
                told = x[..., places[tells.get(column.name, column.name)]]
                hole = told == (len(column.categories) if column.categories else 1)
                log_p = hole.double() * math.log(column.holes) + (~hole).double() * math.log1p(-column.holes)
                total = total + log_p.masked_fill(told.isnan(), 0.0)
        return total

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
