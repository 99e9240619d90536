"""Columns that another one implies value by value: the region of a town, a logarithm of rounded numbers, a grade."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..columns import Column
from ..kinds.base import Numbers
from .base import Columns, Dependency, Rows

FIRST = 2000  # rows that suffice to refute most relations
EVIDENCE = 100.0  # nats by which the rows must favour an implied value
LONGEST, REPEATED = 1000, 3  # distinct values of a column used for look-up, and rows of each on average

Codes = tuple[NDArray[Any], NDArray[Any]]  # a column's distinct values, increasing, and the index of each row's own


@dataclass(frozen=True, repr=False)
class LookUp(Dependency):
    """A column each of whose values is implied by the value of the only input.

    Args:
        implied: The encoded value that each class, or each number, of the input implies.
        at: The input's numbers, increasing; empty if it has classes.
    """

    implied: tuple[float, ...] = ()
    at: tuple[float, ...] = ()

    def looked_at(self, values: Rows) -> Numbers:
        """What is looked up: the encoded input."""
        return values[self.inputs[0]]

    def computed(self, values: Rows, columns: Columns) -> Numbers:
        found = self.looked_at(values)
        if self.at:
            middles = np.convolve(self.at, [0.5, 0.5], "valid")
            nearest = np.array(self.implied)[np.searchsorted(middles, found)]
            return np.where(np.isnan(found), np.nan, nearest)
        known = (found >= 0) & (found < len(self.implied)) & (found == np.floor(found))
        return np.where(known, np.array(self.implied)[np.where(known, found, 0).astype(np.int64)], np.nan)

    def known(self, values: Rows) -> np.ndarray | bool:
        return np.isin(self.looked_at(values), self.at) if self.at else True

    def tells(self, found: Numbers, columns: Columns) -> np.ndarray:
        """Not where a missing input alone implies it."""
        return super().tells(found, columns) & np.isin(
            found, self.implied[: columns[self.inputs[0]].kind.classes or None]
        )

    def rest(self, found: Numbers, values: Rows, columns: Columns) -> dict[str, Numbers]:
        """The input where only one of its values implies the column's."""
        (name,), table = self.inputs, np.array(self.implied)
        implied, first, count = np.unique(table, return_index=True, return_counts=True)
        place = np.searchsorted(implied, found).clip(max=len(implied) - 1)
        told = np.isnan(values[name]) & (implied[place] == found) & (count[place] == 1)
        return {name: np.where(told, np.array(self.at or range(len(table)), dtype=float)[first[place]], np.nan)}

    def widened(self, found: Numbers, values: Rows, columns: Columns) -> LookUp:
        if self.at:
            return self
        codes, table = self.looked_at(values), np.full(columns[self.inputs[0]].classes, np.nan)
        table[: len(self.implied)] = self.implied
        new = (codes >= len(self.implied)) & ~np.isnan(found)
        table[codes[new].astype(np.int64)] = found[new]
        return replace(self, implied=tuple(table.tolist()))

    def through(self, found: LookUp) -> LookUp:
        """The relation with its input replaced, if that was itself found to follow from another column."""
        if self.inputs != (found.column.name,):
            return self
        table = self.computed({found.column.name: np.array(found.implied)}, {})
        return replace(self, inputs=found.inputs, implied=tuple(table.tolist()), at=found.at)

    def __str__(self) -> str:
        return f"{self.column.name!r} follows from {self.inputs[0]!r}"


def implied_categories(columns: Sequence[Column], values: Rows, free: Collection[str]) -> list[LookUp]:
    """Columns with classes that another such column implies, but for the free ones; of two that imply each other, the
    first is kept."""
    named = [column for column in columns if column.classes]
    relations: list[LookUp] = []
    for column in reversed([column for column in named if column.name not in free]):
        others = [other for other in named if other is not column and other.classes >= column.classes]
        codes = ((other, (np.arange(other.classes), values[other.name])) for other in others)
        most = {other.name: other.kind.classes - 1.0 for other in others if other.kind.grouped}
        tables = ((other, implies(own, values[column.name], most.get(other.name, np.inf))) for other, own in codes)
        found = next((LookUp(column, (other.name,), table) for other, table in tables if table is not None), None)
        if found is not None:
            named.remove(column)
            relations = [found, *(relation.through(found) for relation in relations)]
    return relations


def looked_up(
    columns: Sequence[Column], values: Rows, implied: Sequence[LookUp], free: Collection[str]
) -> list[LookUp]:
    """Numbers that follow from numbers or categories, value by value, but for the free ones: logarithms of rounded
    numbers, means of groups. With what is implied by categories; if these in turn follow from numbers, it is derived
    from those numbers."""
    kept, relations = list(columns), list(implied)
    found = {column.name: codes_of(column, values[column.name]) for column in columns}
    codes = {name: code for name, code in found.items() if code is not None}
    for column in reversed([column for column in columns if column.name in codes and column.name not in free]):
        others = (other for other in kept if other is not column and other.name in codes)
        tried = (_looked_up(column, other, codes, values[column.name]) for other in others)
        relation = next((each for each in tried if each is not None), None)
        if relation is not None:
            relations = [relation, *(each.through(relation) for each in relations)]
            kept.remove(column)
    return relations


def codes_of(column: Column, x: Numbers, most: int = LONGEST) -> Codes | None:
    """The values of a column, if at most ``most``, and the rows' indices; None if some are missing or few repeat."""
    kind = column.kind
    if column.holes.share or kind.grouped or kind.circle is not None or len(np.unique(x[:FIRST])) > most:
        return None
    at, code = (np.arange(column.classes), x) if column.classes else np.unique(x, return_inverse=True)
    return (at, code) if len(at) <= min(most, len(code) // REPEATED) else None


def implies(codes: Codes, then: Numbers, named: float = np.inf) -> tuple[float, ...] | None:
    """What every value implies, if the rows support it clearly, of which those of the first ``named`` values count;
    otherwise None."""
    given, table = codes[1], np.full(len(codes[0]), np.nan)
    for rows in (slice(0, FIRST), slice(None)):  # most pairs are refuted by a few rows
        places = given[rows].astype(np.int64)
        table[places] = then[rows]
        if not (table[places] == then[rows]).all():
            return None
    shares = np.unique(then, return_counts=True)[1] / len(then)
    given = given[given < named]
    repeated = len(given) - len(np.unique(given))
    if repeated * -np.log((shares**2).sum()) < EVIDENCE or np.isnan(table).any():
        return None
    return tuple(table.tolist())


def _looked_up(column: Column, other: Column, codes: Mapping[str, Codes], x: Numbers) -> LookUp | None:
    """The column as implied by the other's values.

    Numbers that follow from names are what is known of these, as the age of a patient in all visits. Those that follow
    from numbers have at least half as many values, or they would say no more about them than a group about its members.
    """
    own, (at, _) = len(codes[column.name][0]), codes[other.name]
    named = other.classes > 0 and not other.kind.is_number
    follows = column.kind.is_number and own <= len(at) and (named or 2 * own >= len(at))
    if not follows or (other.classes and (column.classes or not named)):
        return None
    table = implies(codes[other.name], x)
    return None if table is None else LookUp(column, (other.name,), table, () if other.classes else tuple(at.tolist()))
