"""What columns know of each other: every relation says itself in a sentence.

A column that follows from others is not part of the flow. It is recomputed when rows are sampled, and a row that
violates the relation has density 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..columns import Column
from ..kinds.base import Numbers
from ..saved import Saved

CLOSE = 1e-9  # of a column's spread: the rounding error of float64

Rows = Mapping[str, Numbers]  # encoded columns by name
Columns = Mapping[str, Column]
Divided = tuple[list[Column], list["Dependency"]]  # columns that are modelled, and those that follow from them


class Relation(Saved, ABC):
    """What columns know of each other. Subclasses are frozen dataclasses, saved with the model by their fields."""

    @abstractmethod
    def __str__(self) -> str:
        """The relation in words."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"


@dataclass(frozen=True, repr=False)
class Dependency(Relation):
    """A functional dependency: a column that follows from others.

    Args:
        column: The column that follows.
        inputs: The columns from which it follows; none for a constant.
    """

    column: Column
    inputs: tuple[str, ...] = ()

    @abstractmethod
    def computed(self, values: Rows, columns: Columns, rows: int) -> Numbers:
        """The encoded column from encoded inputs; NaN if one of them is missing."""

    def rest(self, found: Numbers, values: Rows, columns: Columns) -> dict[str, Numbers]:
        """What the column, encoded, says about inputs, in rows where only one is missing; NaN in others."""
        return {}

    def known(self, values: Rows) -> np.ndarray | bool:
        """In which rows the inputs have values to which the relation applies."""
        return True

    def broken(self, found: Numbers, values: Rows, columns: Columns) -> np.ndarray:
        """Which rows contradict the relation; none where a value is missing, or to which it does not apply."""
        computed = self.computed(values, columns, len(found))
        there = ~np.isnan(found) & ~np.isnan(computed) & self.known(values)
        return there & (np.abs(found - computed) > self._slack)

    def widened(self, found: Numbers, values: Rows, columns: Columns) -> Dependency:
        """The relation with what new rows tell of inputs that it does not know."""
        return self

    def amounts(self, values: Rows, columns: Columns) -> Numbers:
        """The inputs as amounts, ``(inputs, rows)``."""
        return np.stack([columns[name].kind.amounts(values[name]) for name in self.inputs])

    @property
    def _slack(self) -> float:
        """How far apart two encoded values may be and count as equal."""
        low, high = self.column.kind.ends
        return CLOSE * (1.0 if self.column.classes else max(high - low, abs(high), 1e-300))


def on_scales(columns: Sequence[Column], values: Rows) -> dict[str, Numbers]:
    """The amounts of columns that hold some and have no period, by name."""
    scales = [column for column in columns if column.kind.is_number and column.kind.circle is None]
    return {column.name: column.kind.amounts(values[column.name]) for column in scales}


def divided(columns: Sequence[Column], relation_of: Callable[[Column], Dependency | None]) -> Divided:
    """Divides columns into those that are modelled and those that follow.

    Args:
        columns: All columns.
        relation_of: The relation by which a column follows from others; None if it is modelled. Asked in their order.
    """
    found = [(column, relation_of(column)) for column in columns]
    kept = [column for column, relation in found if relation is None]
    return kept, [relation for _, relation in found if relation is not None]
