"""One column of classes given others: networks and boosted trees, averaged by rows that they did not see."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from ...distributions.base import Density
from ...models.machine import device_named
from ...recipes.by_name import categories_by_size
from ...training.batches import mix
from .candidate import Candidate, Fitted, Task
from .categories import start_categories
from .cross_fitting import AverageOptions, cross_fit
from .kinds import MemberKind, Share
from .members import MemberOptions, train_members
from .points import Points
from .small_tables import facts_of_average, shares_in_words, verdict_of_average
from .trees import MOST_ROWS, CalibratedScores, OnTrees, TreeFeatures, can_grow

RATE = 3e-3


@dataclass(frozen=True)
class ClassNetworks(MemberKind):
    """ClassNetworks that read the given columns, each stopped by the rows that it does not see; all are kept.

    Args:
        classes: Number of classes.
        ends: Time, by :func:`time.monotonic`, at which training ends.
    """

    classes: int
    ends: float = math.inf
    steps: list[int] = field(default_factory=list)
    name: str = "network"  # type: ignore[misc]

    def cross_fit(self, shares: Sequence[Share], seed: int) -> list[Density]:
        given = shares[0][0].given
        members = [categories_by_size([self.classes], context=given, seed=mix(seed, k, 6)) for k in range(len(shares))]
        for member, (train, _) in zip(members, shares, strict=True):
            start_categories(member, train.x[0], train.weight)
        options = MemberOptions(lr=RATE, decay=0.0, ends=self.ends)
        held_out = [judged for _, judged in shares]
        self.steps.extend(train_members(members, [train for train, _ in shares], held_out, options, seed))
        return list(members)

    def kept(self, rows: Points, fits: list[Density], seed: int) -> list[Density]:
        return fits


class AverageOfClasses(Candidate):
    """An average of networks and boosted trees for one column of classes given others."""

    def suits(self, task: Task, best: Fitted | None) -> bool:
        schema, rows, training = task.rows.schema, task.rows.rows, task.options.training
        length = (training.steps, training.epochs, training.patience, training.lr, training.batch_size)
        silent = best is None and task.chooses and all(each is None for each in length)
        one = len(schema.columns) == 1 and schema.classes[0] > 0 and schema.context_features > 0
        other = training.shard or training.compile or training.checkpoint or training.metrics
        return silent and one and not other and len(rows) <= MOST_ROWS and not bool(rows.x.isnan().any())

    def fit(self, task: Task, best: Fitted | None) -> Fitted:
        started, rows, budget = time.perf_counter(), task.rows, task.options.training.budget
        whole, classes = rows.together, rows.schema.classes[0]
        assert whole.context is not None
        points = Points.of(whole.x.float(), whole.context.float(), whole.weights)

        def ladders(points: Points, folds: list[Tensor], ends: float) -> Iterator[Sequence[Sequence[MemberKind]]]:
            yield [[ClassNetworks(classes, ends)]]
            if can_grow():
                yield [[OnTrees(CalibratedScores(classes), TreeFeatures.of_classes(points, folds, classes, task.seed))]]

        found = cross_fit(points, AverageOptions(ladders_of=ladders, seconds=budget, copies=1, seed=task.seed))
        here, seen = device_named(task.options.training.device), np.concatenate(rows.split[:2])
        density = found.density.to(here).eval()
        unseen = [(part.to(here).eval(), seen[fold]) for part, fold in zip(found.without, found.folds, strict=True)]
        seconds, name = time.perf_counter() - started, f"average of {len(found.density.members)}"
        verdict = verdict_of_average(budget is not None and seconds > budget)
        task.console.say(shares_in_words(found))
        facts = facts_of_average(found, verdict, seconds)
        return Fitted(name, f"an {name} densities", density, "auto", facts, [], [*unseen, (density, rows.split[2])])
