"""From a table to a fitted density: columns described, the flow built, trained and measured."""

from __future__ import annotations

import copy
import dataclasses
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..diagnostics.averages import quantiles
from ..distributions.anyorder import AnyOrder
from ..distributions.base import Density
from ..distributions.guided import Guided
from ..models.base import PERCENTS
from ..models.console import Console
from ..models.device import device_named
from ..models.train import joined, train_on, training_facts
from ..numerics import threads
from ..objectives.divergences import Objective
from ..recipes.by_name import learning_rate
from .baselines import Gaussian
from .build import density, start_categories
from .candidates import chooses_by_held_out, likeliest
from .describe import describe_data, describe_guide, describe_held_out
from .errors import InputError, listed
from .few import averages, fit_average
from .formats.parquet import ParquetRows
from .formats.table import Table
from .guide import GuideFill, build_guide, measure_guide, tells_of, train_guide
from .objectives import OBJECTIVES
from .options import TableOptions
from .prepare import TableSplits, choose_columns, prepare
from .prepare_large import prepare_large
from .quality import drawn_beside_held_out
from .rows import against, fingerprint, held_out_order, spread
from .schema.cells import Fill, cell_log_density

if TYPE_CHECKING:
    from .fitted import FittedTable

KEPT_ROWS = 1000  # held-out rows that are saved with the model, for reports without the data
LONGER = 3  # times the steps of the density, of a guide that fills holes for it
FEW_STEPS, FEW_ROWS_A_STEP = 400, 8  # of the guide beside an average of densities: so many, or one for so many rows
QUANTILE_ROWS = 10_000  # training rows that percentiles are measured on


def fit_table(
    table: Table,
    source: ParquetRows | None,
    options: TableOptions,
    console: Console,
    earlier: FittedTable | None = None,
) -> tuple[Density, dict[str, Any]] | None:
    """Fits and measures; what was done is said on the console.

    Args:
        table: All rows, or the first ones of a table that is read in pieces.
        source: The files that it is read from in pieces, else None.
        options: The user's choices.
        console: Where to talk.
        earlier: A fitted model to train further.

    Returns:
        The density, and the facts that are saved beside it; None on all processes of torchrun but the first.

    Raises:
        InputError: the table or an option cannot be used; says why.
    """
    device_named(options.training.device)
    started = time.perf_counter()
    for note in table.notes:
        console.note(note)
    if earlier is None:
        asked = bool(options.columns)
        options = dataclasses.replace(options, columns=choose_columns(table, options))
    else:
        asked, options = True, _options_of(earlier, options)
        earlier.schema.check(table.frame, str(table.path))
    known = None if earlier is None else earlier.schema
    if source is None:
        rows = prepare(table, options, console, asked=asked, schema=known)
    elif known is None:
        rows = prepare_large(source, table.frame, options, console, asked=asked)
    else:
        raise InputError(f"{table.path}: is read in pieces, and a fitted model is trained further on whole tables only")
    for line in describe_data(table, rows):
        console.say(line)
    asks = options.queries and len(rows.schema.columns) > 1 and (earlier is None or earlier.guided is not None)
    fill: GuideFill | None = None
    guide_facts: dict[str, Any] = {}
    if earlier is None and averages(options, rows):
        flow, trained = fit_average(rows, options, console)
        history: list[dict[str, Any]] = []
    else:
        chooses = earlier is None and chooses_by_held_out(options, rows)
        options = dataclasses.replace(options, flow="nsf" if options.flow == "auto" else options.flow)
        fills = asks and rows.schema.has_holes and not rows.schema.given
        if fills and earlier is None and len(rows.schema.fields) > 1:
            rows = rows.ignoring()
        flow = _density(options, rows) if earlier is None else copy.deepcopy(earlier.density)
        if fills:
            guide, guide_facts = _guide_first(rows, options, console, earlier)
            fill = GuideFill(guide, rows.schema)
        result = train_on(
            _objective(flow, rows, options, fill),
            rows.train if rows.stream is None else rows.stream,
            rows.val,
            options.training,
            console,
            batch_size=512,
            lr=learning_rate(options.flow),
            fresh=earlier is None,
        )
        trained = training_facts(result)
        history = result.history if earlier is None else joined(earlier.facts.get("history", ()), result.history)
        if chooses and fill is None:
            flow, options, trained = likeliest(flow, rows, options, trained, console)
    whole: Density = flow
    if fill is not None:
        whole = Guided(flow, fill.guide.to(next(flow.parameters()).device), tells_of(rows.schema))
    elif asks:
        whole, guide_facts = _guided(flow, rows, options, trained, console, earlier)
    if isinstance(whole, Guided):
        guide_facts |= measure_guide(whole, rows.schema, rows.test, options.training.seed)
        guide_facts = {"guide": guide_facts}
    if int(os.environ.get("RANK", "0")):
        return None  # under torchrun, one process measures and saves
    x = spread(rows.train, rows.schema, options.training.seed)
    gaussian = Gaussian(x, rows.train.context, rows.schema.classes, rows.train.weights)
    with threads.using(trained["training"].get("threads", 1)):  # what the training found quickest
        summary = trained | guide_facts | _measure(flow, gaussian, rows, options, fill)
        facts = _facts(flow, table, rows, history, options, fill)
        drawn = drawn_beside_held_out(flow, rows, options.training.seed)
    summary["sampling"] = {**drawn.to_json(), "text": ". ".join(drawn.sentences())}
    summary["seconds"] = round(time.perf_counter() - started, 1)
    for line in [*describe_held_out(summary["held_out"]), *drawn.sentences()]:
        console.say(line)
    console.say(f"{options.flow}, {summary['parameters']:,} parameters, {summary['seconds']:.0f} s")
    if guide_facts:
        console.say(describe_guide(summary["guide"]))
    return whole, {**facts, "summary": summary, "gaussian": gaussian.to_json()}


