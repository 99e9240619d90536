"""From a table to a fitted density: columns described, what suits the rows learnt, and it is measured.

What is learnt is a density, and a guide that answers any question about it.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from ..diagnostics.linear_gaussian import LinearGaussian
from ..distributions.average import Average
from ..distributions.base import Density
from ..distributions.guided import AnyOrder, Guided
from ..distributions.truncated import Truncated, truncated, untruncated
from ..errors import InputError, listed
from ..models.compare import describe_held_out
from ..models.console import Console
from ..models.options import device_named
from ..numerics import threads
from ..numerics.partly_known import partly_known
from .guide import FEW_STEPS_RATE, LEARNING_RATE, GuideFill, build_guide, measure_guide, train_guide
from .io.parquet import ParquetRows
from .io.table import Table
from .measure import drawn_beside_held_out, facts_of, measured, scored
from .model import TableModel, flow_in_words
from .options import TableOptions
from .prepare import choose_columns, prepare, prepare_large, why_no_row
from .schema.cells import Cells
from .schema.learner import Learner, said_of
from .schema.relations.known_in_part import joined, stated
from .selection.candidate import OVERFITTING, Fitted, Task, are_likelier
from .selection.choice import choose
from .selection.cross_fitting import most_steps
from .selection.one_mixture import may_be_mixture, sought
from .selection.scales import on_scales
from .splits import TableSplits, spread

LONGER = 3  # times the density's steps, for a guide that fills holes for it
FEW_STEPS, FEW_ROWS_A_STEP = 300, 8  # guide steps beside an average of densities: at least, or one per so many rows

# Shares of a time limit: of all for figures, and at most for the search for a mixture; of the rest for a density beside
# its guide, or for a guide before it. Figures take as many seconds at least, if these are no larger share of it.
FIGURES, SEARCH, BESIDE_GUIDE, GUIDE_FIRST = 0.15, 0.2, 0.6, 0.4
SECONDS, LARGEST = 5.0, 0.3
OF_FIGURES = 0.25  # the share of the time left after the first figures that telling draws from rows may take
# What figures take is known better after that search: at least this share of the limit, or these seconds as above, and
# the search's time once per so many rows that they score, but at most so often.
KNOWN, KNOWN_SECONDS, SCORED, SLOWER = 0.05, 4.0, 5_000, 2.5


@dataclass(frozen=True)
class Learned:
    """The result of training."""

    rows: TableSplits  # the training data: if a guide fills missing values, without the columns that flag them
    fitted: Fitted  # the density of complete rows, and the facts on its training
    guided: Guided | None = None  # the same density with its guide, if it has one
    guide: dict[str, Any] = field(default_factory=dict)  # the summary's facts on the guide's training
    fill: GuideFill | None = None  # the sampler of missing cells
    ends: float = math.inf  # by :func:`time.monotonic`, when the fit is to be over

    @property
    def log_unseen(self) -> Tensor:
        """The log-density of each row under the density that did not see it; NaN for others and test rows."""
        return self.fitted.log_unseen(self.rows, self.fill)


def fit_table(
    table: Table, source: ParquetRows | None, options: TableOptions, console: Console, earlier: TableModel | None = None
) -> tuple[Learned, dict[str, Any]] | None:
    """Fits a table, of which there are all rows or, if it is read from files in pieces, the first ones, and measures.

    Returns:
        What was learnt, and the facts that are saved with it; None on all but the first process of torchrun.
    """
    device_named(options.training.device)
    started = time.monotonic()
    console.note(*table.notes)
    path = str(table.path)
    in_part = stated(table.frame, options, path) if earlier is None else earlier.schema.in_part
    whole = table.mapped(lambda frame: joined(frame, in_part, path)) if in_part else table
    if earlier is None:
        asked, known = bool(options.columns), None
        options = choose_columns(whole, options)
        if source is None and (why := why_no_row(whole.frame.select(options.columns))):
            console.note(f"{path}: the last row {why}; leave it out if it is no row of the table")
    else:
        asked, known = True, earlier.schema
        earlier.refuse_more()
        options = options_as_fitted(earlier, options)
        known.check(whole.frame, path)
    learner = Learner(options, path, in_part, asked)
    if source is None:
        rows = prepare(whole, learner, console, known)
        if known is None:
            task = Task(rows, options, console, ends=_ends(options, started))
            rows = on_scales(task, lambda names: prepare(whole, learner.scaling(names), Console(quiet=True)))
    elif in_part:
        names = [each.name for each in in_part]
        raise InputError(f"{path}: is read in pieces, which limits, censored and noise do not go with: {names}")
    elif known is not None:
        raise InputError(f"{path}: is read in pieces, but a fitted model is trained further only on whole tables")
    else:
        rows = prepare_large(source, learner, console)
    if known is None:
        console.note(*rows.schema.notes)
    return fit_rows(table, rows, options, console, earlier, started)


def fit_rows(
    table: Table,
    rows: TableSplits,
    options: TableOptions,
    console: Console,
    earlier: TableModel | None,
    started: float,
    beside: tuple[Density, float] | None = None,
) -> tuple[Learned, dict[str, Any]] | None:
    """Fits rows that are encoded and divided, and measures: the second half of :func:`fit_table`, which began at a
    time, by :func:`time.monotonic`; ``beside`` a density that stays, if there is one."""
    console.say(*(describe_data(table, rows, options.weights) if console.talks else []))
    ends = _ends(options, started)
    learned = replace(learn(Task(rows, options, console, earlier, ends=ends, beside=beside)), ends=ends)
    if int(os.environ.get("RANK", "0")):
        return None  # under torchrun, one process measures and saves
    return learned, _measured(table, learned, options, console, started)


def _ends(options: TableOptions, started: float) -> float:
    """When a fit that began at a time is to be over."""
    budget = options.training.budget
    return started + (math.inf if budget is None else budget)


def _measured(
    table: Table, learned: Learned, options: TableOptions, console: Console, started: float
) -> dict[str, Any]:
    """The facts that are saved with what was learnt; the main ones are printed."""
    rows, fitted, fill, seed = learned.rows, learned.fitted, learned.fill, options.training.seed
    train = rows.train
    gaussian = LinearGaussian(spread(train, rows.schema, seed), train.context, rows.schema.classes, train.weights)
    with threads.using(fitted.threads):
        summary = fitted.facts | learned.guide | measured(fitted, gaussian, rows, options, fill)
        facts = facts_of(table, rows, fitted.history, options)
        drawn = drawn_beside_held_out(fitted.density, rows, seed, (learned.ends - time.monotonic()) * OF_FIGURES)
    beside = [] if drawn is None else drawn.sentences()
    if drawn is not None:
        summary["sampling"] = {**drawn.to_json(), "text": ". ".join(beside)}
    summary["seconds"] = round(time.monotonic() - started, 1)
    open_end = summary["training"].get("verdict", {}).get("kind") in ("improving", "unknown")
    (console.note if open_end and options.training.budget else console.say)(summary["verdict"])  # answers are the worse
    console.say(*describe_held_out(summary["held_out"]), *beside)
    console.say(f"{flow_in_words(summary)}, {summary['parameters']:,} parameters, {summary['seconds']:.0f} s")
    if learned.guide:
        console.say(describe_guide(summary["guide"]))
    return {**facts, "summary": summary, "gaussian": gaussian.to_json()}


def options_as_fitted(model: TableModel, options: TableOptions) -> TableOptions:
    """The options with what was decided at a model's fit, as if the user had said so, and the new ones on training."""
    summary = model.facts["summary"]
    average, flow, said = summary.get("average"), summary["flow"], said_of(model.schema) | model.facts.get("said", {})
    return replace(
        options,
        **said | ({} if options.relations == "auto" else {"relations": options.relations}),
        flow="auto" if flow == "gmm" and not average else flow,  # such a mixture was chosen
        members=len(average["best_steps"]) if average and flow not in ("auto", "gmm") else options.members,
        objective=summary.get("objective", "likelihood"),
        limits={},
        censored={},
        noise={},
        validation=model.facts.get("validation", options.validation),
        samples=model.samples,
        drop_missing=options.drop_missing or model.facts.get("drop_missing", False),
        training=replace(options.training, seed=model.seed),  # so that its rows stay divided as they were
    )


