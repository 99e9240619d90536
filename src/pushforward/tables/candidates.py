"""What ``auto`` tries beside the flow: it takes the density that held-out rows are likeliest under.

Up to 3,000 rows that is an average of small flows, mixtures and copulas (``few.py``). Of more rows one flow is seldom
behind, and scores and samples faster than several. So it is trained first; mixtures of Gaussians are tried beside it,
and the average where the flow overfits, since then there are too few rows for its size.
"""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import Any, NamedTuple

import torch

from ..distributions.base import Density
from ..distributions.flow import Flow
from ..distributions.mixed import Mixed
from ..models.console import Console
from .few import fit_average, says_only_auto
from .mixtures import JUDGED, Trial, best_mixture, mean_log_prob, with_held_out
from .options import TableOptions
from .prepare import TableSplits
from .schema.cells import cell_log_density

WIDEST = 60  # features and indicators together of mixtures that are tried alone
AVERAGED = 10_000  # training rows up to which an average is tried


def chooses_by_held_out(options: TableOptions, rows: TableSplits) -> bool:
    """Whether others are tried: where nothing was said of the flow, and its rows are in memory."""
    silent = options.flow == options.members == "auto" and options.layers is None and options.hidden is None
    return silent and options.objective == "likelihood" and rows.stream is None and not rows.schema.circles


def likeliest(
    flow: Density, rows: TableSplits, options: TableOptions, trained: dict[str, Any], console: Console
) -> tuple[Density, TableOptions, dict[str, Any]]:
    """The density that held-out rows are likeliest under, its options, and what a summary keeps of its training.

    Args:
        flow: The trained density of the table.
        rows: The rows, and the schema.
        options: The user's choices.
        trained: What a summary keeps of the flow's training.
        console: Where to talk.
    """
    other, seed = _other(flow, rows, options, trained), options.training.seed
    scores = {"flow": _held_out(flow, rows, seed)}
    if other is not None:
        scores[other.name] = _held_out(other.density, rows, seed)
        if scores[other.name] > scores["flow"]:
            what = f"an {other.name} densities" if other.mixture is None else f"a {other.name} Gaussians"
            console.say(f"held-out rows are likelier under {what} than under the flow, so it is the model")
            options = dataclasses.replace(options, flow="auto" if other.mixture is None else "gmm")
            density = other.density
            if other.mixture is not None:
                with suppress(ValueError, torch.linalg.LinAlgError):  # it stays as it was on rows that it cannot bear
                    density = _whole(flow, rows, with_held_out(other.mixture, flow, rows, seed))
            return density, options, {**trained, **other.facts, "candidates": scores}
    return flow, options, {**trained, "candidates": scores}


class _Candidate(NamedTuple):
    """What is tried beside the flow: a name, the density, what a summary keeps of it, and the mixture that it is."""

    name: str
    density: Density
    facts: dict[str, Any]
    mixture: Trial | None = None


def _other(flow: Density, rows: TableSplits, options: TableOptions, trained: dict[str, Any]) -> _Candidate | None:
    """The density that is tried beside the flow, if any suits the rows."""
    if not rows.schema.numbers:
        return None
    numbers = flow.numbers if isinstance(flow, Mixed) else flow
    width = len(rows.schema.numbers) + numbers.context_features
    overfits = trained["training"]["verdict"]["kind"] == "overfitting"
    try:
        if overfits and len(rows.train) <= AVERAGED and says_only_auto(options):
            density, facts = fit_average(*_half_the_time(rows, options), Console(quiet=True), flow)
            return _Candidate(f"average of {facts['average']['members']}", density, facts)
        if width <= WIDEST:
            trial = best_mixture(flow, rows, options.training.seed)
            return _Candidate(f"mixture of {len(trial.mixture.logits)}", _whole(flow, rows, trial.flow), {}, trial)
    except (ValueError, torch.linalg.LinAlgError):  # rows that no mixture bears
        pass
    return None


def _half_the_time(rows: TableSplits, options: TableOptions) -> tuple[TableSplits, TableOptions]:
    """The training rows alone, and options with half of the flow's time, if it was set."""
    training, budget = options.training, options.training.budget
    training = dataclasses.replace(training, budget=None if budget is None else budget / 2)
    return dataclasses.replace(rows, val=rows.val[:0]), dataclasses.replace(options, flow="auto", training=training)


def _whole(flow: Density, rows: TableSplits, numbers: Flow) -> Density:
    """The density of the table with another one in the place of the flow over its numbers."""
    density = Mixed(flow.categories, numbers, rows.schema.classes) if isinstance(flow, Mixed) else numbers
    return density.to(next(flow.parameters()).device).eval()


def _held_out(density: Density, rows: TableSplits, seed: int) -> float:
    """The mean log-density of validation rows, in nats."""
    some, here = rows.val[:JUDGED], next(density.parameters()).device
    context = None if some.context is None else some.context.to(here)
    value, _ = cell_log_density(density, rows.schema, some.x.to(here), context, samples=4, seed=seed)
    return mean_log_prob(value, some.weights)
