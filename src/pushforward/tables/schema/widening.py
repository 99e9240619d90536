"""A schema that takes in what new rows have and it has no place for; all else of it stays as it was decided, unless
they contradict that.

New names are placed after the others, so that codes keep their meaning, with the counts of old and new rows together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
from torch import Tensor

from ...errors import counted, listed
from ...numerics.partly_known import known_in_part
from .columns import Column
from .kinds.base import Hints, Kind, Numbers
from .kinds.few_values import is_unseen
from .learner import KINDS, kind_of
from .missingness import flags_of
from .numbers import missing
from .relations.base import Dependency, Relation
from .relations.formula import Near
from .relations.order import in_order
from .schema import Schema

RARE, FEW = 0.01, 3  # share of rows, and rows, up to which a value that is possible, but was never seen, is rare
TOGETHER = 0.1  # share of rows that may have such values


def widened(
    schema: Schema, new: pl.DataFrame, old: Callable[[], pl.DataFrame], known: int, rare_names: bool = False
) -> tuple[Schema | None, list[str]]:
    """The schema with places for new names, values that were impossible and missing ones, and a sentence for each. None
    if new rows contradict what was found of old ones: then all rows have to be described again.

    Args:
        old: Returns rows in the place of those ``known`` that were there before.
        rare_names: Whether names that were expected, as some are where many are rare, get places however few they are.
    """
    notes, news = list[str](), set[str]()
    told = {label.column.name for label in schema.told_labels}  # which are known where they are missing

    def wider(column: Column) -> Column:
        if column.name not in new.columns:
            return column
        cells = new[column.name].drop_nulls() if column.name in told else new[column.name]
        if cells.is_empty() or not (said := _news(column, cells, rare_names, 1.0 + schema.missingness.in_part)):
            return column
        notes.extend(said)
        news.add(column.name)
        return column if _is_few(column) or column.holes.in_part else _taking_in(column, cells, old, known)

    fields = [wider(column) for column in schema.fields]
    taken = {column.name: column for column in fields}
    relations = [
        replace(r, column=taken.get(r.column.name) or wider(r.column)) if isinstance(r, Dependency) else r
        for r in schema.relations
    ]
    may_lack = {*schema.dependencies.flags, *news}
    flagged = [r.column for r in relations if isinstance(r, Dependency) and r.column.name in may_lack]
    found = replace(schema, columns=(*fields, *flags_of([*fields, *flagged])), relations=tuple(relations))
    kept, broken = _holding(found, new)
    told_apart = {column.name for column in schema.fields if _is_few(column)} | {week.weekday for week in schema.weeks}
    if broken or told_apart & news:
        return None, [*notes, *(f"{relation}, which new rows break: it is sought again" for relation in broken)]
    return replace(found, relations=tuple(kept)) if notes else schema, notes


def _is_few(column: Column) -> bool:
    """Whether a column has few numbers, whose order and gaps more of them would change."""
    return column.kind.classes > 0 and column.kind.is_number


def _news(column: Column, cells: pl.Series, rare_names: bool, spreads: float) -> list[str]:
    """What new rows have in a column that it has no place for, a sentence each: values that it cannot hold or draw,
    missing ones if none was, and those that none had, of which some are expected, unless all of them are rare."""
    values, kind = column.read(cells), column.kind
    there = ~_missing(column, cells) & ~known_in_part(values)
    expected = is_unseen(values) & (values > 0) & (kind.classes > 0)
    expected |= (values == -1) & bool(kind.stands_in and not rare_names)
    most = np.unique(cells.filter(pl.Series(expected)).cast(pl.String), return_counts=True)[1].max(initial=0)
    expected &= (most <= max(RARE * len(cells), FEW)) & (expected.mean() <= TOGETHER)
    odd = (there & ~kind.can(values) & ~expected) | _beyond(kind, values, *kind.limits(spreads))
    gone, found = _missing(column, cells) & (column.holes.share == 0), list[str]()
    if odd.any():
        names = cells.filter(pl.Series(odd)).unique(maintain_order=True).cast(pl.String).to_list()
        found.append(f"{listed(map(repr, names), 5)} in {counted(int(odd.sum()), 'row')}: taken in")
    if gone.any():
        found.append(f"missing in {counted(int(gone.sum()), 'row')}, as in none before: taken in")
    return [f"column {column.name!r}: {news}" for news in found]


def _beyond(kind: Kind, values: Numbers, low: float, high: float) -> np.ndarray:
    """Which values are numbers beyond two ends, unless few are."""
    far = ((values < low) | (values > high)) & (low < high and not (kind.classes or kind.circle))
    return far & (far.sum() > max(RARE * len(far), FEW))


def _missing(column: Column, cells: pl.Series) -> np.ndarray:
    """Which cells hold nothing, or among numbers with marks a text that is none."""
    return missing(column.reading.values(cells) if column.contents == "marked" else cells)


def _taking_in(column: Column, new: pl.Series, old: Callable[[], pl.DataFrame], known: int) -> Column:
    """The column with places for the cells of new rows, beside those of old ones; numbers may be described again."""
    kind, values, gone, (low, high) = column.kind, column.reading.values(new), _missing(column, new), column.kind.ends
    stated = kind.bounds not in (None, (0.0, None))  # perhaps: these stay
    ends = (-np.inf, np.inf) if stated else (2 * low - high, 2 * high - low)
    if kind.classes:
        kind = kind.widened(values, known)
    elif not kind.can(read := kind.read(values))[~gone].all() or _beyond(kind, read, *ends).any():
        both = pl.concat([column.reading.values(old()[column.name]).cast(values.dtype), values])
        hints = Hints(name=column.name, scale=True, day=column.reading.day)
        kind = kind_of(both, hints, [type(kind)] if kind.contents else KINDS)
    share = gone.sum() / (known + len(new))
    return replace(column, kind=kind, holes=replace(column.holes, share=max(column.holes.share, float(share))))


def _holding(schema: Schema, new: pl.DataFrame) -> tuple[list[Relation], list[Relation]]:
    """The relations, those that are tables with what new rows add; and those that were found, not stated, and that new
    rows break."""
    rows, kept = schema.encode(new, "table"), list(schema.relations)
    follow = schema.dependencies
    values, columns = follow.computed({**schema.dated(rows.x), **rows.follow}), follow.known
    for place, each in enumerate(kept):
        if isinstance(each, Dependency) and each.column.name in rows.follow:
            kept[place] = each.widened(rows.follow[each.column.name], values, columns)
    found = replace(schema, relations=tuple(kept))
    pairs = zip(found.dependencies, found.broken(rows), strict=True)
    gone: list[Relation] = [each for each, broken in pairs if broken.any() and not each.stated]
    flags = schema.missingness.flags
    orders = ((each, in_order([each], schema.columns, flags, schema.relations)) for each in schema.orders)
    gone += [each for each, keeps in orders if not each.stated and not keeps(rows.x).all()]
    gone += [each for each in schema.near if _far(each, schema, rows.x) > RARE]
    return kept, gone


def _far(near: Near, schema: Schema, x: Tensor) -> float:
    """The share of encoded rows whose remainder is not one that draws may have."""
    left, (low, high) = near.left(x, schema.columns), near.remainder.limits(1.0)
    return float(((left < low) | (left > high)).double().mean())
