"""Numbers that are sums of multiples of others: totals, differences, copies in other units."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..columns import Column
from ..kinds.base import Numbers
from .base import Columns, Dependency, Rows, shortest
from .formula import HALF, Computed, Formula

MOST_INPUTS = 30  # columns that a sum may be made of
FEWEST = 50  # complete rows in which a sum is found, if others have holes
FIRST = 2000  # rows that suffice to refute most relations
FEWEST_GAPS, UNUSUAL = 10, 0.05  # rows with a total at which a column is missing; how many others may have it there


@dataclass(frozen=True, repr=False)
class Sum(Computed):
    r"""A column :math:`y = b + \sum_i w_i x_i`. If one of them has a hole, it is completed from the rest.

    Args:
        weights: w, one for each input.
        offset: b.
        gap: The only total at which the column is missing, and usually is; None if there is none.
    """

    weights: tuple[float, ...] = ()
    offset: float = 0.0
    gap: float | None = None

    def holed(self, values: Rows, columns: Columns) -> Numbers:
        found = values[self.column.name]
        return found if self.gap is None else np.where(self.total(values, columns) == self.gap, np.nan, found)

    def with_gap(self, found: Numbers, values: Rows, columns: Columns) -> Sum:
        """The sum with its gap, from encoded training rows of the column."""
        total, gone = self.total(values, columns), self.column.missing(found)
        gaps = total[gone & ~np.isnan(total)]
        alike = len(gaps) >= FEWEST_GAPS and np.ptp(gaps) == 0
        usual = alike and (total[~gone] == gaps[0]).sum() <= UNUSUAL * len(gaps)
        return replace(self, gap=float(gaps[0])) if usual else self

    @property
    def formula(self) -> Formula:
        return Formula(tuple((w, ((x, 1.0),)) for x, w in zip(self.inputs, self.weights, strict=True)), self.offset)

    def __str__(self) -> str:
        gap = "" if self.gap is None else f", usually missing where that is {self.gap:g}"
        return f"{super().__str__()}{gap}"


def sums(columns: Sequence[Column], values: Rows, free: Collection[str]) -> list[Dependency]:
    """Columns, but for the free ones, that are sums of multiples of earlier ones, in every row that misses none."""
    amounts: list[tuple[Column, Numbers]] = []
    relations: list[Dependency] = []
    for column in (column for column in columns if column.kind.is_number):
        x = column.kind.amounts(values[column.name])
        whole = [(other, y) for other, y in amounts if not other.holes.share]
        some = [] if column.name in free else [amounts, whole] if len(whole) < len(amounts) else [amounts]
        found = (_sum(column, x, pairs, values) for pairs in some if pairs)
        relation = next((each for each in found if each is not None), None)
        if relation is None:
            amounts.append((column, x))
        else:
            relations.append(relation)
    return relations


def _sum(column: Column, x: Numbers, others: Sequence[tuple[Column, Numbers]], values: Rows) -> Dependency | None:
    """The column as a sum of multiples of others, which come with their amounts, if that holds in every row."""
    basis, amounts = [other for other, _ in others], [y for _, y in others]
    there = ~np.isnan(np.stack([x, *amounts])).any(0)
    x, amounts = x[there], [values[there] for values in amounts]
    if not there.all() and (len(x) <= max(2 * len(basis), FEWEST) or not x.std() > 0):
        return None
    slack = column.kind.step / x.std()  # rounding after the addition, which the other columns seem to explain in part
    slack = 1e-6 + (slack if slack < 0.05 else 0.0)
    for rows in (slice(0, FIRST), slice(None)):  # for most columns, a few rows rule out a sum
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
        rest, relation = x - design[:, order] @ short, Sum(column, names, tuple(short.tolist()))
        room = HALF * column.kind.step or relation.slack
        relation = replace(relation, offset=shortest(float(rest.max()) - room, float(rest.min()) + room))
        if not relation.broken(values[column.name], values, known).any():
            return relation.with_gap(values[column.name], values, known)
    return None
