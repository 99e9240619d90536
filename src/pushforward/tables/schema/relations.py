"""Columns that have no density because they follow from others: constants, sums, copies in other units or on another
scale, implied names.

Such a column is no part of the flow. It is computed again where rows are sampled, and a row that breaks it has
density 0. Where a sum has one hole, in it or in what it is made of, the hole is completed from the rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from .columns import Column

CLOSE = 1e-9  # of a column's spread: what rounding in float64 explains
MOST_INPUTS = 30  # columns that a sum is made of
FEWEST = 50  # rows without holes that a sum is found in, where others have some
FIRST = 2000  # rows that refute most relations
EVIDENCE = 100.0  # nats by which rows must speak for an implied value
LONGEST, REPEATED = 1000, 3  # values of a column that another one is looked up by, and rows of each on average


@dataclass(frozen=True)
class Relation:
    r"""A column that follows from others: :math:`y = b + \sum_i w_i x_i`, or the value that another one implies.

    Args:
        column: What follows.
        inputs: The columns that it follows from; none for a constant.
        weights: w, one for each input; empty where one value implies another.
        offset: b; of a constant, its encoded value.
        implied: For every category of the only input, the encoded value that it implies.
        at: Where the only input is a number, its values, increasing, each of which implies one; empty otherwise.
    """

    column: Column
    inputs: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    offset: float = 0.0
    implied: tuple[float, ...] = ()
    at: tuple[float, ...] = ()

    def computed(self, values: Mapping[str, np.ndarray], columns: Mapping[str, Column], rows: int) -> np.ndarray:
        """The encoded column from encoded inputs; NaN where one of them is missing."""
        if not self.inputs:
            return np.full(rows, self.offset)
        inputs = [columns[name].amounts(values[name]) if self.weights else values[name] for name in self.inputs]
        if self.at:
            middles = np.convolve(self.at, [0.5, 0.5], "valid")
            nearest = np.array(self.implied)[np.searchsorted(middles, inputs[0])]
            return np.where(np.isnan(inputs[0]), np.nan, nearest)
        if self.implied:
            codes = np.where((inputs[0] >= 0) & (inputs[0] < len(self.implied)), inputs[0], np.nan)
            known = ~np.isnan(codes)
            return np.where(known, np.array(self.implied)[np.where(known, codes, 0).astype(np.int64)], np.nan)
        total = self._total(inputs)
        return self.column.read(pl.Series(total.round(9))) if self.column.categories else self.column.snap(total)

    def rest(
        self, found: np.ndarray, values: Mapping[str, np.ndarray], columns: Mapping[str, Column]
    ) -> dict[str, np.ndarray]:
        """What a sum leaves for each of its inputs, encoded, in rows that miss this one alone; NaN in others.

        Args:
            found: The encoded column that follows.
            values: The encoded columns.
            columns: What they are.
        """
        amounts = np.stack([columns[name].amounts(values[name]) for name in self.inputs], 1)
        holes, weights = np.isnan(amounts), np.array(self.weights)
        left = self.column.amounts(found) - self.offset - np.nan_to_num(amounts) @ weights
        alone = holes & (holes.sum(1, keepdims=True) == 1)
        return {
            name: np.where(alone[:, i], _encoded(columns[name], left / weights[i]), np.nan)
            for i, name in enumerate(self.inputs)
            if alone[:, i].any()
        }

    def broken(self, found: np.ndarray, values: Mapping[str, np.ndarray], columns: Mapping[str, Column]) -> np.ndarray:
        """Which rows hold something else than what follows; none where a value is missing, or no row had the input's.

        Of two neighbours on the grid that are equally near to a sum, either may be held: tools round halves up, down
        or to even.
        """
        computed, step = self.computed(values, columns, len(found)), self.column.step
        off, there = np.abs(found - computed), ~np.isnan(found) & ~np.isnan(computed)
        if self.weights and self.column.categories:  # a missing value is the code after the last
            there &= np.maximum(found, computed) < len(self.column.categories)
        if self.column.categories:
            return there & (off > 0.5)
        spread = max(self.column.maximum - self.column.minimum, abs(self.column.maximum), 1e-300)
        wrong = there & (off > CLOSE * spread)
        if self.at:
            wrong &= np.isin(values[self.inputs[0]], self.at)
        if self.weights and step and wrong.any():
            total = self._total([columns[name].amounts(values[name]) for name in self.inputs])
            wrong &= (off > 1.000001 * step) | (np.abs(found - total) > 0.500001 * step)
        return wrong

    def _total(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        return np.asarray(self.offset + np.stack(inputs, 1) @ np.array(self.weights))

    def __str__(self) -> str:
        name = repr(self.column.name)
        if not self.inputs:
            return f"{name} is {self.column.shown(self.offset)} in every row"
        if self.implied:
            return f"{name} follows from {self.inputs[0]!r}"
        terms = [f"{w:+.6g} · {x}" if w not in (1, -1) else f"{'+' if w > 0 else '-'} {x}"
                 for w, x in zip(self.weights, self.inputs, strict=True)]  # fmt: skip
        offset = f" {self.offset:+.6g}" if self.offset else ""
        return f"{name} is {' '.join(terms).removeprefix('+ ').removeprefix('+')}{offset}"


def complete(
    values: dict[str, np.ndarray], columns: Sequence[Column], relations: Sequence[Relation], frame: pl.DataFrame
) -> dict[str, np.ndarray]:
    """The encoded columns, with what sums of the table say of values that are missing.

    Args:
        values: The encoded columns by name.
        columns: What they are.
        relations: What follows from them.
        frame: The rows, some of which may hold what follows.
    """
    known, values = {column.name: column for column in columns}, dict(values)
    for relation in relations:
        if relation.weights and relation.column.name in frame.columns:
            found = relation.column.read(frame[relation.column.name])
            for name, rest in relation.rest(found, values, known).items():
                values[name] = np.where(np.isnan(rest), values[name], rest)
    return values


def _encoded(column: Column, amounts: np.ndarray) -> np.ndarray:
    """Numbers as the column has them; NaN for those that it cannot hold."""
    if column.categories:
        codes = column.read(pl.Series(amounts.round(9)).fill_nan(None))
        return np.where((codes < 0) | column.missing(codes), np.nan, codes)
    low, high = column.bounds or (-np.inf, np.inf)
    inside = (amounts > low) & (amounts < (np.inf if high is None else high)) & (column.period is None)
    return np.where(inside, column.snap(amounts), np.nan)


def find_relations(columns: Sequence[Column], values: Mapping[str, np.ndarray]) -> tuple[list[Column], list[Relation]]:
    """Divides columns into those that are modelled, and those that follow from these.

    Args:
        columns: All columns.
        values: Their encoded rows by name; NaN where a value is missing.
    """
    kept, implied = _implied(list(columns), values)
    kept, sums = _sums(kept, values, {name for relation in implied for name in relation.inputs})
    kept, lookups = _lookups(kept, values, {name for relation in [*sums, *implied] for name in relation.inputs})
    return kept, [*sums, *implied, *lookups]


def _implied(columns: list[Column], values: Mapping[str, np.ndarray]) -> tuple[list[Column], list[Relation]]:
    """Categories that another category implies; of two that imply each other the first is kept."""
    named = [column for column in columns if column.categories]
    relations: list[Relation] = []
    for column in reversed(named[:]):
        others = [other for other in named if other is not column and other.classes >= column.classes]
        for other in others:
            table = _implication(values[other.name], values[column.name], other.classes)
            if table is not None:
                named.remove(column)
                relations = [_through(relation, column.name, other.name, table) for relation in relations]
                relations.append(Relation(column, (other.name,), implied=table))
                break
    gone = {relation.column.name for relation in relations}
    return [column for column in columns if column.name not in gone], relations[::-1]


def _through(relation: Relation, name: str, other: str, table: tuple[float, ...]) -> Relation:
    """The relation with its input ``name``, which itself follows from ``other``, replaced by that."""
    if relation.inputs != (name,):
        return relation
    return dataclasses.replace(relation, inputs=(other,), implied=tuple(relation.implied[int(code)] for code in table))


def _implication(given: np.ndarray, then: np.ndarray, classes: int) -> tuple[float, ...] | None:
    """What every category implies, where rows speak for it clearly; None where it does not."""
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


def _lookups(
    columns: list[Column], values: Mapping[str, np.ndarray], used: Collection[str]
) -> tuple[list[Column], list[Relation]]:
    """Numbers that are others on another scale, value by value: logarithms of rounded numbers, means of groups.

    Both columns repeat their values, and the one that follows has at least half as many, or it would tell less of the
    other than a group does of its members.
    """
    kept, inputs, relations = list(columns), set(used), []
    codes: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for column in columns:
        if not (column.holes or column.categories or column.period):
            at, code = np.unique(values[column.name], return_inverse=True)
            if len(at) <= min(LONGEST, len(code) // REPEATED):
                codes[column.name] = at, code
    for column in reversed([column for column in columns if column.name in codes]):
        own = len(codes[column.name][0])
        others = [name for name in codes if name != column.name and own <= len(codes[name][0]) <= 2 * own]
        for other in others if column.name not in inputs else ():
            at, code = codes[other]
            table = _implication(code, values[column.name], len(at))
            if table is not None:
                relations.append(Relation(column, (other,), implied=table, at=tuple(at.tolist())))
                inputs.add(other)
                kept.remove(column)
                del codes[column.name]
                break
    return kept, relations[::-1]


def _sums(
    columns: list[Column], values: Mapping[str, np.ndarray], inputs: Collection[str]
) -> tuple[list[Column], list[Relation]]:
    """Columns of numbers that are sums of multiples of those before them, in every row that misses none of them."""
    kept, relations = [], []
    amounts: list[tuple[Column, np.ndarray]] = []
    for column in columns:
        if column.categories and column.kind != "values":
            kept.append(column)
            continue
        x, found = column.amounts(values[column.name]), None
        whole = [(other, y) for other, y in amounts if not other.holes]
        for some in (amounts, whole) if len(whole) < len(amounts) else (amounts,):
            if some and found is None and column.name not in inputs:
                found = _sum(column, x, [other for other, _ in some], [y for _, y in some], values)
        if found is None:
            kept.append(column)
            amounts.append((column, x))
        else:
            relations.append(found)
    return kept, relations


def _sum(
    column: Column,
    x: np.ndarray,
    basis: Sequence[Column],
    amounts: Sequence[np.ndarray],
    values: Mapping[str, np.ndarray],
) -> Relation | None:
    """The column as a sum of multiples of others, where that holds in every row."""
    there = ~np.isnan(np.stack([x, *amounts])).any(0)
    x, amounts = x[there], [values[there] for values in amounts]
    if not there.all() and (len(x) <= max(2 * len(basis), FEWEST) or not x.std() > 0):
        return None
    slack = column.step / x.std()  # rounded after adding, which the other columns seem to explain in part
    slack = 1e-6 + (slack if slack < 0.05 else 0.0)
    for rows in (slice(0, FIRST), slice(None)):  # most columns are no sums in a few rows
        design = np.stack([values[rows] for values in amounts], 1)
        z = (design - design.mean(0)) / np.maximum(design.std(0), 1e-300)
        target = (x[rows] - x[rows].mean()) / x.std()
        weights = np.linalg.lstsq(z, target, rcond=1e-10)[0]
        if np.abs(z @ weights - target).max() > slack:
            return None
    order = [j for j, weight in enumerate(weights) if abs(weight) > 1e-3]
    if not 0 < len(order) <= min(MOST_INPUTS, len(x) // 10):
        return None
    known = {other.name: other for other in basis}
    chosen = np.linalg.lstsq(z[:, order], target, rcond=None)[0] * x.std() / design[:, order].std(0)
    names = tuple(basis[j].name for j in order)
    for digits in (3, 6, 9, 17):
        short = np.array([float(f"{w:.{digits}g}") for w in chosen])
        offset = float(np.median(x - design[:, order] @ short))
        step = column.step or 1.0  # half-way cases blur the median
        for each in (round(offset / step) * step, float(f"{offset:.{max(digits, 6)}g}")):
            relation = Relation(column, names, tuple(short.tolist()), each)
            if not relation.broken(values[column.name], values, known).any():
                return relation
    return None