def describe_data(table: Table, rows: TableSplits, weights: str | None = None) -> list[str]:
    """The table as the model sees it."""
    schema, total = rows.schema, rows.training_rows + len(rows.val) + len(rows.test)
    given = f", given {listed(schema.given_names)}" if schema.given else ""
    again = f" ({rows.earlier:,} stand for earlier ones: draws, held-out and saved rows)" if rows.earlier else ""
    left = [name for name in schema.extra_names(table.frame.columns) if name != weights]
    columns = f"{len(schema.table_names) + len(left)} columns{f', {len(left)} of them left out' if left else ''}"
    return [
        f"{table.path.name}: {total:,} rows{again}, {columns}{given}",
        f"{rows.training_rows:,} rows to train on, {len(rows.val):,} to tell when to stop, {len(rows.test):,} held out",
        *([] if rows.stream is None else [f"read in pieces; columns learnt from {len(rows.train):,} of them"]),
        "",
        *schema.described,
        "",
    ]


def describe_guide(guide: dict[str, Any]) -> str:
    """The guide's result on a test question about half of the columns."""
    if "effective_draws" not in guide:
        return ""
    few, disagree = guide["few_effective"], guide["orders_disagree"]
    return (
        f"questions about some of the columns: standard error {guide['standard_error']:.3f} nats, "
        f"{few:.0%} of the rows with few effective draws; orders of the guide disagree by {disagree:.2f} nats"
    )


