"""Finds the columns that follow from others, among them numbers that are sums of multiples of others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from .columns import Column
from .implied import FIRST, implied_categories, look_up
from .relations import Relation

MOST_INPUTS = 30  # columns that a sum may be made of
FEWEST = 50  # complete rows in which a sum is found, if others have holes


def find_relations(columns: Sequence[Column], values: Mapping[str, np.ndarray]) -> tuple[list[Column], list[Relation]]:
    """Divides columns into those that are modelled, and those that follow from them.

    Args:
        columns: All columns.
        values: Their encoded rows by name; NaN for missing values.
    """
    kept, implied = implied_categories(list(columns), values)
    kept, sums = _sums(kept, values, {name for relation in implied for name in relation.inputs})
    kept, implied = look_up(kept, values, implied, {name for relation in sums for name in relation.inputs})
    return kept, [*sums, *implied]


def _sums(
    columns: list[Column], values: Mapping[str, np.ndarray], inputs: Collection[str]
) -> tuple[list[Column], list[Relation]]:
    """Numeric columns that are sums of multiples of earlier ones, in every row that misses none of them."""
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
    """The column as a sum of multiples of others, if that holds in every row."""
    there = ~np.isnan(np.stack([x, *amounts])).any(0)
    x, amounts = x[there], [values[there] for values in amounts]
    if not there.all() and (len(x) <= max(2 * len(basis), FEWEST) or not x.std() > 0):
        return None
    slack = column.step / x.std()  # rounding after the addition, which the other columns seem to explain in part
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
        offset = float(np.median(x - design[:, order] @ short))
        step = column.step or 1.0  # half-way cases blur the median
        for each in (round(offset / step) * step, float(f"{offset:.{max(digits, 6)}g}")):
            relation = Relation(column, names, tuple(short.tolist()), each)
            if not relation.broken(values[column.name], values, known).any():
                return relation
    return None
