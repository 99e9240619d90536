"""Learns the model that suits a table's rows: a flow or an average of densities, and a guide for any question."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

from ..distributions.base import Density
from ..distributions.guided import AnyOrder, Guided
from ..errors import InputError, listed
from ..models.console import Console
from ..models.device import device_named
from ..models.options import TrainingOptions
from ..models.train import joined, train_on, training_facts
from ..objectives.divergences import Objective
from ..recipes.by_name import learning_rate
from .build import density
from .candidates import chooses_by_held_out, likeliest
from .categories import categories_first, release, start_categories
from .few import averages, fit_average
from .guide import FEW_STEPS_RATE, LEARNING_RATE, GuideFill, build_guide, train_guide
from .objectives import OBJECTIVES
from .options import TableOptions
from .prepare import TableSplits
from .rows import spread
from .schema.cells import Fill

if TYPE_CHECKING:
    from .fitted import FittedTable

SMALL, LARGE = 128, 512  # rows in a batch
LONGER = 3  # times the density's steps, for a guide that fills holes for it
FEW_STEPS, FEW_ROWS_A_STEP = 300, 8  # guide steps beside an average of densities: at least, or one per so many rows


class Learnt(NamedTuple):
    """The result of training.

    Attributes:
        rows: The training data: if a guide fills missing values, without the columns that flag them.
        flow: The density of complete rows.
        whole: The same with its guide, if it has one.
        options: The user's choices, with the flow that was chosen.
        trained: The summary's facts on the training.
        history: The training history, step by step.
        guide: The summary's facts on the guide's training.
        fill: The sampler of missing cells.
    """

    rows: TableSplits
    flow: Density
    whole: Density
    options: TableOptions
    trained: dict[str, Any]
    history: list[dict[str, Any]]
    guide: dict[str, Any]
    fill: GuideFill | None = None


def learn(rows: TableSplits, options: TableOptions, console: Console, earlier: FittedTable | None) -> Learnt:
    """Trains what suits the rows: an average of densities if they are few, or else a flow; and, if questions may be
    asked, a guide: after the flow, or before it if cells are missing."""
    asks = options.queries and len(rows.schema.columns) > 1 and (earlier is None or earlier.guided is not None)
    if earlier is None and averages(options, rows):
        flow, trained = fit_average(rows, options, console)
        history: list[dict[str, Any]] = []
    else:
        chooses = earlier is None and chooses_by_held_out(options, rows)
        options = dataclasses.replace(options, flow="nsf" if options.flow == "auto" else options.flow)
        if asks and rows.schema.missingness.occurs and not rows.schema.given:
            return _learn_with_holes(rows, options, console, earlier)
        flow, trained, history = _train(rows, options, console, earlier)
        if chooses:
            flow, options, trained = likeliest(flow, rows, options, trained, console)
    if not asks:
        return Learnt(rows, flow, flow, options, trained, history, {})
    whole, facts = _guided(flow, rows, options, trained, console, earlier)
    return Learnt(rows, flow, whole, options, trained, history, facts)


def _learn_with_holes(
    rows: TableSplits, options: TableOptions, console: Console, earlier: FittedTable | None
) -> Learnt:
    """Trains the guide on the observed values, and the flow on rows that the guide fills."""
    if earlier is None and len(rows.schema.fields) > 1:
        rows = rows.ignoring()
    guide, facts = _guide_first(rows, options, console, earlier)
    fill = GuideFill(guide, rows.schema)
    flow, trained, history = _train(rows, options, console, earlier, fill)
    whole = Guided(flow, guide.to(next(flow.parameters()).device), tuple(rows.schema.missingness.flags.items()))
    return Learnt(rows, flow, whole, options, trained, history, facts, fill)


def _train(
    rows: TableSplits,
    options: TableOptions,
    console: Console,
    earlier: FittedTable | None,
    fill: GuideFill | None = None,
) -> tuple[Density, dict[str, Any], list[dict[str, Any]]]:
    """A trained flow, its facts for the summary, and the history, including that of a fitted model trained further."""
    flow = _density(options, rows) if earlier is None else copy.deepcopy(earlier.density)
    training = options.training if earlier is not None else categories_first(flow, rows, options.training)
    result = train_on(
        _objective(flow, rows, options, fill),
        rows.train_source,
        rows.val,
        training,
        console,
        batch_size=LARGE if rows.stream is not None else _batch_size(training),
        lr=learning_rate(options.flow),
        fresh=earlier is None,
    )
    release(flow)
    history = result.history if earlier is None else joined(earlier.facts.get("history", ()), result.history)
    return flow, training_facts(result), history


def _batch_size(training: TrainingOptions) -> int:
    """Rows in a batch: a CPU processes rows one after another, so under a time limit it learns more from many small
    steps; with a given number of steps, each step should achieve as much as possible."""
    counted = training.steps is not None or training.epochs is not None
    return LARGE if counted or device_named(training.device) != "cpu" else SMALL


def _guided(
    flow: Density,
    rows: TableSplits,
    options: TableOptions,
    trained: dict[str, Any],
    console: Console,
    earlier: FittedTable | None,
) -> tuple[Density, dict[str, Any]]:
    """The density with its guide, trained for at most as long again, and its facts for the summary."""
    seed, schema, before = options.training.seed, rows.schema, _guide_of(earlier)
    fresh = before is None
    guide = before or build_guide(schema, spread(rows.train, schema, seed), rows.train.weights, seed)
    steps, time_of, lr = trained["training"]["steps"], trained["training"]["seconds"], LEARNING_RATE
    if "average" in trained:  # members stop early, and mixtures take no steps
        steps = options.training.steps or max(FEW_STEPS, len(rows.train) // FEW_ROWS_A_STEP)
        lr = FEW_STEPS_RATE if steps <= FEW_STEPS else lr
    facts = train_guide(
        guide, schema, rows.train_source, rows.val, options.training, steps, time_of, console, fresh=fresh, lr=lr
    )
    return Guided(flow, guide.to(next(flow.parameters()).device)), facts


def _guide_first(
    rows: TableSplits, options: TableOptions, console: Console, earlier: FittedTable | None
) -> tuple[AnyOrder, dict[str, Any]]:
    """A guide that learns from the observed part of rows with holes, and then imputes the rest for the density.

    If the number of steps is set, the guide takes three times as many: each costs a quarter of a step of the density,
    which needs proposals in every step, and whatever the guide does not know, the density learns wrongly.
    """
    schema, before = rows.schema, _guide_of(earlier)
    guide = before or build_guide(schema, rows.train.x, rows.train.weights, options.training.seed)
    fresh = before is None
    own = options.training
    own = own if own.steps is None else dataclasses.replace(own, steps=LONGER * own.steps)
    facts = train_guide(guide, schema, rows.train_source, rows.val, own, None, None, console, fresh=fresh, seen=True)
    return guide.eval(), {**facts, "fills": True}


def _guide_of(earlier: FittedTable | None) -> AnyOrder | None:
    """A copy of a fitted model's guide."""
    return None if earlier is None or earlier.guided is None else copy.deepcopy(earlier.guided.guide)


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
    named = [column.name for column in rows.schema.columns if column.classes]
    if named and options.objective == "matching":
        raise InputError(f"--objective matching: is for columns of numbers, not for the categories of {listed(named)}")
    try:
        return OBJECTIVES[options.objective](flow, rows.schema, fill)
    except ValueError:
        raise InputError(
            f"--objective {options.objective}: is for continuous flows, not for {options.flow}; add --flow ffjord"
        ) from None