def learn(task: Task) -> Learned:
    """Trains what suits the rows and, if questions may be asked, a guide: after the density, or before it if cells are
    missing."""
    schema, earlier = task.rows.schema, task.earlier
    asks = task.options.queries and len(schema.columns) > 1 and (earlier is None or earlier.guided is not None)
    in_part = schema.missingness.in_part
    asks |= in_part
    holed = asks and schema.missingness.occurs and (in_part or not schema.given)
    task = _before_figures(task, seek=not holed and not task.may_average and may_be_mixture(task))

    def learnt(task: Task) -> Learned:
        if holed:
            return _learn_with_holes(task)
        return Learned(task.rows, _chosen(task.within(BESIDE_GUIDE if asks else 1.0)))

    learned = _with_labels(task, learnt)
    if asks and not holed and len(learned.rows.schema.columns) > 1:
        learned = _guided(replace(task, rows=learned.rows), learned.fitted)
    if learned.guided is None:
        return learned
    rows = learned.rows
    learned.guided._spread = Cells(rows.schema).spread
    with threads.using(learned.fitted.threads):
        facts = measure_guide(learned.guided, rows.schema, rows.test, task.seed, task.ends)
    return replace(learned, guide={"guide": learned.guide | facts})


def _with_labels(task: Task, learnt: Callable[[Task], Learned]) -> Learned:
    """What is learnt with labels that others tell, if rows that neither saw are then likelier by more than the standard
    error, or without. Of many rows, the second is only tried if draws hardly ever have the labels of their numbers."""
    if task.earlier is not None or not task.rows.schema.told_labels:
        return learnt(task)
    modelled = learnt(task.within(0.5))
    kept = _keeps_labels(modelled.fitted.density)
    if kept and not (task.plain and task.rows.training_rows <= OVERFITTING):
        return modelled
    place = task.options.training.checkpoint
    training = replace(task.options.training, checkpoint=place and place.with_name(place.name + ".labels"))
    options, rows = replace(task.options, training=training), task.rows.encoded_by(task.rows.schema.following())
    computed = learnt(replace(task, rows=rows, options=options, mixture=None))
    if kept and are_likelier(modelled.log_unseen, computed.log_unseen, rows.rows.weights):
        return modelled
    task.console.say("labels follow from their numbers and are not modelled: held-out rows gain little or nothing")
    return computed


def _keeps_labels(density: Density) -> bool:
    """Whether draws have the labels of their numbers, since others are impossible."""
    return isinstance(density, Truncated) and (not density.left or _keeps_labels(density.density))


