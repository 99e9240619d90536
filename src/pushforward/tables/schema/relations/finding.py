"""Divides the columns of a table into those that are modelled and those that follow from them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..columns import Column
from .base import Dependency, Divided, Rows
from .dates import date_parts
from .formula import determined
from .labels import labels
from .look_up import implied_categories, looked_up
from .sums import sums


def find_relations(columns: Sequence[Column], values: Rows, free: Collection[str] = ()) -> Divided:
    """Divides columns into those that are modelled, and those that follow from them.

    Args:
        columns: All columns.
        values: Their encoded rows by name; NaN for missing values.
        free: Columns that are modelled, whatever they may follow from.
    """
    kept, parts = date_parts(columns, values, free)
    kept, told = labels(kept, values, free)
    kept, implied = implied_categories(kept, values, free)
    kept, summed = sums(kept, values, {*free, *(name for relation in implied for name in relation.inputs)})
    kept, implied = looked_up(kept, values, implied, {*free, *(name for each in summed for name in each.inputs)})
    relations: list[Dependency] = [*summed, *implied]
    kept, formulas = determined(kept, values, {*free, *(name for each in relations for name in each.inputs)})
    return kept, [*formulas, *relations, *parts, *told]
