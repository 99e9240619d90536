r"""Numbers that are sums of multiples of others, :math:`y = b + \sum_i w_i x_i`: totals, differences, copies in other
units."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from ..columns import Column
from ..kinds.base import Numbers
from .base import Dependency, Rows, shortest
from .formula import HALF, Determined, Formula

MOST_INPUTS = 30  # columns that a sum may be made of
FEWEST = 50  # complete rows in which a sum is found, if others have holes
FIRST = 2000  # rows that suffice to refute most relations


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
        rest, pairs = x - design[:, order] @ short, zip(short.tolist(), names, strict=True)
        formula = Formula(tuple((w, ((name, 1.0),)) for w, name in pairs))
        relation = Determined(column, names, formula, close=Dependency.close)
        room = HALF * column.kind.step or relation.slack
        offset = shortest(float(rest.max()) - room, float(rest.min()) + room)
        relation = replace(relation, formula=replace(formula, offset=offset))
        if not relation.broken(values[column.name], values, known).any():
            return relation
    return None
