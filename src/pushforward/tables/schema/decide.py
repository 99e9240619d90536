"""Decides how to treat the columns of a table: which are modelled, which are computed from others, and which left out.

Any decision that a user might have wanted otherwise is noted, with the option that changes it; ``strict`` refuses it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from ...errors import InputError
from .columns import Column
from .kinds.named import MOST, Category
from .learner import Learner, days_of
from .missingness import flags_of, random_holes
from .numbers import refuse_gaps
from .relations.base import Dependencies, Dependency, Rows, inputs_of, modelled
from .relations.dates import Weeks, date_parts, weeks
from .relations.formula_search import determined
from .relations.labels import Threshold, labels
from .relations.look_up import Codes, codes_of, implied_categories, implies, looked_up, looked_up_together
from .relations.order import Kept, find_exclusive, find_orders, find_value_flags
from .relations.stated_formula import holding, stated_formulas
from .schema import Schema

JUMPS, SHUFFLED = 8, 0.75  # changes in what labels imply, in their order: at least, and as a part of those by chance
AT_RANDOM = "values are missing at random, so log-densities do not count which are"
FOLLOWS = " follows from others ({}), so together they have no density; leave one out with `columns=`"
KEPT = "in every row, and kept so in samples; a row that breaks it is unlikely, but not impossible"


def learn_schema(frame: pl.DataFrame, learner: Learner) -> Schema:
    """The schema of a table's rows."""
    said, source = learner.said, learner.source
    if said.strict:
        refuse_gaps(frame, [*said.columns, *said.given], source)
    learner.days = days_of([frame[name] for name in [*said.columns, *said.given]])
    found = [found for name in said.columns if (found := learner.learn(frame[name])) is not None]
    columns = [column for column in found if isinstance(column, Column)]
    constants = [relation for relation in found if isinstance(relation, Dependency)]
    if not columns and learner.names:
        return learn_schema(frame, learner.naming())
    if not columns:
        raise InputError("; ".join([f"{source}: no column is left to model", *learner.notes]))
    for each in learner.in_part:
        learner.note(f"{each}", "as stated", "")
    columns, follow, split = _divided(_named(columns, learner), learner)
    lacking = Dependencies(follow, columns).lacking(learner.encoded)
    at_random = random_holes([*columns, *lacking], learner.encoded) if lacking else ()
    learner.encoded = Dependencies(follow, columns).completed(learner.encoded, learner.encoded)
    columns = _with_holes(columns, learner)
    holed = [*columns, *(column for column in lacking if column.name not in at_random)]
    orders = _orders(columns, follow, learner)
    follow = [*constants, *follow]
    kept = {column.name for column in [*columns, *(relation.column for relation in follow)]}
    return Schema(
        (*columns, *flags_of(holed)),
        tuple(learnt for name in said.given if (learnt := learner.learn_given(frame[name])) is not None),
        (*follow, *split, *orders, *learner.in_part),
        tuple(name for name in said.columns if name in kept),
        learner.notes,
    )


def _divided(columns: list[Column], learner: Learner) -> tuple[list[Column], list[Dependency], list[Weeks]]:
    """The columns that are modelled, those that follow from them, and dates that are divided into weeks and weekdays,
    which are encoded anew."""
    values, said = learner.encoded, learner.said
    formulas = stated_formulas(said.formulas, columns, learner.source)
    free = {*said.unrelated, *formulas, *(name for formula in formulas.values() for name in formula.inputs)}
    told = holding(formulas, columns, values)
    follow = [] if said.relations == "none" else _found(modelled(columns, told), values, free, said.strict)
    follow = _together(columns, told, follow, values)
    columns, follow, split = weeks(_modelled(columns, [*told, *follow]), [*told, *follow], values)
    for each in split:
        learner.note(f"{each}", "kept so in samples; a row that breaks it has density 0", "")
    for relation in follow:
        learner.note(
            relation.column.name,
            f"{relation}: computed so in samples; a row that breaks it has density 0",
            "as stated" if relation in told else "`columns=` leaves it out",
            "" if relation in told else FOLLOWS.format(relation),
        )
    return columns, follow, split


def _together(
    columns: Sequence[Column], told: Sequence[Dependency], found: list[Dependency], values: Rows
) -> list[Dependency]:
    """The relations found that all rows keep once missing cells are completed from them: of two differences of dates,
    one tells a date that is missing, which the other may contradict."""
    known = Dependencies([*told, *found], _modelled(columns, [*told, *found]))
    own = {column.name: values[column.name] for column in known.modelled}
    kinds = {column.name: type(column.kind) for column in columns}
    encoded = [column.name for column in known.columns if type(column.kind) is kinds[column.name]]  # as they follow
    follow = {name: values[name] for name in encoded}
    broken = known.broken(known.completed(own, follow), follow, len(values[columns[0].name]))[len(told) :]
    if not (wrong := [relation for relation, rows in zip(found, broken, strict=True) if rows.any()]):
        return found
    return _together(columns, told, [relation for relation in found if relation is not wrong[-1]], values)


