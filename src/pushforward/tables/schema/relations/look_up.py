"""Columns that others imply value by value: the region of a town, a logarithm of rounded numbers, a rate of a state and
year."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..columns import Column
from ..kinds.base import Numbers
from .base import Columns, Dependency, Rows

FIRST = 2000  # rows that suffice to refute most relations
EVIDENCE = 100.0  # nats by which the rows must favour an implied value
CLEAR, FEWEST_EACH = 20.0, 5  # the same where each of the values that imply it has so many rows
LONGEST, REPEATED = 1000, 3  # distinct values of what is used for look-up, and rows of each on average
MOST = 40  # columns of which two are looked up together: those of the fewest values

Codes = tuple[NDArray[Any], NDArray[Any]]  # distinct values, increasing, and the index of each row's own
Implied = Callable[..., "LookUp | None"]  # what relation there is of a column to others


@dataclass(frozen=True, repr=False)
class LookUp(Dependency):
    """A column each of whose values is implied by the value of the only input, or by those of two together.

    Numbers that no training row had imply what the nearest does; of two inputs, the nearest of the second one that some
    row had with the first.
    """

    # the encoded value that each class, or each number, of the input implies, or each pair
    implied: tuple[float, ...] = ()
    at: tuple[float, ...] = ()  # the input's numbers, increasing; empty if it has classes. Of two, the places of pairs
    levels: tuple[tuple[float, ...], ...] = ()  # of two inputs, the values of either, increasing

    def looked_at(self, values: Rows) -> Numbers:
        """What is looked up: the encoded input; of two, the place of the second's value within that of the first's."""
        if not self.levels:
            return values[self.inputs[0]]
        pairs = zip(self.inputs, self.levels, strict=True)
        first, second = (np.interp(values[x], at, range(len(at)), left=-0.25, right=len(at) - 0.75) for x, at in pairs)
        return 2 * len(self.levels[1]) * first.round() + second

    def computed(self, values: Rows, columns: Columns) -> Numbers:
        found = self.looked_at(values)
        for name, own in zip(self.inputs, self.levels, strict=False):
            found = np.where(np.isin(values[name], own), found, np.nan) if columns[name].classes else found
        if self.at:
            middles = np.convolve(self.at, [0.5, 0.5], "valid")
            nearest = np.array(self.implied)[np.searchsorted(middles, found)]
            return np.where(np.isnan(found), np.nan, nearest)
        known = (found >= 0) & (found < len(self.implied)) & (found == np.floor(found))
        return np.where(known, np.array(self.implied)[np.where(known, found, 0).astype(np.int64)], np.nan)

    def known(self, values: Rows) -> np.ndarray | bool:
        first = np.isin(values[self.inputs[0]], self.levels[0]) if self.levels else True
        return first & np.isin(self.looked_at(values), self.at) if self.at else True

    def tells(self, found: Numbers, values: Rows, columns: Columns, empty: bool = False) -> np.ndarray:
        """Not where a missing input alone implies it, unless it may be empty."""
        most = None if self.at or empty else columns[self.inputs[0]].kind.classes
        return super().tells(found, values, columns) & np.isin(found, self.implied[:most])

    def rest(self, found: Numbers, values: Rows, columns: Columns) -> dict[str, Numbers]:
        """The input where only one of its values, beside the other's, implies the column's."""
        told = {name: np.full(len(found), np.nan) for name in self.inputs}
        for name, own in zip(self.inputs, self.levels or (self.at or range(len(self.implied)),), strict=True):
            others = [each for each in self.inputs if each != name]
            rows = np.stack([found, *(values[each] for each in others)])
            holes = np.isnan(values[name]) & np.isin(found, self.implied) & ~np.isnan(rows).any(0)
            asked, place = np.unique(rows[:, holes], axis=1, return_inverse=True)  # few, however many rows there are
            tried = dict(zip(others, asked[1:], strict=True)) | {name: np.array(own, float)[:, None]}
            right = self.known(tried) & (self.computed(tried, columns) == asked[0])  # (values, asked)
            told[name][holes] = np.where(right.sum(0) == 1, np.array(own)[right.argmax(0)], np.nan)[place.ravel()]
        return told

    def widened(self, found: Numbers, values: Rows, columns: Columns) -> LookUp:
        if self.levels:
            return self._with_pairs(found, values, columns)
        if self.at:
            return self
        codes, table = self.looked_at(values), np.full(columns[self.inputs[0]].classes, np.nan)
        table[: len(self.implied)] = self.implied
        new = (codes >= len(self.implied)) & ~np.isnan(found)
        table[codes[new].astype(np.int64)] = found[new]
        return replace(self, implied=tuple(table.tolist()))

    def _with_pairs(self, found: Numbers, values: Rows, columns: Columns) -> LookUp:
        """With the pairs of numbers that it knows and names, be they new, that it has not met."""
        pairs = [*zip(self.inputs, self.levels, strict=True)]
        known = [np.isin(values[name], range(columns[name].classes) or own) for name, own in pairs]
        met = ~np.isnan(found) & np.all(known, 0)
        wide = replace(self, levels=tuple(tuple(np.union1d(own, values[name][met]).tolist()) for name, own in pairs))
        first, second = np.divmod(self.at, 2 * len(self.levels[1]))
        before = zip((2 * len(wide.levels[1]) * first + second).tolist(), self.implied, strict=True)
        table = dict(zip(wide.looked_at(values)[met].tolist(), found[met].tolist(), strict=True)) | dict(before)
        return replace(wide, at=tuple(sorted(table)), implied=tuple(table[at] for at in sorted(table)))

    def through(self, found: LookUp) -> LookUp:
        """The relation with its input replaced, if that was itself found to follow from another column."""
        if self.inputs != (found.column.name,):
            return self
        table = self.computed({found.column.name: np.array(found.implied)}, {})
        return replace(self, inputs=found.inputs, implied=tuple(table.tolist()), at=found.at)

    def __str__(self) -> str:
        return f"{self.column.name!r} follows from {' and '.join(map(repr, self.inputs))}"


def implied_categories(columns: Sequence[Column], values: Rows, free: Collection[str]) -> list[LookUp]:
    """Columns with classes that others imply, but for free ones; of two that imply each other, the first is kept."""

    def implied(column: Column, other: Column) -> LookUp | None:
        most = other.kind.classes - 1.0 if other.kind.grouped else np.inf
        codes = np.arange(other.classes), values[other.name]
        told = other.classes >= column.classes and _holes_tell(other, codes[1], values[column.name])
        table = implies(codes, values[column.name], most) if told else None
        return None if table is None else LookUp(column, (other.name,), table)

    return _following([column for column in columns if column.classes], free, implied)


def looked_up(
    columns: Sequence[Column], values: Rows, relations: Sequence[LookUp], free: Collection[str]
) -> list[LookUp]:
    """Numbers that follow from numbers or categories, value by value, but for the free ones: logarithms of rounded
    numbers, means of groups. With what is implied by categories; if these in turn follow from numbers, it is derived
    from those numbers.

    Numbers that follow from names are what is known of these, as the age of a patient in all visits. Those that follow
    from numbers have at least half as many values, or they would say no more about them than a group about its members.
    """
    codes = _codes(columns, values)

    def implied(column: Column, other: Column) -> LookUp | None:
        own, (at, _) = len(codes[column.name][0]), codes[other.name]
        named = other.classes > 0 and not other.kind.is_number
        follows = column.kind.is_number and own <= len(at) and (named or 2 * own >= len(at))
        if not follows or (other.classes and (column.classes or not named)):
            return None
        table, numbers = implies(codes[other.name], values[column.name]), () if other.classes else tuple(at.tolist())
        return None if table is None else LookUp(column, (other.name,), table, numbers)

    return _following([column for column in columns if column.name in codes], free, implied, others=relations)


def looked_up_together(columns: Sequence[Column], values: Rows, free: Collection[str]) -> list[LookUp]:
    """Columns, but for the free ones, that follow from two others together, those of the most values first; from
    numbers only if they have at least half as many values, as above."""
    codes = _codes(columns, values)
    coded = sorted([c for c in columns if c.name in codes], key=lambda column: len(codes[column.name][0]))[:MOST]
    first = np.array([values[column.name][:FIRST] for column in coded])

    @cache
    def refuted(one: str, other: str) -> set[str]:
        """The columns that differ in some of the first rows in which these two are equal; all, if these rarely are."""
        joint = codes[one][1][:FIRST] * len(codes[other][0]) + codes[other][1][:FIRST]
        order = joint.argsort()
        again = np.flatnonzero(np.diff(joint[order]) == 0)
        differ = (first[:, order[again]] != first[:, order[again + 1]]).any(1) | (2 * len(again) < len(joint))
        return {column.name for column, each in zip(coded, differ, strict=True) if each}

    def implied(column: Column, *others: Column) -> LookUp | None:
        fewest, most = (other.name for other in others)
        least = max((len(codes[other.name][0]) for other in others if other.kind.is_number), default=0) / 2
        if column.name in refuted(fewest, most) or len(codes[column.name][0]) < least:
            return None
        levels = tuple(tuple(codes[name][0].tolist()) for name in (most, fewest))
        relation = LookUp(column, (most, fewest), levels=levels)
        at, code = np.unique(relation.looked_at(values), return_inverse=True)
        few = len(at) <= min(LONGEST, len(code) // REPEATED)
        table = implies((at, code), values[column.name], alone=[values[most], values[fewest]]) if few else None
        return None if table is None else replace(relation, implied=table, at=tuple(at.tolist()))

    return _following(coded, free, implied, 2)


def _following(
    columns: Sequence[Column], free: Collection[str], implied: Implied, inputs: int = 1, others: Sequence[LookUp] = ()
) -> list[LookUp]:
    """Other relations, and before them those of the columns that so many others imply, the last ones first."""
    kept, found = list(columns), list(others)
    for column in reversed([column for column in columns if column.name not in free]):
        some = itertools.combinations([other for other in kept if other is not column], inputs)
        relation = next((each for given in some if (each := implied(column, *given)) is not None), None)
        if relation is not None:
            kept.remove(column)
            found = [relation, *(each.through(relation) for each in found)]
    return found


def _holes_tell(column: Column, codes: Numbers, then: Numbers) -> bool:
    """Whether rows without a value of a column, if any, are too many to be alike, or like few others, by chance."""
    holes, shares = then[column.missing(codes)], np.unique(then, return_counts=True)[1] / len(then)
    chance = min(np.square(shares).sum(), np.mean(np.isin(then, holes[:1])))
    return len(holes) == 0 or -(len(holes) - 1) * np.log(chance) >= CLEAR


def _codes(columns: Sequence[Column], values: Rows) -> dict[str, Codes]:
    return {c.name: codes for c in columns if (codes := codes_of(c, values[c.name])) is not None}


def codes_of(column: Column, x: Numbers, most: int = LONGEST) -> Codes | None:
    """The values of a column, if at most ``most``, and the rows' indices; None if some are missing or few repeat."""
    kind = column.kind
    if column.holes.share or kind.grouped or kind.circle is not None or len(np.unique(x[:FIRST])) > most:
        return None
    at, code = (np.arange(column.classes), x) if column.classes else np.unique(x, return_inverse=True)
    return (at, code) if len(at) <= min(most, len(code) // REPEATED) else None


def implies(
    codes: Codes, then: Numbers, named: float = np.inf, alone: Sequence[Numbers] = ()
) -> tuple[float, ...] | None:
    """What every value implies, if the rows support it clearly, also among those that are equal in one of the columns
    of ``alone``; otherwise None. Of the values, the first ``named`` count."""
    given, table = codes[1], np.full(len(codes[0]), np.nan)
    for rows in (slice(0, FIRST), slice(None)):  # most pairs are refuted by a few rows
        places = given[rows].astype(np.int64)
        table[places] = then[rows]
        if not (table[places] == then[rows]).all():
            return None
    count = given < named
    nats = (_nats(given[count], then[count], x[count]) for x in alone or [np.zeros(len(given))])
    least = CLEAR if np.bincount(places).min() >= FEWEST_EACH else EVIDENCE
    return None if np.isnan(table).any() or min(nats) < least else tuple(table.tolist())


def _nats(given: NDArray[Any], then: Numbers, groups: Numbers) -> float:
    """How unlikely it is that rows of a value that was seen before are as that was, if any two of a group were equal as
    often as they are."""
    group, both = (np.unique(x, return_inverse=True)[1] for x in (groups, groups + 1j * then))
    rows, equal = np.bincount(group)[group], np.bincount(both)[both]
    chance = np.bincount(group, equal / rows)[group] / rows
    chance[np.unique(given, return_index=True)[1]] = 1.0  # a value seen once proves nothing
    return float(-np.log(chance).sum())
