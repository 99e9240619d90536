"""Finds numbers that are labels: what they imply follows no order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from .columns import Column
from .kinds.base import Numbers
from .kinds.category import Category
from .kinds.named import MOST
from .relations.look_up import Codes, codes_of, implies, jumps

JUMPS, SHUFFLED = 8, 0.75  # changes in what labels imply, in their order: at least, and as a part of those by chance


def numbers_that_are_names(columns: Sequence[Column], values: Mapping[str, Numbers]) -> dict[str, str]:
    """Numbers that are labels, of schools or litters, each with a category that follows from it.

    Along the sorted numbers, the category changes nearly as often as along shuffled ones,
    :math:`n (1 - \\sum_k p_k^2)` times, whereas a category that is read off a scale has one interval per value.

    Args:
        columns: All columns.
        values: Their encoded rows.
    """
    named = [column for column in columns if column.classes and not column.holes.share]
    found: dict[str, str] = {}
    places: list[Codes] = []
    for column in columns:
        plain = not column.classes and column.contents == "number"
        codes = codes_of(column, values[column.name], MOST) if plain else None
        if codes is None or any(implies(name, codes[1]) for name in places):
            continue
        tables = ((other.name, implies(codes, values[other.name])) for other in named)
        follow = [name for name, table in tables if table is not None and _shuffled(table)]
        if follow:
            found[column.name] = follow[0]
            places.append(codes)
    return found


def _shuffled(table: Sequence[float]) -> bool:
    """Whether the values implied by increasing numbers follow no order; unavoidable changes are not counted."""
    counts = np.unique(table, return_counts=True)[1]
    fewest = len(counts) - 1
    by_chance = len(table) * (1 - ((counts / len(table)) ** 2).sum()) - fewest
    return jumps(table) - fewest >= max(JUMPS, SHUFFLED * by_chance)


def as_names(column: Column, x: Numbers) -> Column:
    """A column of numbers as a category with as many labels."""
    kind = Category.of(pl.Series(x, nan_to_null=True))
    return replace(column, kind=kind, reading=column.reading.naming(kind.labels))
