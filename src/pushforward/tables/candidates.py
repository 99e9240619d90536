"""The alternatives to the flow that ``auto`` tries: it keeps the density with the highest held-out likelihood.

Up to 3,000 rows this is an average of small flows, mixtures and copulas (``few.py``). With more rows, a single flow is
seldom worse, and it scores and samples faster than several. So the flow is trained first; mixtures of Gaussians are
tried as an alternative, and so is the average if the flow overfits, since there are then too few rows for its size.
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

WIDEST = 60  # features plus indicators, for mixtures that are tried alone
AVERAGED = 10_000  # training rows up to which an average is tried


def chooses_by_held_out(options: TableOptions, rows: TableSplits) -> bool:
    """Whether alternatives are tried: if the user specified nothing about the flow, and its rows are in memory."""
    silent = options.flow == options.members == "auto" and options.layers is None and options.hidden is None
    return silent and options.objective == "likelihood" and rows.stream is None and not rows.schema.circles


def likeliest(
    flow: Density, rows: TableSplits, options: TableOptions, trained: dict[str, Any], console: Console
) -> tuple[Density, TableOptions, dict[str, Any]]:
    """The density with the highest held-out likelihood, its options, and the training facts for the summary.

    Args:
        flow: The trained density of the table.
        rows: The rows, and the schema.
        options: The user's choices.
        trained: The summary's facts on the flow's training.
        console: Where to print messages.
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
                with suppress(ValueError, torch.linalg.LinAlgError):  # if the refit fails, keep it as it was
                    density = _whole(flow, rows, with_held_out(other.mixture, flow, rows, seed))
            return density, options, {**trained, **other.facts, "candidates": scores}
    return flow, options, {**trained, "candidates": scores}


class _Candidate(NamedTuple):
    """An alternative to the flow: its name, its density, its facts for the summary, and its mixture if it is one."""

    name: str
    density: Density
    facts: dict[str, Any]
    mixture: Trial | None = None


def _other(flow: Density, rows: TableSplits, options: TableOptions, trained: dict[str, Any]) -> _Candidate | None:
    """The density to try as an alternative to the flow, if any suits the rows."""
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
    except (ValueError, torch.linalg.LinAlgError):  # no mixture can be fitted to these rows
        pass
    return None


def _half_the_time(rows: TableSplits, options: TableOptions) -> tuple[TableSplits, TableOptions]:
    """The training rows alone, and options with half of the flow's time budget, if one was set."""
    training, budget = options.training, options.training.budget
    training = dataclasses.replace(training, budget=None if budget is None else budget / 2)
    return dataclasses.replace(rows, val=rows.val[:0]), dataclasses.replace(options, flow="auto", training=training)


def _whole(flow: Density, rows: TableSplits, numbers: Flow) -> Density:
    """The density of the table with the flow over its numbers replaced by another one."""
    density = Mixed(flow.categories, numbers, rows.schema.classes) if isinstance(flow, Mixed) else numbers
    return density.to(next(flow.parameters()).device).eval()


def _held_out(density: Density, rows: TableSplits, seed: int) -> float:
    """The mean log-density of validation rows, in nats."""
    some, here = rows.val[:JUDGED], next(density.parameters()).device
    context = None if some.context is None else some.context.to(here)
    value, _ = cell_log_density(density, rows.schema, some.x.to(here), context, samples=4, seed=seed)
    return mean_log_prob(value, some.weights)
