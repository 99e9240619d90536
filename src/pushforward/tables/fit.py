"""From a table to a fitted density: columns described, the flow built, trained and measured."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ..diagnostics.linear_gaussian import LinearGaussian
from ..errors import InputError
from ..models.console import Console
from ..models.held_out_figures import describe_held_out
from ..models.machine import device_named
from ..numerics import threads
from .describe import describe_data, describe_guide
from .io.parquet import ParquetRows
from .io.table import Table
from .learning import Learned, learn
from .measure import drawn_beside_held_out, facts_of, measured
from .options import TableOptions
from .prepare import choose_columns, prepare, prepare_large
from .schema.learner import said_of
from .schema.relations.known_in_part import KnownInPart, stated
from .selection.candidate import Task
from .splits import TableSplits, spread

if TYPE_CHECKING:
    from .fitted import FittedTable


def fit_table(
    table: Table,
    source: ParquetRows | None,
    options: TableOptions,
    console: Console,
    earlier: FittedTable | None = None,
) -> tuple[Learned, dict[str, Any]] | None:
    """Fits and measures; reports progress on the console.

    Args:
        table: All rows, or the first ones of a table that is read in pieces.
        source: The files, if the table is read from them in pieces, else None.
        options: The user's choices.
        console: Where to print messages.
        earlier: A fitted model to train further.

    Returns:
        What was learnt, and the facts that are saved with it; None on all but the first process of torchrun.

    Raises:
        InputError: the table or an option cannot be used; says why.
    """
    device_named(options.training.device)
    started = time.monotonic()
    for note in table.notes:
        console.note(note)
    in_part = _in_part(table, options, earlier)
    rows, options = _prepared(_joined(table, in_part), source, options, console, earlier, in_part)
    return fit_rows(table, rows, options, console, earlier, started)


def fit_rows(
    table: Table,
    rows: TableSplits,
    options: TableOptions,
    console: Console,
    earlier: FittedTable | None,
    started: float,
) -> tuple[Learned, dict[str, Any]] | None:
    """Fits rows that are encoded and divided, and measures: the second half of :func:`fit_table`, which began at a
    time, by :func:`time.monotonic`."""
    for line in describe_data(table, rows) if console.talks else []:
        console.say(line)
    budget = options.training.budget
    learned = learn(Task(rows, options, console, earlier, ends=started + (math.inf if budget is None else budget)))
    if int(os.environ.get("RANK", "0")):
        return None  # under torchrun, one process measures and saves
    return learned, _measured(table, learned, options, console, started)


def _measured(
    table: Table, learned: Learned, options: TableOptions, console: Console, started: float
) -> dict[str, Any]:
    """The facts that are saved with what was learnt; the main ones are printed."""
    rows, fitted, fill, seed = learned.rows, learned.fitted, learned.fill, options.training.seed
    options = dataclasses.replace(options, flow=fitted.flow)
    train = rows.train
    gaussian = LinearGaussian(spread(train, rows.schema, seed), train.context, rows.schema.classes, train.weights)
    with threads.using(fitted.facts["training"].get("threads", 1)):  # the number that training found fastest
        summary = fitted.facts | learned.guide | measured(fitted.density, gaussian, rows, options, fill)
        facts = facts_of(table, rows, fitted.history, options)
        drawn = drawn_beside_held_out(fitted.density, rows, seed)
    summary["sampling"] = {**drawn.to_json(), "text": ". ".join(drawn.sentences())}
    summary["seconds"] = round(time.monotonic() - started, 1)
    for line in [summary["verdict"], *describe_held_out(summary["held_out"]), *drawn.sentences()]:
        console.say(line)
    console.say(f"{options.flow}, {summary['parameters']:,} parameters, {summary['seconds']:.0f} s")
    if learned.guide:
        console.say(describe_guide(summary["guide"]))
    return {**facts, "summary": summary, "gaussian": gaussian.to_json()}


def _prepared(
    table: Table,
    source: ParquetRows | None,
    options: TableOptions,
    console: Console,
    earlier: FittedTable | None,
    in_part: Sequence[KnownInPart],
) -> tuple[TableSplits, TableOptions]:
    """The rows, encoded and divided, and the options with the columns; a fitted model keeps its own."""
    asked, known = True, None if earlier is None else earlier.schema
    if earlier is None:
        asked = bool(options.columns)
        options = choose_columns(table, options)
    else:
        if "average" in earlier.facts["summary"]:
            raise InputError("an average of densities cannot be trained further: fit it again, or one flow by name")
        options = options_as_fitted(earlier, options)
        earlier.schema.check(table.frame, str(table.path))
    if source is None:
        return prepare(table, options, console, asked=asked, schema=known, in_part=in_part), options
    if in_part:
        names = [each.name for each in in_part]
        raise InputError(f"{table.path}: is read in pieces, which limits, censored and noise do not go with: {names}")
    if known is None:
        return prepare_large(source, options, console, asked=asked), options
    raise InputError(f"{table.path}: is read in pieces, but a fitted model is trained further only on whole tables")


def _in_part(table: Table, options: TableOptions, earlier: FittedTable | None) -> Sequence[KnownInPart]:
    """What the user, or the fitted model, says of columns of which rows may know only a part."""
    if earlier is not None:
        return earlier.schema.in_part
    return stated(table.frame, options.limits, options.censored, options.noise, str(table.path))


def _joined(table: Table, in_part: Sequence[KnownInPart]) -> Table:
    """The table with that in the cells of these columns."""

    def joined(frame: pl.DataFrame) -> pl.DataFrame:
        for each in in_part:
            frame = each.joined(frame, str(table.path))
        return frame

    splits = {name: joined(frame) for name, frame in table.splits.items()}
    return dataclasses.replace(table, frame=joined(table.frame), splits=splits)


def options_as_fitted(model: FittedTable, options: TableOptions) -> TableOptions:
    """The options with what was decided at a model's fit, as if the user had said so, and the new ones on training."""
    summary = model.facts["summary"]
    return dataclasses.replace(
        options,
        **said_of(model.schema),
        flow="auto" if is_average(summary) else summary["flow"],
        objective=summary.get("objective", "likelihood"),
        limits={},
        censored={},
        noise={},
        validation=model.facts.get("validation", options.validation),
        samples=model.samples,
        drop_missing=options.drop_missing or model.facts.get("drop_missing", False),
        training=dataclasses.replace(options.training, seed=model.seed),  # so that its rows stay divided as they were
    )


def is_average(summary: Mapping[str, Any]) -> bool:
    """Whether a model is an average of densities, or a mixture, which cannot be trained further."""
    return "average" in summary or summary["flow"] == "gmm"
