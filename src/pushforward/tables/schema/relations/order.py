"""Columns in order: a start before an end, a part below its total."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ....errors import InputError
from ....numerics.in_order import InOrder
from ..columns import Column
from ..kinds.base import Numbers
from .base import Relation, Rows, on_scales

FEWEST = 50  # rows
EVIDENCE = 8.0  # nats, beyond those of looking at many pairs


@dataclass(frozen=True, repr=False)
class Order(Relation):
    """One column is never above another.

    Args:
        low, high: The two columns.
        stated: Whether the user said so: a row that breaks it is impossible, and otherwise only unlikely.
    """

    low: str
    high: str
    stated: bool = False

    def __str__(self) -> str:
        return f"{self.low!r} <= {self.high!r}"


def find_orders(
    columns: Sequence[Column], values: Rows, source: str, stated: Sequence[tuple[str, str]] = (), *, found: bool = True
) -> tuple[Order, ...]:
    """Stated orders, as pairs of which the lower one comes first; and with ``found``, those that all rows keep and that
    independent columns of the same values would break, without those that follow from others."""
    numbers = on_scales(columns, values)
    below: dict[str, set[str]] = {name: set() for name in numbers}
    for low, high in stated:
        _check(low, high, numbers, source)
        below[high].add(low)
    evidence = EVIDENCE + 2 * np.log(max(len(numbers), 1))
    for low, high in itertools.permutations(numbers, 2) if found else ():
        related = low in _all_below(high, below) or high in _all_below(low, below)
        if not related and _ordered(numbers[low], numbers[high], evidence):
            below[high].add(low)
    return tuple(
        Order(low, high, (low, high) in stated)
        for high, lower in below.items()
        for low in sorted(lower)
        if (low, high) in stated or not any(low in _all_below(other, below) for other in lower - {low})
    )


def _check(low: str, high: str, numbers: Mapping[str, Numbers], source: str) -> None:
    for name in (low, high):
        if name not in numbers:
            raise InputError(f"{source}: {name!r} is not among the modelled columns of numbers", "order", (low, high))
    wrong = np.flatnonzero(numbers[low] > numbers[high])
    if len(wrong):
        row, x, y = wrong[0], numbers[low][wrong[0]], numbers[high][wrong[0]]
        raise InputError(f"{source}, row {row + 1}: {low!r} is {x:g} and {high!r} is {y:g}", "order", (low, high))


def _ordered(x: Numbers, y: Numbers, evidence: float) -> bool:
    """Whether x <= y in all rows, and independent columns of the same values would break that by so many nats."""
    there = ~(np.isnan(x) | np.isnan(y))
    x, y = x[there], y[there]
    if len(x) < FEWEST or (x > y).any() or (x == y).all():
        return False
    breaks = float(np.searchsorted(np.sort(y), x, side="left").mean() / len(y))  # P(y < x) of shuffled columns
    return bool(-np.log1p(-min(breaks, 1 - 1e-9)) * len(x) >= evidence)


def _all_below(name: str, below: Mapping[str, set[str]]) -> set[str]:
    """All columns that are below a column, directly or not."""
    found: set[str] = set()
    left = [name]
    while left:
        fresh = below[left.pop()] - found
        found |= fresh
        left += fresh
    return found


def in_order(orders: Sequence[Order], columns: Sequence[Column], flags: Mapping[int, int]) -> InOrder:
    """Whether encoded rows keep the orders; ``flags`` are the columns that flag missing values of others."""
    places = {column.name: j for j, column in enumerate(columns)}
    pairs = [(places[order.low], places[order.high]) for order in orders]
    kinds = {j: columns[j].kind for j in sorted({j for pair in pairs for j in pair})}
    return InOrder(
        pairs,
        grids=[(j, kind.origin, kind.step) for j, kind in kinds.items() if kind.step],
        tables=[(j, kind.amounts(np.arange(float(n))).tolist()) for j, kind in kinds.items() if (n := kind.classes)],
        atoms=[(j, sorted(kind.atoms)) for j, kind in kinds.items() if kind.atoms],
        flags=[(j, flags[j]) for j in kinds if j in flags],
    )
