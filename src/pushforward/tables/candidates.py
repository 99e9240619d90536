"""Mixtures of Gaussians beside the flow: ``auto`` takes the one that held-out rows are likeliest under.

Up to 3,000 rows they are members of an average (``few.py``). Of more rows a flow is seldom behind, and one density
scores and samples faster than several, so the best is taken alone.
"""

from __future__ import annotations

import torch

from ..distributions.base import Density
from ..distributions.flow import Flow
from ..distributions.mixed import Mixed
from ..distributions.mixture import GaussianMixture
from ..training.few_rows import fit_mixture
from ..training.members import Rows
from ..transforms.compose import Compose
from .options import TableOptions
from .prepare import TableSplits
from .schema.cells import Cells, cell_log_density
from .schema.preprocessing import preprocessing

SIZES = (1, 5, 20)  # components that are tried
LEARNT = 20_000  # rows that tell the best number of components; the best is then fitted to ten times as many
JUDGED = 5000  # held-out rows that judge
WIDEST = 60  # features and indicators together


def chooses_by_held_out(options: TableOptions, rows: TableSplits) -> bool:
    """Whether mixtures are tried: where nothing was said of the flow, and its rows are in memory."""
    silent = options.flow == options.members == "auto" and options.layers is None and options.hidden is None
    return silent and options.objective == "likelihood" and rows.stream is None and not rows.schema.circles


def judged_against_mixtures(flow: Density, rows: TableSplits, seed: int) -> tuple[Density, str, dict[str, float]]:
    """The likeliest of the trained flow and mixtures of Gaussians, its name, and each one's held-out log-likelihood.

    Args:
        flow: The trained density of the table.
        rows: The rows, and the schema.
        seed: Of the mixtures.
    """
    numbers = flow.numbers if isinstance(flow, Mixed) else flow
    if not rows.schema.numbers or len(rows.schema.numbers) + numbers.context_features > WIDEST:
        return flow, "flow", {}
    here = next(flow.parameters()).device
    candidates: dict[str, Density] = {"flow": flow}
    for size in SIZES:
        mixture = _mixture(flow, rows, size, LEARNT, seed)
        if mixture is not None:
            candidates[f"mixture of {size}"] = mixture.to(here)
    scores = {name: _held_out(density, rows, seed) for name, density in candidates.items()}
    best = max(scores, key=lambda name: scores[name])
    if best != "flow":
        whole = _mixture(flow, rows, int(best.rsplit(" ", 1)[1]), 10 * LEARNT, seed)
        return (candidates[best] if whole is None else whole.to(here)).eval(), best, scores
    return flow, best, scores


def _mixture(flow: Density, rows: TableSplits, size: int, most: int, seed: int) -> Density | None:
    """A mixture in the place of the flow over the numbers; None where the rows do not bear one."""
    schema, generator = rows.schema, torch.Generator().manual_seed(seed)
    some = rows.train[torch.randperm(len(rows.train), generator=generator)[:most]]
    x = Cells(schema)(some.x, torch.rand(some.x.shape, generator=generator, dtype=some.x.dtype))
    first = Compose(preprocessing(schema.numeric, x[:, schema.numbers]))
    mixed = flow if isinstance(flow, Mixed) else None
    context = some.context
    if mixed is not None:
        here = mixed.names_at.device
        context = mixed.divide(x.to(here), None if context is None else context.to(here))[2].cpu()
    with torch.no_grad():
        z = first(x[:, schema.numbers])[0]
    weight = torch.ones(len(z)) if some.weights is None else some.weights
    try:
        inner: GaussianMixture = fit_mixture(Rows(z[None], context, weight.to(z)), size, seed)
    except (ValueError, torch.linalg.LinAlgError):
        return None
    numbers = Flow(first, inner, context=inner.context_features)
    return numbers if mixed is None else Mixed(mixed.categories, numbers, schema.classes)


def _held_out(density: Density, rows: TableSplits, seed: int) -> float:
    """The mean log-density of validation rows, in nats."""
    some, here = rows.val[:JUDGED], next(density.parameters()).device
    context = None if some.context is None else some.context.to(here)
    value, _ = cell_log_density(density, rows.schema, some.x.to(here), context, samples=4, seed=seed)
    weight = torch.ones(len(value)) if some.weights is None else some.weights
    return float((value.clamp_min(-1e6) * weight).sum() / weight.sum())
