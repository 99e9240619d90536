"""From a table to a fitted density: columns described, the flow built, trained and measured."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..diagnostics.averages import quantiles
from ..distributions.base import Density
from ..distributions.guided import Guided
from ..errors import InputError
from ..models.base import PERCENTS
from ..models.console import Console
from ..models.device import device_named
from ..numerics import threads
from .baselines import Gaussian
from .describe import describe_data, describe_guide, describe_held_out
from .guide import measure_guide, weigh_guide
from .io.parquet import ParquetRows
from .io.table import Table
from .learn import learn
from .options import TableOptions
from .prepare import TableSplits, choose_columns, prepare
from .prepare_large import prepare_large
from .quality import drawn_beside_held_out
from .rows import against, fingerprint, held_out_order, spread
from .schema.cells import Fill, cell_log_density

if TYPE_CHECKING:
    from .fitted import FittedTable

KEPT_ROWS = 1000  # held-out rows that are saved with the model, for reports without the data
QUANTILE_ROWS = 10_000  # training rows used to compute percentiles


def fit_table(
    table: Table,
    source: ParquetRows | None,
    options: TableOptions,
    console: Console,
    earlier: FittedTable | None = None,
) -> tuple[Density, dict[str, Any]] | None:
    """Fits and measures; reports progress on the console.

    Args:
        table: All rows, or the first ones of a table that is read in pieces.
        source: The files, if the table is read from them in pieces, else None.
        options: The user's choices.
        console: Where to print messages.
        earlier: A fitted model to train further.

    Returns:
        The density, and the facts that are saved with it; None on all but the first process of torchrun.

    Raises:
        InputError: the table or an option cannot be used; says why.
    """
    options.training.check()
    device_named(options.training.device)
    started = time.perf_counter()
    for note in table.notes:
        console.note(note)
    rows, options = _prepared(table, source, options, console, earlier)
    for line in describe_data(table, rows):
        console.say(line)
    learnt = learn(rows, options, console, earlier)
    rows, flow, options, guide = learnt.rows, learnt.flow, learnt.options, learnt.guide
    if isinstance(learnt.whole, Guided):
        seed = options.training.seed
        guide |= weigh_guide(learnt.whole, rows.schema, rows.val, seed)
        guide = {"guide": guide | measure_guide(learnt.whole, rows.schema, rows.test, seed)}
    if int(os.environ.get("RANK", "0")):
        return None  # under torchrun, one process measures and saves
    x = spread(rows.train, rows.schema, options.training.seed)
    gaussian = Gaussian(x, rows.train.context, rows.schema.classes, rows.train.weights)
    with threads.using(learnt.trained["training"].get("threads", 1)):  # the number that training found fastest
        summary = learnt.trained | guide | _measure(flow, gaussian, rows, options, learnt.fill)
        facts = _facts(flow, table, rows, learnt.history, options, learnt.fill)
        drawn = drawn_beside_held_out(flow, rows, options.training.seed)
    summary["sampling"] = {**drawn.to_json(), "text": ". ".join(drawn.sentences())}
    summary["seconds"] = round(time.perf_counter() - started, 1)
    for line in [*describe_held_out(summary["held_out"]), *drawn.sentences()]:
        console.say(line)
    console.say(f"{options.flow}, {summary['parameters']:,} parameters, {summary['seconds']:.0f} s")
    if guide:
        console.say(describe_guide(summary["guide"]))
    return learnt.whole, {**facts, "summary": summary, "gaussian": gaussian.to_json()}


def _prepared(
    table: Table,
    source: ParquetRows | None,
    options: TableOptions,
    console: Console,
    earlier: FittedTable | None,
) -> tuple[TableSplits, TableOptions]:
    """The rows, encoded and divided, and the options with the columns; a fitted model keeps its own."""
    asked, known = True, None if earlier is None else earlier.schema
    if earlier is None:
        asked = bool(options.columns)
        options = dataclasses.replace(options, columns=choose_columns(table, options))
    else:
        options = _options_of(earlier, options)
        earlier.schema.check(table.frame, str(table.path))
    if source is None:
        return prepare(table, options, console, asked=asked, schema=known), options
    if known is None:
        return prepare_large(source, table.frame, options, console, asked=asked), options
    raise InputError(f"{table.path}: is read in pieces, but a fitted model is trained further only on whole tables")


def _options_of(earlier: FittedTable, options: TableOptions) -> TableOptions:
    """The fitted model's own options, with the new ones on how to train."""
    summary, schema = earlier.facts["summary"], earlier.schema
    if "average" in summary:
        raise InputError("an average of densities cannot be trained further: fit it again, or one flow by name")
    return dataclasses.replace(
        options,
        flow=summary["flow"],
        objective=summary.get("objective", "likelihood"),
        columns=[*schema.names, *schema.follow_names],
        given=schema.given_names,
        categories=(),
        numbers=(),
        bounds={},
        circular={},
        validation=earlier.facts.get("validation", options.validation),
        samples=earlier.samples,
        training=dataclasses.replace(options.training, seed=earlier.seed),  # so that its rows stay divided as they were
    )


def _measure(
    flow: Density, gaussian: Gaussian, rows: TableSplits, options: TableOptions, fill: Fill | None
) -> dict[str, Any]:
    return {
        "training_rows": rows.training_rows,
        "validation_rows": len(rows.val),
        "columns": rows.schema.names,
        "given": rows.schema.given_names,
        **({} if options.weights is None else {"weights": options.weights}),
        "flow": options.flow,
        "objective": options.objective,
        "parameters": sum(p.numel() for p in flow.parameters()),
        "held_out": against(flow, gaussian, rows.schema, rows.test, options.samples, options.training.seed, fill),
    }


def _facts(
    flow: Density,
    table: Table,
    rows: TableSplits,
    history: list[dict[str, Any]],
    options: TableOptions,
    fill: Fill | None,
) -> dict[str, Any]:
    """The facts that are saved with the flow."""
    here = next(flow.parameters()).device
    some = rows.train[:: max(len(rows.train) // QUANTILE_ROWS, 1)]
    context = None if some.context is None else some.context.to(here)
    weights = None if some.weights is None else some.weights.numpy()
    scores, _ = cell_log_density(flow, rows.schema, some.x.to(here), context, samples=options.samples, fill=fill)
    return {
        "kind": "table",
        "schema": rows.schema.to_json(),
        "quantiles": quantiles(scores.clamp_min(-1e30).numpy(), PERCENTS / 100, weights).tolist(),
        "history": [{**row, "objective": options.objective} for row in history],
        "data": table.path.name,
        "seed": options.training.seed,
        "validation": options.validation,
        "samples": options.samples,
        "held_out": _kept(rows, options),
        "rows": None if rows.whole is None else len(rows.whole),
        "fingerprint": None if rows.whole is None else fingerprint(rows.whole),
        "torch": torch.__version__,
    }


def _kept(rows: TableSplits, options: TableOptions) -> dict[str, Any]:
    """Some held-out rows, for reports without the data: a random selection, because files may be sorted."""
    seed = options.training.seed
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows.test))[:KEPT_ROWS])
    kept = rows.test[chosen]
    numbers = chosen
    if rows.stream is not None:
        numbers = rows.numbers[chosen]
    elif rows.whole is not None:
        numbers = rows.numbers[held_out_order(len(rows.whole), seed, options.validation)[2][chosen]]
    context = None if kept.context is None else kept.context.tolist()
    return {"x": kept.x.tolist(), "context": context, "numbers": numbers.tolist()}
