"""The average of densities of a table whose rows are few, fewer than one flow needs, or have one column of classes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...distributions.average import Average, Recalibrated
from ...distributions.base import Density
from ...distributions.flow import Flow
from ...distributions.grouped import Grouped
from ...distributions.mixed import Categories, Mixed
from ...errors import InputError, listed
from ...models.console import Console
from ...models.options import device_named
from ...training.verdict import Verdict
from ...transforms.compose import Compose
from ..guide import GuideFill
from ..schema.cells import Cells
from ..schema.preprocessing import preprocessing
from ..schema.schema import Schema
from ..splits import TableSplits
from .candidate import Candidate, Fitted, Task
from .categories import crossed_categories
from .cross_fitting import FEW_ROWS, AverageOptions, CrossFitted, cross_fit, share_of_medians, wants_average
from .groups import move_cells, with_cells
from .members import Points, others
from .trees import MOST_ROWS, can_grow

COPIES = 8  # points of each row's cell to learn from
COMPLETED = 0.95  # share of the numbers that a guide may complete: of 0.92, an average was as good as one flow
BEST = "every flow of the average is kept where rows that it did not see were likeliest"
LATE = "time was over: more of it may make the flows of the average better"


class AverageOfFew(Candidate):
    """An average of flows, Gaussians and mixtures: for few rows, or where it is asked for by name."""

    def suits(self, task: Task, best: Fitted | None) -> bool:
        if best is not None or task.earlier is not None:
            return False
        asked, refused = wants_average(task.options.flow, task.options.members), self._refused(task)
        if asked and refused:
            what = "flow='gmm'" if task.options.flow == "gmm" else f"members={task.options.members}"
            raise InputError(f"{what}: {refused}")
        few = len(task.rows.rows) - len(task.rows.test) <= FEW_ROWS
        return asked or (few and replace(task, fill=None).averages and not refused)

    def fit(self, task: Task, best: Fitted | None) -> Fitted:
        return fit_average(task, task.rows, task.console)

    def _refused(self, task: Task) -> str:
        """Why the rows, or an option, do not allow an average; nothing if they do."""
        rows = task.rows
        other = rows.stream is not None or task.options.objective != "likelihood" or not rows.schema.numbers
        if other or not task.plain:
            return "is for columns of numbers in memory, by likelihood, without states or shards"
        known = [column.holes.in_part for column in rows.schema.columns]
        if any(known) and (len(known) > 1 or known[0] > COMPLETED):  # the guide's errors would be those of the average
            return "is for numbers that are known exactly, or for one column some of which are"
        return "is not for circular columns; choose one flow by name for them" if rows.schema.circles else ""


class AverageAfterOverfitting(Candidate):
    """An average of small flows, where there are too few rows for one flow's size; it takes over its categories."""

    def suits(self, task: Task, best: Fitted | None) -> bool:
        if best is None or best.name != "flow" or not task.may_average:
            return False
        overfits = best.facts["training"]["verdict"]["kind"] == "overfitting"
        return overfits or (_suits_trees(task.rows.schema) and can_grow())

    def fit(self, task: Task, best: Fitted | None) -> Fitted:
        assert best is not None
        task, (train, val, test) = task.within(1.0), task.rows.split
        rows = replace(task.rows, split=(train, val[:0], test))  # validation rows have told when to stop
        found = fit_average(task, rows, Console(quiet=True), best.density)
        unseen = [(found.density, task.rows.held_out)]  # validation rows are in no fold; of others, the categories know
        return replace(found, facts={**best.facts, **found.facts}, history=best.history, unseen=unseen)


class AverageOfClasses(Candidate):
    """An average of networks and boosted trees for one column of classes given others."""

    def suits(self, task: Task, best: Fitted | None) -> bool:
        schema, rows = task.rows.schema, task.rows.rows
        one = len(schema.columns) == 1 and schema.classes[0] > 0 and schema.context_features > 0
        silent = best is None and task.averages and task.plain
        return silent and one and len(rows) <= MOST_ROWS and not bool(rows.x.isnan().any())

    def fit(self, task: Task, best: Fitted | None) -> Fitted:
        started, rows, classes = time.perf_counter(), task.rows, task.rows.schema.classes[0]
        whole = rows.together
        assert whole.context is not None
        points = Points.of(whole.x.float(), whole.context.float(), whole.weights)
        seconds = task.options.training.budget
        found = cross_fit(points, AverageOptions(classes=classes, trees=can_grow(), seconds=seconds, seed=task.seed))
        return _fitted(task, rows, found, lambda average, _: average, task.console, started)


