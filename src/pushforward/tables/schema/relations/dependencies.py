"""All columns of a table that follow from others: recomputed in draws, checked in rows, and told what they tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from ..columns import Column
from ..kinds.base import Numbers
from .base import Dependency, Rows


class Dependencies:
    """Columns that follow from others, each from modelled ones or from those before it.

    Args:
        relations: What follows.
        columns: The modelled columns.
    """

    def __init__(self, relations: Sequence[Dependency], columns: Sequence[Column]) -> None:
        self.relations, self.modelled = tuple(relations), columns

    def __iter__(self) -> Iterator[Dependency]:
        return iter(self.relations)

    def __len__(self) -> int:
        return len(self.relations)

    @property
    def columns(self) -> list[Column]:
        """The columns that follow."""
        return [relation.column for relation in self.relations]

    @cached_property
    def known(self) -> dict[str, Column]:
        """All columns by name."""
        return {column.name: column for column in (*self.modelled, *self.columns)}

    def computed(self, values: Rows, rows: int, told: Rows | None = None) -> dict[str, Numbers]:
        """So many encoded rows with the columns that follow, computed where they are not told."""
        found = dict(values)
        for relation in self.relations:
            own = (told or {}).get(relation.column.name)
            found[relation.column.name] = relation.computed(found, self.known, rows) if own is None else own
        return found

    def completed(self, values: Rows, told: Rows) -> dict[str, Numbers]:
        """Encoded rows with missing values completed from the columns that follow, as far as these are told."""
        found = dict(values)
        for relation in self.relations:
            if relation.column.name in told:
                for name, rest in relation.rest(told[relation.column.name], found, self.known).items():
                    found[name] = np.where(np.isnan(rest), found[name], rest)
        return found

    def broken(self, values: Rows, rows: int, told: Rows) -> np.ndarray:
        """Which rows violate each of them, ``(dependencies, n)``; none if they are not told."""
        values, found = self.computed(values, rows, told), np.zeros((len(self), rows), bool)
        for place, relation in enumerate(self.relations):
            if relation.column.name in told:
                found[place] = relation.broken(told[relation.column.name], values, self.known)
        return found

    def far(self, values: Rows, rows: int) -> np.ndarray:
        """In which rows one of them is farther beyond the training rows than these are apart, ``(n,)``."""
        values, odd = self.computed(values, rows), np.zeros(rows, bool)
        for column in self.columns:
            lowest, highest = column.kind.limits(1.0)
            odd |= (values[column.name] < lowest) | (values[column.name] > highest)
        return odd