def _before_figures(task: Task, seek: bool) -> Task:
    """The task that leaves enough of a limited time for figures. If ``seek``, a mixture is sought first, so that the
    flow has all of the time that is left."""
    if task.options.training.budget is None:
        return task
    left, mixture = task.left, sought(task.within(SEARCH)) if seek else None
    slower = min(scored(task.rows) / SCORED, SLOWER)
    share, seconds = (KNOWN, KNOWN_SECONDS) if mixture else (FIGURES, SECONDS)
    figures = max(share * task.left, min(seconds, LARGEST * task.left), slower * (left - task.left))
    return replace(task, mixture=mixture, ends=task.ends - figures)


def _chosen(task: Task) -> Fitted:
    """The density that suits the rows best, restricted to rows that keep the orders of columns."""
    fitted, rows = choose(task), task.rows
    if task.beside is not None:  # what stays has seen none of the rows, and keeps the rest of the weight
        stays, share = task.beside
        fitted = fitted.changed(lambda density: Average([stays, density], [1 - share, share]))
    orders = [(by_user, found) for by_user in (True, False) if (found := rows.schema.in_order(by_user)) is not None]
    if not orders:
        return fitted
    some = rows.train.to(fitted.density.device)

    def kept(density: Density) -> Density:
        density = untruncated(density)  # that of a fitted model that is trained further keeps its orders
        for by_user, order in orders:
            density = truncated(density, order, some.x, some.context, stated=by_user, seed=task.seed)
        return density

    return fitted.changed(kept)


def _learn_with_holes(task: Task) -> Learned:
    """Trains the guide on the observed values, and the flow on rows that the guide fills."""
    if task.earlier is None and len(task.rows.schema.fields) > 1:
        task = replace(task, rows=task.rows.encoded_by(task.rows.schema.ignoring()))
    guide, facts = _guide_first(task.within(GUIDE_FIRST))
    fill = GuideFill(guide, task.rows.schema)
    fitted = _chosen(replace(task, fill=fill).within(1.0))
    tell = tuple(task.rows.schema.missingness.flags.items())
    return Learned(task.rows, fitted, Guided(fitted.density, guide.to(fitted.density.device), tell), facts, fill)


def _guided(task: Task, fitted: Fitted) -> Learned:
    """The density with its guide, trained for at most as long again."""
    rows, training, before = task.rows, fitted.facts["training"], _guide_of(task)
    x = spread(rows.train, rows.schema, task.seed)
    guide = before or build_guide(rows.schema, x, rows.train.weights, task.seed)
    steps, lr = training["steps"], LEARNING_RATE
    if "average" in fitted.facts:  # members stop early, and mixtures take no steps
        steps = task.options.training.steps or max(FEW_STEPS, len(rows.train) // FEW_ROWS_A_STEP)
        lr = FEW_STEPS_RATE if steps <= FEW_STEPS else lr
    seconds = min(training["seconds"], max(task.left, 0.0))
    choices: dict[str, Any] = {"steps": steps, "seconds": seconds, "fresh": before is None, "lr": lr}
    facts = train_guide(guide, rows, task.options.training, task.console, **choices)
    return Learned(rows, fitted, Guided(fitted.density, guide.to(fitted.density.device)), facts)


def _guide_first(task: Task) -> tuple[AnyOrder, dict[str, Any]]:
    """A guide that learns from the observed part of rows with holes, and then imputes the rest for the density.

    The guide takes three times as many steps as the density, if their number is set, or else at most three times as
    many as a flow for few rows may: each costs a quarter of a step of the density, which needs proposals in every step,
    and whatever the guide does not know, the density learns wrongly.
    """
    rows, before, own = task.rows, _guide_of(task), task.options.training
    x = rows.train.x.where(~partly_known(rows.train.x), spread(rows.train, rows.schema, task.seed))
    guide = before or build_guide(rows.schema, x, rows.train.weights, task.seed)
    own = own if own.steps is None else replace(own, steps=LONGER * own.steps)
    most = round(LONGER * most_steps(rows.training_rows, None))
    facts = train_guide(guide, rows, own, task.console, fresh=before is None, seen=True, most=most)
    return guide.eval(), {**facts, "fills": True}


def _guide_of(task: Task) -> AnyOrder | None:
    """A copy of a fitted model's guide."""
    earlier = task.earlier
    return None if earlier is None or earlier.guided is None else copy.deepcopy(earlier.guided.guide)
