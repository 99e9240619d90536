"""What ``auto`` tries beside the flow: it takes the density that held-out rows are likeliest under.

Up to 3,000 rows that is an average of small flows, mixtures and copulas (``few.py``). Of more rows one flow is seldom
behind, and scores and samples faster than several. So it is trained first; mixtures of Gaussians are tried beside it,
and the average where the flow overfits, since then there are too few rows for its size.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from ..diagnostics.averages import mean_and_error
from ..distributions.base import Density
from ..distributions.flow import Flow
from ..distributions.mixed import Mixed
from ..distributions.mixture import GaussianMixture
from ..models.console import Console
from ..models.train import Rows as Encoded
from ..training.few_rows import PRIORS
from ..training.members import Rows
from ..transforms.compose import Compose
from .few import fit_average, says_only_auto
from .options import TableOptions
from .prepare import TableSplits
from .schema.cells import Cells, cell_log_density
from .schema.preprocessing import preprocessing

SIZES = (2, 3, 4, 6, 8, 12, 20)  # components that are tried beside 1, each with PRIORS and from STARTS sets of centres
STARTS = 2
SCREENED, LEARNT = 5000, 200_000  # rows that the mixtures are tried on, and that the best one is fitted to
JUDGED = 5000  # held-out rows that judge
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
    other = _other(flow, rows, options, trained)
    scores = {"flow": _held_out(flow, rows, options.training.seed)}
    if other is not None:
        name, density, facts = other
        scores[name] = _held_out(density, rows, options.training.seed)
        if scores[name] > scores["flow"]:
            averaged = "average" in facts
            what = f"an {name} densities" if averaged else f"a {name} Gaussians"
            console.say(f"held-out rows are likelier under {what} than under the flow, so it is the model")
            options = dataclasses.replace(options, flow="auto" if averaged else "gmm")
            return density, options, {**trained, **facts, "candidates": scores}
    return flow, options, {**trained, "candidates": scores}


def _other(
    flow: Density, rows: TableSplits, options: TableOptions, trained: dict[str, Any]
) -> tuple[str, Density, dict[str, Any]] | None:
    """The density that is tried beside the flow: its name, itself, and what a summary keeps of it."""
    if not rows.schema.numbers:
        return None
    numbers = flow.numbers if isinstance(flow, Mixed) else flow
    width = len(rows.schema.numbers) + numbers.context_features
    overfits = trained["training"]["verdict"]["kind"] == "overfitting"
    try:
        if overfits and len(rows.train) <= AVERAGED and says_only_auto(options):
            density, facts = fit_average(*_half_the_time(rows, options), Console(quiet=True), flow)
            return f"average of {facts['average']['members']}", density, facts
        if width <= WIDEST:
            first, mixture = _best_mixture(flow, rows, options.training.seed)
            density = _whole(flow, rows, first, mixture).to(next(flow.parameters()).device).eval()
            return f"mixture of {len(mixture.logits)}", density, {}
    except (ValueError, torch.linalg.LinAlgError):  # rows that no mixture bears
        pass
    return None


def _half_the_time(rows: TableSplits, options: TableOptions) -> tuple[TableSplits, TableOptions]:
    """The training rows alone, and options with half of the flow's time, if it was set."""
    training, budget = options.training, options.training.budget
    training = dataclasses.replace(training, budget=None if budget is None else budget / 2)
    return dataclasses.replace(rows, val=rows.val[:0]), dataclasses.replace(options, flow="auto", training=training)


@torch.no_grad()
def _best_mixture(flow: Density, rows: TableSplits, seed: int) -> tuple[Compose, GaussianMixture]:
    """The first transforms, and the mixture behind them that validation rows are likeliest under."""
    generator = torch.Generator().manual_seed(seed)
    train, judged = (_spread(flow, part, rows, generator) for part in (rows.train, rows.val[:JUDGED]))
    first = Compose(preprocessing(rows.schema.numeric, train.x))
    train, judged = (Rows(first(part.x)[0], part.context, part.weight) for part in (train, judged))
    features, given = train.x.shape[1], 0 if train.context is None else train.context.shape[1]

    def fitted(size: int, prior: float, start: int) -> GaussianMixture:
        some = slice(SCREENED)
        context = None if train.context is None else train.context[some]
        mixture = GaussianMixture(features, size, context=given)
        x, weight = train.x[some], train.weight[some]
        return mixture.fit(x, context, weight=weight, prior=prior, max_steps=60, tolerance=1e-3, seed=seed + start)

    sizes = [size for size in SIZES if 2 * size * (features + given) < min(SCREENED, len(train.x))]
    tried = [(fitted(1, 0.0, 0), 0.0)]
    tried += [(fitted(k, prior, j), prior) for k in sizes for prior in PRIORS for j in range(STARTS)]
    best, prior = max(tried, key=lambda pair: _mean(pair[0].log_prob(judged.x, judged.context), judged.weight))
    return first, best.fit(train.x, train.context, weight=train.weight, prior=prior, max_steps=60, further=True)


def _spread(flow: Density, some: Encoded, rows: TableSplits, generator: torch.Generator) -> Rows:
    """The numbers of some rows at one point of their cells, with what they are given."""
    schema = rows.schema
    some = some[torch.randperm(len(some), generator=generator)[:LEARNT]]
    x = Cells(schema)(some.x, torch.rand(some.x.shape, generator=generator, dtype=some.x.dtype))
    context = some.context
    if isinstance(flow, Mixed):
        here = flow.names_at.device
        context = flow.divide(x.to(here), None if context is None else context.to(here))[2].cpu()
    weight = torch.ones(len(x)) if some.weights is None else some.weights
    return Rows(x[:, schema.numbers], context, weight)


def _whole(flow: Density, rows: TableSplits, first: Compose, mixture: GaussianMixture) -> Density:
    """The density of the table with a mixture in the place of the flow over its numbers."""
    numbers = Flow(first, mixture, context=mixture.context_features)
    return Mixed(flow.categories, numbers, rows.schema.classes) if isinstance(flow, Mixed) else numbers


def _held_out(density: Density, rows: TableSplits, seed: int) -> float:
    """The mean log-density of validation rows, in nats."""
    some, here = rows.val[:JUDGED], next(density.parameters()).device
    context = None if some.context is None else some.context.to(here)
    value, _ = cell_log_density(density, rows.schema, some.x.to(here), context, samples=4, seed=seed)
    return _mean(value, some.weights)


def _mean(log_prob: Tensor, weight: Tensor | None) -> float:
    return mean_and_error(log_prob.detach().clamp_min(-1e6), weight)[0]  # one impossible row does not decide alone
