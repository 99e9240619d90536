"""Finds columns that are implied by another column's values."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from .columns import Column
from .relations import Relation

FIRST = 2000  # rows that suffice to refute most relations
EVIDENCE = 100.0  # nats by which the rows must favour an implied value
LONGEST, REPEATED = 1000, 3  # distinct values of a column used for look-up, and rows of each on average

Codes = tuple[np.ndarray, np.ndarray]  # a column's distinct values, increasing, and for every row the index of its own


def implied_categories(columns: list[Column], values: Mapping[str, np.ndarray]) -> tuple[list[Column], list[Relation]]:
    """Categories that another category implies; if two imply each other, the first is kept."""
    named = [column for column in columns if column.categories]
    relations: list[Relation] = []
    for column in reversed(named[:]):
        others = [other for other in named if other is not column and other.classes >= column.classes]
        for other in others:
            table = _implication(values[other.name], values[column.name], other.classes)
            if table is not None:
                named.remove(column)
                found = Relation(column, (other.name,), implied=table)
                relations = [*(_through(relation, found) for relation in relations), found]
                break
    gone = {relation.column.name for relation in relations}
    return [column for column in columns if column.name not in gone], relations[::-1]


def _through(relation: Relation, found: Relation) -> Relation:
    """The relation with its input replaced, if that was itself found to follow from another column."""
    if relation.inputs != (found.column.name,):
        return relation
    table = relation.computed({found.column.name: np.array(found.implied)}, {}, len(found.implied))
    return dataclasses.replace(relation, inputs=found.inputs, implied=tuple(table.tolist()), at=found.at)


def _implication(given: np.ndarray, then: np.ndarray, classes: int) -> tuple[float, ...] | None:
    """What every category implies, if the rows support it clearly; otherwise None."""
    table = np.full(classes, np.nan)
    for rows in (slice(0, FIRST), slice(None)):  # most pairs are refuted by a few rows
        codes = given[rows].astype(np.int64)
        table[codes] = then[rows]
        if not (table[codes] == then[rows]).all():
            return None
    shares = np.unique(then, return_counts=True)[1] / len(then)
    repeated = len(given) - len(np.unique(given))
    if repeated * -np.log((shares**2).sum()) < EVIDENCE or np.isnan(table).any():
        return None
    return tuple(table.tolist())


def implies(codes: Codes, then: np.ndarray) -> tuple[float, ...] | None:
    """What every value implies, as in :func:`_implication`."""
    return _implication(codes[1], then, len(codes[0]))


def jumps(table: Sequence[float]) -> int:
    """How often the implied value changes as the implying values increase."""
    return int(np.count_nonzero(np.diff(table)))


def look_up(
    columns: list[Column], values: Mapping[str, np.ndarray], implied: Sequence[Relation], summed: Collection[str]
) -> tuple[list[Column], list[Relation]]:
    """Numbers that follow from numbers or categories, value by value, and categories that follow from numbers.

    Examples are logarithms of rounded numbers, means of groups, and flags for values above a threshold.

    Args:
        columns: All columns that are not known to be implied.
        values: Their encoded rows.
        implied: What follows from categories; if these in turn follow from numbers, it is derived from those numbers.
        summed: Columns that are inputs of sums, which are kept.
    """
    kept, relations = list(columns), list(reversed(implied))
    found = {column.name: codes_of(column, values[column.name]) for column in columns}
    codes = {name: code for name, code in found.items() if code is not None}
    for column in reversed([column for column in columns if column.name in codes and column.name not in summed]):
        for other in [other for other in kept if other is not column and other.name in codes]:
            relation = _looked_up(column, other, codes, values[column.name])
            if relation is not None:
                relations = [*(_through(each, relation) for each in relations), relation]
                kept.remove(column)
                break
    return kept, relations[::-1]


def codes_of(column: Column, x: np.ndarray, most: int = LONGEST) -> Codes | None:
    """The values of a column, if at most ``most``, and the rows' indices; None if some are missing or few repeat."""
    if column.holes or column.grouped or column.period or len(np.unique(x[:FIRST])) > most:
        return None
    at, code = (np.arange(column.classes), x) if column.categories else np.unique(x, return_inverse=True)
    return (at, code) if len(at) <= min(most, len(code) // REPEATED) else None


def _looked_up(column: Column, other: Column, codes: Mapping[str, Codes], x: np.ndarray) -> Relation | None:
    """The column as implied by the other's values.

    Numbers that follow have at least half as many values as the other, or they would say no more about it than a group
    about its members; or they are few and, like categories that follow from numbers, intervals of the other's scale.
    """
    own, (at, _) = len(codes[column.name][0]), codes[other.name]
    numbers, half = column.kind != "category", 2 * own >= len(at)
    if own > len(at) or (column.categories and other.categories):
        return None
    if not column.categories and (not half or other.kind == "values"):
        return None
    table = implies(codes[other.name], x)
    if table is None or not ((numbers and half) or _in_intervals(table, own)):
        return None
    return Relation(column, (other.name,), implied=table, at=() if other.categories else tuple(at.tolist()))


def _in_intervals(table: Sequence[float], classes: int) -> bool:
    """Whether categories are intervals of increasing numbers, at most two of each; or in order, if they are nearly as
    many as the numbers."""
    if 2 * classes < len(table):
        return jumps(table) <= 2 * (classes - 1)
    return len({*np.sign(np.diff(table)).tolist()} - {0.0}) == 1
