"""What a model knows about a table: its columns by name, how rows are encoded, and how they are written again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from .categories import codes, given_features
from .columns import Column, Given
from .numbers import refuse_gaps, refuse_text, require_columns, to_numbers, usable_rows


@dataclass(frozen=True)
class Schema:
    """The columns of a model, by name.

    Args:
        columns: The modelled columns, in the order of the flow's features.
        given: The columns that are conditioned on, in the order of the context.
    """

    columns: tuple[Column, ...]
    given: tuple[Given, ...] = field(default=())

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def given_names(self) -> list[str]:
        return [given.name for given in self.given]

    @property
    def text_names(self) -> list[str]:
        """The columns that hold text or truth values."""
        named = [column.name for column in self.columns if column.categories and column.dtype in ("String", "Boolean")]
        return named + [given.name for given in self.given if given.categories]

    @property
    def context_features(self) -> int:
        return sum(given.width for given in self.given)

    @property
    def numbers(self) -> list[int]:
        """Which of the columns hold numbers."""
        return [j for j, column in enumerate(self.columns) if not column.categories]

    @property
    def classes(self) -> tuple[int, ...]:
        """For every column, how many categories it has; 0 for numbers."""
        return tuple(len(column.categories) for column in self.columns)

    @property
    def numeric(self) -> Schema:
        """The columns that hold numbers, alone."""
        return Schema(tuple(self.columns[j] for j in self.numbers))

    @property
    def has_cells(self) -> bool:
        """Whether some column is integer, rounded or inflated, so that log-densities are averages over cells."""
        return any(column.has_cells for column in self.columns)

    def to_json(self) -> dict[str, Any]:
        return {"columns": [asdict(c) for c in self.columns], "given": [asdict(g) for g in self.given]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Schema:
        return cls(
            tuple(Column(**{k: _frozen(v) for k, v in column.items()}) for column in values["columns"]),
            tuple(Given(**{k: _frozen(v) for k, v in given.items()}) for given in values["given"]),
        )

    def usable(self, frame: pl.DataFrame) -> np.ndarray:
        """Which rows have a value in every column of the model."""
        numbers, text = self._kinds()
        return usable_rows(frame, numbers, text)

    def check(self, frame: pl.DataFrame, source: str) -> None:
        """Refuses a table that lacks a column of the model, or holds text where the model has numbers.

        Raises:
            InputError: says which columns, and what is expected.
        """
        require_columns(frame, [*self.names, *self.given_names], source)
        refuse_text(frame, self._kinds()[0], source)

    def extra_names(self, columns: Sequence[str]) -> list[str]:
        """Columns of a table that the model does not use."""
        known = {*self.names, *self.given_names}
        return [name for name in columns if name not in known]

    def encode(self, frame: pl.DataFrame, source: str, first: int = 0) -> tuple[Tensor, Tensor | None]:
        """x of shape (rows, features) in float64 and the context of shape (rows, context features), or None.

        Args:
            frame: The rows.
            source: Their file, for the errors.
            first: The number of the first row in the file, from 0, for the errors.

        Raises:
            InputError: a column is missing, a value is missing or infinite, a given category was not seen in training.
        """
        self.check(frame, source)
        refuse_gaps(frame, *self._kinds(), source, first)
        columns = [
            codes(frame[column.name], column.categories)
            if column.categories
            else to_numbers(frame, [column.name])[:, 0]
            for column in self.columns
        ]
        return torch.from_numpy(np.column_stack(columns)), self.context(frame, source, first)

    def unseen(self, frame: pl.DataFrame) -> list[str]:
        """Which modelled categories no training row had, in words: ``'cut' in 3 rows``."""
        found = {c.name: codes(frame[c.name].drop_nulls(), c.categories) for c in self.columns if c.categories}
        rows = {name: int((places < 0).sum()) for name, places in found.items()}
        return [f"{name!r} in {count:,} row{'s' if count > 1 else ''}" for name, count in rows.items() if count]

    def context(self, frame: pl.DataFrame, source: str, first: int = 0) -> Tensor | None:
        """The given columns as float32 features, or None where the model has none."""
        if not self.given:
            return None
        parts = [given_features(frame[given.name], given, source, first) for given in self.given]
        return torch.from_numpy(np.concatenate(parts, 1)).float()

    def decode(self, x: Tensor) -> pl.DataFrame:
        """Samples as a table: snapped to grids, whole numbers as integers, categories by their names."""
        values = x.detach().double().cpu().numpy()
        return pl.DataFrame([column.written(values[:, j]) for j, column in enumerate(self.columns)])

    def _kinds(self) -> tuple[list[str], list[str]]:
        """Names of the columns that must hold numbers, and of those whose values are names."""
        everything: list[Column | Given] = [*self.columns, *self.given]
        return [c.name for c in everything if not c.categories], [c.name for c in everything if c.categories]


def _frozen(value: Any) -> Any:
    """Lists of JSON as the tuples that they were."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
