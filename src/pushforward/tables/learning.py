"""What is learnt from a table's rows: the density that suits them, and a guide that answers any question about it."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..distributions.base import Density
from ..distributions.guided import AnyOrder, Guided
from ..distributions.truncated import Truncated, truncated, untruncated
from ..errors import InputError
from ..numerics.partly_known import partly_known
from .guide import (
    FEW_STEPS_RATE,
    LEARNING_RATE,
    GuideFill,
    build_guide,
    measure_guide,
    train_guide,
    weigh_guide,
)
from .selection.candidate import Fitted, Task
from .selection.choice import choose, first_candidate
from .splits import TableSplits, spread

LONGER = 3  # times the density's steps, for a guide that fills holes for it
FEW_STEPS, FEW_ROWS_A_STEP = 300, 8  # guide steps beside an average of densities: at least, or one per so many rows

# shares of the time that is left, if it is limited; the rest is for figures
ALONE, BESIDE_GUIDE, AFTERWARDS, GUIDE_FIRST = 0.85, 0.55, 0.65, 0.35


@dataclass(frozen=True)
class Learned:
    """The result of training.

    Attributes:
        rows: The training data: if a guide fills missing values, without the columns that flag them.
        fitted: The density of complete rows, and the facts on its training.
        guided: The same density with its guide, if it has one.
        guide: The summary's facts on the guide's training.
        fill: The sampler of missing cells.
    """

    rows: TableSplits
    fitted: Fitted
    guided: Guided | None = None
    guide: dict[str, Any] = dataclasses.field(default_factory=dict)
    fill: GuideFill | None = None

    @property
    def whole(self) -> Density:
        """The density that is saved."""
        return self.guided or self.fitted.density


def learn(task: Task) -> Learned:
    """Trains what suits the rows and, if questions may be asked, a guide: after the density, or before it if cells are
    missing."""
    schema, earlier = task.rows.schema, task.earlier
    asks = task.options.queries and len(schema.columns) > 1 and (earlier is None or earlier.guided is not None)
    in_part = schema.missingness.in_part
    fills = first_candidate(task).takes_fill
    if in_part and not fills:
        raise InputError("numbers known in part need one flow: no average and no mixture")
    asks |= in_part
    if asks and schema.missingness.occurs and (in_part or not schema.given) and fills:
        learned = _learn_with_holes(task)
    else:
        fitted = _chosen(task.within(BESIDE_GUIDE if asks else ALONE))
        learned = _guided(task, fitted) if asks else Learned(task.rows, fitted)
    if learned.guided is None:
        return learned
    rows = learned.rows
    facts = weigh_guide(learned.guided, rows.schema, rows.val, task.seed)
    facts |= measure_guide(learned.guided, rows.schema, rows.test, task.seed)
    return replace(learned, guide={"guide": learned.guide | facts})


def _chosen(task: Task) -> Fitted:
    """The density that suits the rows best, restricted to rows that keep the orders of columns."""
    fitted, rows = choose(task), task.rows
    if isinstance(fitted.density, Truncated):  # of a fitted model that is trained further
        whole = untruncated(fitted.density)
        unseen = [(whole if density is fitted.density else density, at) for density, at in fitted.unseen]
        fitted = replace(fitted, density=whole, unseen=unseen)
    if not rows.schema.orders:
        return fitted
    orders = [(stated, order) for stated in (True, False) if (order := rows.schema.in_order(stated)) is not None]
    some = rows.train.to(fitted.density.device)

    def kept(density: Density) -> Density:
        for stated, order in orders:
            density = truncated(density, order, some.x, some.context, stated=stated, seed=task.seed)
        return density

    whole = kept(fitted.density)
    unseen = [(whole if density is fitted.density else kept(density), at) for density, at in fitted.unseen]
    return replace(fitted, density=whole, unseen=unseen)


def _learn_with_holes(task: Task) -> Learned:
    """Trains the guide on the observed values, and the flow on rows that the guide fills."""
    if task.earlier is None and len(task.rows.schema.fields) > 1:
        task = replace(task, rows=task.rows.ignoring())
    guide, facts = _guide_first(task.within(GUIDE_FIRST))
    fill = GuideFill(guide, task.rows.schema)
    fitted = _chosen(replace(task, fill=fill).within(ALONE))
    here = fitted.density.device
    guided = Guided(fitted.density, guide.to(here), tuple(task.rows.schema.missingness.flags.items()))
    return Learned(task.rows, fitted, guided, facts, fill)


def _guided(task: Task, fitted: Fitted) -> Learned:
    """The density with its guide, trained for at most as long again."""
    rows, training, before = task.rows, fitted.facts["training"], _guide_of(task)
    guide = before or build_guide(
        rows.schema, spread(rows.train, rows.schema, task.seed), rows.train.weights, task.seed
    )
    steps, lr = training["steps"], LEARNING_RATE
    if "average" in fitted.facts:  # members stop early, and mixtures take no steps
        steps = task.options.training.steps or max(FEW_STEPS, len(rows.train) // FEW_ROWS_A_STEP)
        lr = FEW_STEPS_RATE if steps <= FEW_STEPS else lr
    seconds = min(training["seconds"], AFTERWARDS * max(task.left, 0.0))
    choices: dict[str, Any] = {"steps": steps, "seconds": seconds, "fresh": before is None, "lr": lr}
    facts = train_guide(guide, rows, task.options.training, task.console, **choices)
    return Learned(rows, fitted, Guided(fitted.density, guide.to(fitted.density.device)), facts)


def _guide_first(task: Task) -> tuple[AnyOrder, dict[str, Any]]:
    """A guide that learns from the observed part of rows with holes, and then imputes the rest for the density.

    If the number of steps is set, the guide takes three times as many: each costs a quarter of a step of the density,
    which needs proposals in every step, and whatever the guide does not know, the density learns wrongly.
    """
    rows, before, own = task.rows, _guide_of(task), task.options.training
    guide = before or build_guide(rows.schema, _seen(rows, task.seed), rows.train.weights, task.seed)
    own = own if own.steps is None else replace(own, steps=LONGER * own.steps)
    facts = train_guide(guide, rows, own, task.console, fresh=before is None, seen=True)
    return guide.eval(), {**facts, "fills": True}


def _seen(rows: TableSplits, seed: int) -> Tensor:
    """The training rows; numbers that are known in part are drawn within it."""
    x = rows.train.x
    return torch.where(partly_known(x), spread(rows.train, rows.schema, seed), x)


def _guide_of(task: Task) -> AnyOrder | None:
    """A copy of a fitted model's guide."""
    earlier = task.earlier
    return None if earlier is None or earlier.guided is None else copy.deepcopy(earlier.guided.guide)