def _guided(
    flow: Density,
    rows: TableSplits,
    options: TableOptions,
    trained: dict[str, Any],
    console: Console,
    earlier: FittedTable | None,
) -> tuple[Density, dict[str, Any]]:
    """The density with its guide, trained for as long again at most, and what the summary says of it."""
    seed, schema = options.training.seed, rows.schema
    train = rows.train if rows.stream is None else rows.stream
    before = None if earlier is None or earlier.guided is None else copy.deepcopy(earlier.guided.guide)
    fresh = before is None
    guide = before or build_guide(schema, spread(rows.train, schema, seed), seed)
    steps, time_of = trained["training"]["steps"], trained["training"]["seconds"]
    if "average" in trained:  # members stop early, and mixtures take no steps
        steps = options.training.steps or max(FEW_STEPS, len(rows.train) // FEW_ROWS_A_STEP)
    facts = train_guide(guide, schema, train, rows.val, options.training, steps, time_of, console, fresh=fresh)
    return Guided(flow, guide.to(next(flow.parameters()).device)), facts


def _guide_first(
    rows: TableSplits, options: TableOptions, console: Console, earlier: FittedTable | None
) -> tuple[AnyOrder, dict[str, Any]]:
    """A guide that learns from what is seen of rows with holes, and then draws for the density what is not.

    Where the steps are set, it takes three times as many: each costs a quarter of one of the density, which is proposed
    fillings for in every step, and what the guide does not know the density learns wrongly.
    """
    schema, train = rows.schema, rows.train if rows.stream is None else rows.stream
    before = None if earlier is None or earlier.guided is None else copy.deepcopy(earlier.guided.guide)
    guide = before or build_guide(schema, rows.train.x, options.training.seed)
    fresh = before is None
    own = options.training
    own = own if own.steps is None else dataclasses.replace(own, steps=LONGER * own.steps)
    facts = train_guide(guide, schema, train, rows.val, own, None, None, console, fresh=fresh, seen=True)
    return guide.eval(), {**facts, "fills": True}


def _options_of(earlier: FittedTable, options: TableOptions) -> TableOptions:
    """The choices that are the fitted model's own, with the new ones of how to train."""
    summary, schema = earlier.facts["summary"], earlier.schema
    if "average" in summary:
        raise InputError("an average of densities is not trained further: fit it again, or one flow by name")
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
        training=dataclasses.replace(options.training, seed=earlier.seed),  # whose rows stay divided as they were
    )


def _density(options: TableOptions, rows: TableSplits) -> Density:
    seed = options.training.seed
    x = spread(rows.train, rows.schema, seed)
    try:
        built = density(rows.schema, x, flow=options.flow, layers=options.layers, hidden=options.hidden, seed=seed)
    except ValueError as error:
        raise InputError(f"--flow {options.flow}: {error}") from None
    start_categories(built, rows.train.x, rows.train.weights)
    return built


def _objective(flow: Density, rows: TableSplits, options: TableOptions, fill: Fill | None) -> Objective:
    if options.objective not in OBJECTIVES:
        raise InputError(f"--objective {options.objective}: choose one of {', '.join(OBJECTIVES)}")
    named = [column.name for column in rows.schema.columns if column.categories]
    if named and options.objective == "matching":
        raise InputError(f"--objective matching: is for columns of numbers, not for the categories of {listed(named)}")
    try:
        return OBJECTIVES[options.objective](flow, rows.schema, fill)
    except ValueError:
        raise InputError(
            f"--objective {options.objective}: is for continuous flows, not for {options.flow}; add --flow ffjord"
        ) from None


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
    """What is saved beside the flow."""
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
    """Some held-out rows, for reports without the data: any, not the first, because files may be sorted."""
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