def _modelled(columns: Sequence[Column], relations: Sequence[Dependency]) -> list[Column]:
    """The columns without those that follow, but with labels of theirs, for others to depend on: of several that the
    same columns tell, the one with most intervals."""
    left = {column.name: column for column in modelled(columns, relations)}
    told = [r for r in relations if isinstance(r, Threshold) and r.seen_beside(left)]
    kept = {r.inputs: r.column.name for r in sorted(told, key=lambda label: len(label.codes))}
    return modelled(columns, [r for r in relations if r.column.name not in kept.values()])


def _found(columns: Sequence[Column], values: Rows, free: Collection[str], strict: bool) -> list[Dependency]:
    """What follows from other columns, but for the free ones, in the order in which it is computed. A label of numbers
    has a probability beside them, so ``strict`` neither seeks nor refuses one."""
    last = date_parts(columns, values, free)
    told = [] if strict else labels(modelled(columns, last), values, free)
    others = {column.name for column in columns} - inputs_of(told)
    factors = inputs_of(determined(modelled(columns, last), values, {*free, *others})) if told else set()
    last += [label for label in told if label.column.name not in factors]  # of x * flag, the flag is no label
    columns = modelled(columns, last)
    implied = implied_categories(columns, values, free)
    formulas = determined(modelled(columns, implied), values, {*free, *inputs_of(implied)})
    first = [*looked_up(modelled(columns, [*implied, *formulas]), values, implied, free), *formulas]
    return [*looked_up_together(modelled(columns, first), values, free), *first, *last]


def _orders(columns: Sequence[Column], follow: Sequence[Dependency], learner: Learner) -> list[Kept]:
    """The orders of columns, stated and found, and flags that exclude each other or tell a value."""
    said, seeks = learner.said, learner.said.relations != "none"
    free = [column for column in columns if seeks and column.name not in said.unrelated]
    found: list[Kept] = [*find_exclusive(free, learner.encoded), *find_value_flags(free, learner.encoded)]
    found += find_orders(columns, follow, learner.encoded, learner.source, said.order, found=seeks)
    orders = [each for each in found if each.stated or not {*each.names} & {*said.unrelated}]
    for order in orders:
        if not order.stated:
            learner.note(f"{order}", KEPT, "")
    return orders


def _named(columns: list[Column], learner: Learner) -> list[Column]:
    """The columns, with numbers that turn out to be names as categories, which are encoded anew."""
    values, said = learner.encoded, learner.said
    stated = {*said.numbers, *said.bounds, *said.kinds}
    may_be = [column for column in columns if column.name not in stated and column.reading.dtype != "Part"]
    named = _numbers_that_are_names(may_be, values)
    for name, other in named.items():
        what = f"numbers that are names, as {other!r} follows from them"
        learner.note(name, what, "`numbers=` makes them numbers")
    for place, column in enumerate(columns):
        if column.name in named:
            numbers = pl.Series(values[column.name], nan_to_null=True)
            kind = Category.of(numbers)
            columns[place] = replace(column, kind=kind, reading=column.reading.naming(kind.labels))
            values[column.name] = kind.read(numbers)
    return columns


def _numbers_that_are_names(columns: Sequence[Column], values: Rows) -> dict[str, str]:
    r"""Numbers that are labels, of schools or litters, each with a category that follows from it.

    Along the sorted numbers, the category changes nearly as often as along shuffled ones,
    :math:`n (1 - \sum_k p_k^2)` times, whereas a category that is read off a scale has one interval per value.
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
    return bool(np.count_nonzero(np.diff(table)) - fewest >= max(JUMPS, SHUFFLED * by_chance))


def _with_holes(columns: list[Column], learner: Learner) -> list[Column]:
    """The columns with what their missing values mean, after some were completed from others."""
    values = learner.encoded
    shares = {c.name: float(c.missing(values[c.name]).mean()) if c.holes.share else 0.0 for c in columns}
    columns = [replace(c, holes=replace(c.holes, share=shares[c.name])) for c in columns]
    at_random = random_holes(columns, values)
    for name in sorted(at_random):
        learner.note(name, AT_RANDOM, "")
    return [replace(c, holes=replace(c.holes, at_random=c.name in at_random)) for c in columns]