def fit_average(
    task: Task, rows: TableSplits, console: Console, trained: Density | None = None, quick: bool = False
) -> Fitted:
    """The average, in the table's units; if it is to be fitted quickly, without flows.

    Training and validation rows are divided anew, so that every row is used both for training and for validation.

    If one flow is trained already, for which there are too few rows, it is one of small flows, and takes over its
    categories."""
    started, options, training = time.perf_counter(), task.options, task.options.training
    first, sample, points, codes = _standardised(rows, task.fill, task.seed)
    points = with_cells(points, rows.together.x, rows.schema, first)
    chosen = AverageOptions(
        flow=options.flow,
        members=options.members,
        layers=options.layers,
        hidden=options.hidden,
        training={name: getattr(training, name) for name in ("steps", "lr", "batch_size", "patience")},
        seconds=training.budget,
        epochs=training.epochs,
        small=trained is not None,
        quick=quick,
        trees=options.flow == "auto" and _suits_trees(rows.schema) and can_grow(),
        seed=task.seed,
    )
    try:
        found = cross_fit(points, chosen)
    except ValueError as error:
        raise InputError(str(error)) from None
    categories: list[Categories] = []  # the density of all, and those without each fold; the same if it is taken over
    if isinstance(trained, Mixed):
        categories = [trained.categories] * (1 + len(found.folds))
    elif sizes := [size for size in rows.schema.classes if size]:
        categories = crossed_categories(found.folds, sizes, codes, rows.together, training)

    share = share_of_medians(found, points) if points.features == 1 and points.given else 0.0

    def whole(average: Average, k: int | None) -> Density:
        before, numbers = first, Recalibrated(average, share) if share else average
        if k is not None:  # a fold's own first maps, but on the scale of its fits, from which a number may not be moved
            rest = rows.together[others(found.folds, k)]
            before = Compose(preprocessing(rows.schema.shaped(rest.x, rest.weights, again=True).numeric, sample))
            move_cells(average, rows.schema, before)
        flow = Flow(before, numbers, context=points.given)
        return Mixed(categories[0 if k is None else k + 1], flow, rows.schema.classes) if categories else flow

    return _fitted(task, rows, found, whole, console, started)


def _fitted(
    task: Task,
    rows: TableSplits,
    found: CrossFitted,
    whole: Callable[[Average, int | None], Density],
    console: Console,
    started: float,
) -> Fitted:
    """The result of a fit that began at a time: ``whole`` makes the density of the table of the average, or of what a
    fold was left out of."""
    budget, seen = task.options.training.budget, np.concatenate(rows.split[:2])
    here = device_named(task.options.training.device)
    density = whole(found.density, None).to(here).eval()
    unseen = [
        (whole(part, k).to(here).eval(), seen[fold])
        for k, (part, fold) in enumerate(zip(found.without, found.folds, strict=True))
    ]
    seconds, count, steps = time.perf_counter() - started, len(found.density.members), max(found.steps, default=0)
    verdict = Verdict("converged", None, None, f"converged: {BEST}")
    if budget is not None and seconds > budget:
        verdict = Verdict("unknown", None, None, LATE)
    used = sorted(((weight, name) for name, weight in found.weights.items() if weight > 0), reverse=True)
    shares = ", ".join(f"{name} {weight:.0%}" for weight, name in used[:6])
    console.say(f"an average of {count} densities, weighted by rows that they did not see: {shares}")
    groups = next((each for each in found.density.members if isinstance(each, Grouped)), None)
    equal = [rows.schema.features[rows.schema.numbers[j]] for j in groups.inside] if groups else []
    if groups:
        console.say(f"rows come in groups, {groups.groups} of which are known: each has one {listed(equal)}")
    facts = {
        "verdict": verdict.text,
        "training": {
            "verdict": verdict.to_json(),
            "steps": steps,
            "best_step": steps,
            "best_validation_loss": -found.log_likelihood["average"],
            "validation_se": None,
            "seconds": seconds,
            "skipped_steps": 0,
            "interrupted": False,
        },
        "average": {
            "members": count,
            "weights": found.weights,
            "log_likelihood": found.log_likelihood,
            "best_steps": found.steps,
            "groups": equal,
        },
    }
    name, unseen = f"average of {count}", [*unseen, (density, rows.split[2])]
    return Fitted(name, f"an {name} densities", density, task.options.flow, facts, [], unseen)


def _suits_trees(schema: Schema) -> bool:
    """Whether one number is modelled given other columns."""
    return len(schema.columns) == 1 and bool(schema.numbers) and schema.context_features > 0


def _standardised(rows: TableSplits, fill: GuideFill | None, seed: int) -> tuple[Compose, Tensor, Points, Tensor]:
    """The first transforms of the numbers, and the sample that standardises them; the training rows, then the
    validation rows, after them, completed by a guide if there is one, with the categories in their contexts; and the
    codes of these."""
    schema, whole, generator = rows.schema, rows.together, torch.Generator().manual_seed(seed)
    x, u = whole.x, torch.rand((COPIES, *whole.x.shape), generator=generator, dtype=whole.x.dtype)
    context = None if whole.context is None else whole.context.expand(COPIES, -1, -1)
    copies = Cells(schema, fill).weighted(x.expand(u.shape), u, context=context)[0]
    sample = copies[0][: len(rows.train), schema.numbers]
    first = Compose(preprocessing(schema.numeric, sample))
    codes = copies[0][:, [j for j, size in enumerate(schema.classes) if size]]
    with torch.no_grad():
        z = first(copies[..., schema.numbers])[0].float()
    return first, sample, Points.of(z, schema.before_numbers(copies[0], whole.context), whole.weights), codes
