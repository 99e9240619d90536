"""Decides how to treat the columns of a table: which are modelled, which are computed from others, and which left out.

Any decision that a user might have wanted otherwise is noted, with the option that changes it; ``strict`` refuses it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import polars as pl

from ...errors import InputError
from .columns import Column
from .decisions import Decisions
from .kinds.base import Numbers
from .kinds.flag import Flag
from .learner import ColumnChoices, Learner
from .missingness import random_holes
from .names import as_names, numbers_that_are_names
from .numbers import refuse_gaps
from .relations.base import Dependency
from .relations.dates import Weeks, weeks
from .relations.dependencies import Dependencies
from .relations.finding import find_relations
from .relations.known_in_part import KnownInPart
from .relations.order import Order, find_orders
from .relations.stated_formula import holding, stated_formulas
from .schema import Schema

AT_RANDOM = "values are missing at random, so log-densities do not count which are"
FOLLOWS = " follows from others ({}), so together they have no density; leave one out with `columns=`"
KEPT = "in every row, and kept so in samples; a row that breaks it is unlikely, but not impossible"


def learn_schema(
    frame: pl.DataFrame,
    said: ColumnChoices,
    source: str,
    *,
    in_part: Sequence[KnownInPart] = (),
    asked: bool = True,
) -> Schema:
    """The schema of a table's rows.

    Args:
        frame: The rows.
        said: What the user says of columns, with the names of all that are to be modelled.
        source: The file's name, for error messages.
        in_part: Columns that said what rows know of others, whose cells now say it themselves.
        asked: Whether the user named the columns, so that row counters and identifiers are not left out.

    Raises:
        InputError: a column leaves its stated bounds, no column is left to model, or ``strict`` refuses one.
    """
    decisions = Decisions(source, said.strict)
    if said.strict:
        refuse_gaps(frame, [*said.columns, *said.given], source)
    learner = Learner(decisions, said, asked, {each.name for each in in_part})
    found = [found for name in said.columns if (found := learner.learn(frame[name])) is not None]
    columns = [column for column in found if isinstance(column, Column)]
    constants = [relation for relation in found if isinstance(relation, Dependency)]
    if not columns:
        raise InputError("; ".join([f"{source}: no column is left to model", *decisions.notes()]))
    for each in in_part:
        decisions.add(f"{each}", "as stated", "")
    values = learner.encoded
    columns = _named(columns, values, decisions, [*said.numbers, *said.bounds, *said.kinds])
    columns, follow, split = _divided(columns, values, said, decisions)
    values = Dependencies(follow, columns).completed(values, values)
    columns = _with_holes(columns, values, decisions)
    orders = _orders(columns, values, said, decisions)
    flags = [
        Column(f"{c.name} is missing", Flag(flags=c.name)) for c in columns if c.holes.share and not c.kind.classes
    ]
    follow = [*constants, *follow]
    kept = {column.name for column in [*columns, *(relation.column for relation in follow)]}
    return Schema(
        (*columns, *flags),
        tuple(learnt for name in said.given if (learnt := learner.learn_given(frame[name])) is not None),
        (*follow, *split, *orders, *in_part),
        tuple(name for name in said.columns if name in kept),
        decisions.notes(),
    )


def _divided(
    columns: list[Column], values: dict[str, Numbers], said: ColumnChoices, decisions: Decisions
) -> tuple[list[Column], list[Dependency], list[Weeks]]:
    """The columns that are modelled, those that follow from them, and dates that are divided into weeks and weekdays,
    which are encoded anew."""
    formulas = stated_formulas(said.formulas, columns, decisions.source)
    free = {*said.unrelated, *formulas, *(name for formula in formulas.values() for name in formula.inputs)}
    columns, told = holding(formulas, columns, values)
    columns, follow = find_relations(columns, values, free) if said.relations != "none" else (columns, [])
    columns, follow, split = weeks(columns, [*told, *follow], values)
    for each in split:
        decisions.add(f"{each}", "kept so in samples; a row that breaks it has density 0", "")
    for relation in follow:
        decisions.add(
            relation.column.name,
            f"{relation}: computed so in samples; a row that breaks it has density 0",
            "as stated" if relation in told else "`columns=` leaves it out",
            "" if relation in told else FOLLOWS.format(relation),
        )
    return columns, follow, split


def _orders(
    columns: Sequence[Column], values: Mapping[str, Numbers], said: ColumnChoices, decisions: Decisions
) -> list[Order]:
    """The orders of columns, stated and found."""
    found = find_orders(columns, values, decisions.source, said.order, found=said.relations != "none")
    orders = [order for order in found if order.stated or not {order.low, order.high} & {*said.unrelated}]
    for order in orders:
        if not order.stated:
            decisions.add(f"{order}", KEPT, "")
    return orders


def _named(
    columns: list[Column], values: dict[str, Numbers], decisions: Decisions, stated: Collection[str]
) -> list[Column]:
    """The columns, with numbers that turn out to be names as categories, which are encoded anew."""
    may_be = [column for column in columns if column.name not in stated and column.reading.dtype != "Part"]
    named = numbers_that_are_names(may_be, values)
    for name, other in named.items():
        decisions.add(name, f"numbers that are names, as {other!r} follows from them", "`numbers=` makes them numbers")
    columns = [as_names(c, values[c.name]) if c.name in named else c for c in columns]
    for column in columns:
        if column.name in named:
            values[column.name] = column.kind.read(pl.Series(values[column.name], nan_to_null=True))
    return columns


def _with_holes(columns: list[Column], values: Mapping[str, Numbers], decisions: Decisions) -> list[Column]:
    """The columns with what their missing values mean, after some were completed from others."""
    shares = {c.name: float(c.missing(values[c.name]).mean()) if c.holes.share else 0.0 for c in columns}
    columns = [replace(c, holes=replace(c.holes, share=shares[c.name])) for c in columns]
    at_random = random_holes(columns, values)
    for name in sorted(at_random):
        decisions.add(name, AT_RANDOM, "")
    return [replace(c, holes=replace(c.holes, at_random=c.name in at_random)) for c in columns]
