"""The choice of a table's density: the candidate under which rows that it did not see are likeliest.

Up to 3,000 rows this is an average of small flows, mixtures and copulas. With more rows, a single flow is seldom worse,
and it scores and samples faster than several. So it is trained first; if it overfits, there are too few rows for its
size, and that average is tried, or else a mixture of Gaussians (sought first where there is little time for many rows).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import torch

from ..schema.cells import Cells
from .candidate import Candidate, Fitted, Task
from .one_flow import OneFlow
from .one_mixture import JUDGED, OneMixture, mean_log_prob
from .small_tables import AverageAfterOverfitting, AverageOfClasses, AverageOfFew

CANDIDATES: tuple[Candidate, ...] = (
    AverageOfFew(),
    AverageOfClasses(),
    OneFlow(),
    AverageAfterOverfitting(),
    OneMixture(),
)


def choose(task: Task) -> Fitted:
    """Fits the candidates that suit a table's rows, and returns the likeliest, with the comparison among its facts."""
    best: Fitted | None = None
    scores: dict[str, float] = {}
    for candidate in CANDIDATES:
        if candidate.suits(task, best):
            tried = _fitted(candidate, task, best)
            best = tried if best is None else _likelier(best, tried, task, scores)
    assert best is not None  # one flow suits whatever an average does not
    if best.for_good is not None and task.left > 0:
        with suppress(ValueError, torch.linalg.LinAlgError):  # if the refit fails, keep it as it was
            best = best.for_good()
    return replace(best, facts={**best.facts, "candidates": scores}) if scores else best


def _fitted(candidate: Candidate, task: Task, best: Fitted | None) -> Fitted | None:
    """A candidate fitted to the rows; None if it cannot be, and there is another."""
    try:
        return candidate.fit(task, best)
    except (ValueError, torch.linalg.LinAlgError):
        if best is None:
            raise
        return None


def _likelier(best: Fitted, tried: Fitted | None, task: Task, scores: dict[str, float]) -> Fitted:
    """The one under which the validation rows are likelier."""
    for each in (best, tried):
        if each is not None and each.name not in scores:
            some = task.rows.val[:JUDGED].to(each.density.device)
            cells = Cells(task.rows.schema)
            value, _ = cells.log_density(each.density, some.x, some.context, samples=4, seed=task.seed)
            scores[each.name] = mean_log_prob(value, some.weights)  # in nats
    if tried is None or scores[tried.name] <= scores[best.name]:
        return best
    task.console.say(f"held-out rows are likelier under {tried.called} than under {best.called}, so it is the model")
    return tried
