"""A density from few rows: Gaussians, mixtures and flows, each evaluated on rows that it did not see, and averaged.

The rows are divided into as many folds as there are members. Every kind of density is fitted to all folds but one and
evaluated on that one, so that each row has a log-density of each kind from a fit without it; the result's weights are
those that maximise the likelihood of these in an average (stacking). Gaussians and mixtures are then fitted once more,
to all rows; the flows were each trained on nearly all rows, and all are kept.

A flow starts from a smooth map of every column to a standard normal and a Gaussian's correlations, a Gaussian copula:
its layers start as the identity, learn the remainder, and stop where the rows that they did not see no longer improve.
So it is never worse than its starting point by more than the noise of that evaluation.

Reference:
    Smyth, Wolpert (1999), Linearly combining density estimators via stacking.
    Nelsen (2006), An Introduction to Copulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diagnostics.averages import mean_and_error
from ..distributions.average import Average
from ..distributions.base import Density
from ..distributions.flow import Flow
from ..distributions.mixture import GaussianMixture
from ..numerics.kernel import smoothing
from ..transforms.compose import Compose
from ..transforms.marginals import Marginals
from ..transforms.normalization import Whiten
from .members import Plan, Points, folds, train_members

SIZES = (1, 3, 8, 20, 40)  # components of the mixtures to try, if there are ROWS_EACH times as many rows
ROWS_EACH = 8
WIDE = 4  # rows per column below which one Gaussian may be shrunk to the columns' own variances by as many pseudo-rows
WORK = 2e8  # upper limit on components times cubed columns, the cost of an EM step
PRIORS = (1.0, 0.1)  # pseudo-rows that shrink a component's covariance to the columns' own variances
LEAST = 0.02  # smallest weight of a kind that is kept

Fit = Callable[[Points, Compose, int], Density]


@dataclass(frozen=True)
class Judged:
    """The result of :func:`fit_few_rows`.

    Attributes:
        density: The average.
        weights: The weight of every kind that was tried.
        log_likelihood: For every kind alone, and for the average: mean over rows that the fits did not see, in nats.
        best_steps: Number of steps for which each flow was trained.
        held_out: Every kind's log-density of every row, ``(n,)``, from fits that did not see it.
    """

    density: Average
    weights: dict[str, float]
    log_likelihood: dict[str, float]
    best_steps: list[int]
    held_out: dict[str, Tensor]


def fit_few_rows(
    x: Tensor,
    context: Tensor | None = None,
    *,
    flow: Callable[[int], Flow] | None = None,
    members: int = 5,
    mixtures: Sequence[int] = SIZES,
    copulas: Sequence[int] = SIZES,
    weight: Tensor | None = None,
    plan: Plan | None = None,
    judged_copies: int = 4,
    weigh: Callable[[Mapping[str, Tensor]], Tensor] | None = None,
    seed: int = 0,
) -> Judged:
    """Fits Gaussians, mixtures and flows, and averages them by how well they do on rows that they did not see.

    Args:
        x: Rows of about mean 0 and variance 1, ``(n, features)``, or ``(copies, n, features)``: the same rows at
            several points of their cells.
        context: Their contexts, ``(n, context features)``.
        flow: Makes an untrained flow from a seed; if None, there are no flows.
        members: Number of folds of the rows, and of flows that are trained, at least 2.
        mixtures: Numbers of components of the mixtures of the rows that may get weight, in increasing order. Each uses
            the better of two priors, and none is tried after one that is worse than a smaller one.
        copulas: The same after a map of each column.
        weight: The weight of each row, ``(n,)``.
        plan: How flows are trained.
        judged_copies: Number of copies over which a row's density is averaged in the evaluation.
        weigh: Computes the kinds' weights from their log-densities of rows that their fits did not see; :func:`stacked`
            by default. If given, nothing is left out, and mixtures use the stronger prior.
        seed: Fixes the result.

    Raises:
        ValueError: there are fewer than two rows for each member, or nothing to fit.
    """
    rows = _rows(x, context, weight)
    if members < 2 or len(rows) < 2 * members:
        raise ValueError(f"members={members} must be at least 2 and at most half of the rows, {len(rows)}")
    if flow is None and not mixtures:
        raise ValueError("flow and mixtures are both left out: there is nothing to fit")
    parts = folds(len(rows), members, seed)
    shares = [(rows[_others(parts, k)], rows[part]) for k, part in enumerate(parts)]
    starts = [copula(train.x) for train, _ in shares]

    def judge(members: Sequence[Density]) -> Tensor:
        logs = torch.empty(len(rows), dtype=torch.float64)
        for part, (_, judged), member in zip(parts, shares, members, strict=True):
            logs[part] = _judge(member, judged, judged_copies)
        return logs

    kinds: dict[str, Fit] = {}
    held_out: dict[str, Tensor] = {}
    for ladder in _mixtures(rows, mixtures, copulas if mixtures else (), PRIORS[:1] if weigh else PRIORS):
        best = -math.inf
        for name, fits in ladder.items():
            fit, first = _better(fits, *shares[0], starts[0], seed)
            others = [fit(train, start, seed) for (train, _), start in zip(shares[1:], starts[1:], strict=True)]
            kinds[name], held_out[name] = fit, judge([first, *others])
            now = mean_and_error(held_out[name], rows.weight)[0]
            if now < best and weigh is None:  # larger ones are even worse
                break
            best = now
    flows: list[Density] = []
    steps: list[int] = []
    if flow is not None:
        flows, steps = _flows(flow, shares, starts, plan or Plan(), seed)
        held_out["flow"] = judge(flows)
    weights = weigh(held_out) if weigh else stacked(torch.stack(list(held_out.values())), rows.weight)
    shared = dict(zip(held_out, weights.tolist(), strict=True))
    start = copula(rows.x)
    pairs = [(fit(rows, start, seed), shared[name]) for name, fit in kinds.items() if shared[name] > 0]
    pairs += [(member, shared["flow"] / members) for member in flows if shared["flow"] > 0]
    together = (torch.stack(list(held_out.values())) + weights.log()[:, None]).logsumexp(0)
    scores = {
        name: mean_and_error(values, rows.weight)[0] for name, values in [*held_out.items(), ("average", together)]
    }
    density = Average([member for member, _ in pairs], [w for _, w in pairs])
    return Judged(density, shared, scores, steps, held_out)


def copula(x: Tensor) -> Compose:
    """The starting point of a flow: maps every column to a standard normal, then removes the correlations.

    The correlations are shrunk slightly towards 0, the more so the fewer rows there are per column.

    Args:
        x: Rows ``(copies, n, features)``.
    """
    rows, features = x.shape[-2:]
    marginals = Marginals(features).to(x)
    z = marginals.initialize(x).reshape(-1, features).double()
    covariance = torch.cov(z.T, correction=0).reshape(features, features)
    diagonal, share = covariance.diagonal().diag(), features / (rows + features)
    factor = torch.linalg.cholesky((1 - share) * covariance + share * diagonal + 1e-6 * torch.eye(features).to(z))
    return Compose([marginals, Whiten(z.mean(0).to(x), factor.to(x))])


def stacked(log_prob: Tensor, weight: Tensor | None = None, prior: float = 1.0) -> Tensor:
    """Weights of an average that maximise the likelihood of held-out rows, by expectation maximisation.

    Args:
        log_prob: For every kind of density and row, ``(kinds, n)``, from fits that did not see the row.
        weight: The weight of each row.
        prior: Pseudo-rows given to every kind at the start. Kinds that end up below ``LEAST`` get 0.

    Returns:
        ``(kinds,)``, summing to 1.
    """
    count = torch.ones(log_prob.shape[1]) if weight is None else weight
    shares = torch.full((len(log_prob),), 1 / len(log_prob), dtype=log_prob.dtype)
    for _ in range(200):
        belongs = (log_prob + shares.log()[:, None]).softmax(0)
        counts = (belongs * count.to(log_prob)).sum(1) + prior
        shares = counts / counts.sum()
    shares = torch.where(shares < min(LEAST, float(shares.max())), 0.0, shares)
    return shares / shares.sum()


def _mixtures(
    rows: Points, plain: Sequence[int], behind: Sequence[int], priors: Sequence[float]
) -> list[dict[str, list[Fit]]]:
    """Mixtures of the rows themselves and of those after a copula, the smaller ones first; each with every prior."""
    columns = rows.x.shape[-1] + (0 if rows.context is None else rows.context.shape[-1])

    def of_rows(size: int, prior: float) -> Fit:
        return lambda train, start, seed: _mixture(train, size, prior, seed)

    def of_copula(size: int, prior: float) -> Fit:
        return lambda train, start, seed: _behind(start, train, size, prior, seed)

    def fits(size: int) -> bool:
        """Whether there are enough rows and time for this many components."""
        return columns < len(rows) >= size * ROWS_EACH and size * columns**3 <= WORK

    def ladder(name: str, fit: Callable[[int, float], Fit], sizes: Sequence[int]) -> dict[str, list[Fit]]:
        alone = (0.0, float(columns)) if len(rows) < WIDE * columns else (0.0,)
        return {
            f"{name} of {k}": [fit(k, prior) for prior in (priors if k > 1 else alone)]
            for k in sizes
            if k == 1 or fits(k)
        }

    return [ladder("mixture", of_rows, plain), ladder("copula", of_copula, behind)]


def _better(fits: Sequence[Fit], train: Points, judged: Points, start: Compose, seed: int) -> tuple[Fit, Density]:
    """Of fits that differ in their prior, the one with the highest held-out likelihood, on one fold alone; and its
    density."""
    tried = [fit(train, start, seed) for fit in fits]
    if len(fits) == 1:
        return fits[0], tried[0]
    means = [mean_and_error(_judge(density, judged, 1), judged.weight)[0] for density in tried]
    best = means.index(max(means))
    return fits[best], tried[best]


def _mixture(rows: Points, size: int, prior: float, seed: int) -> GaussianMixture:
    features, given = rows.x.shape[-1], 0 if rows.context is None else rows.context.shape[-1]
    x = rows.x[: smoothing(len(rows))]
    context = None if rows.context is None else rows.context.repeat(len(x), 1)
    mixture = GaussianMixture(features, size, context=given).to(x)
    return mixture.fit(
        x.flatten(0, 1),
        context,
        weight=rows.weight.repeat(len(x)),
        prior=prior * len(x),
        max_steps=60,
        tolerance=1e-3,
        seed=seed,
    )


def _behind(start: Compose, rows: Points, size: int, prior: float, seed: int) -> Flow:
    with torch.no_grad():
        z, _ = start(rows.x)
    mixture = _mixture(Points(z, rows.context, rows.weight), size, prior, seed)
    return Flow(start, mixture, context=mixture.context_features)


def _flows(
    make: Callable[[int], Flow],
    shares: Sequence[tuple[Points, Points]],
    starts: Sequence[Compose],
    plan: Plan,
    seed: int,
) -> tuple[list[Density], list[int]]:
    """Flows whose layers were trained on top of their starting points, and their best steps."""

    def moved(rows: Points, start: Compose) -> Points:
        with torch.no_grad():
            return Points(start(rows.x)[0], rows.context, rows.weight)

    train = [moved(rows, start) for (rows, _), start in zip(shares, starts, strict=True)]
    judged = [moved(rows, start) for (_, rows), start in zip(shares, starts, strict=True)]
    trained, steps = train_members(make, train, judged, plan, seed)
    flows: list[Density] = []
    for start, inner in zip(starts, trained, strict=True):
        assert isinstance(inner, Flow)
        flows.append(Flow(Compose([start, inner.transform]), inner.base, context=inner.context_features).eval())
    return flows, steps


@torch.no_grad()
def _judge(density: Density, rows: Points, copies: int) -> Tensor:
    """The log-density of every row, averaged over some points of its cell."""
    logs = [density.log_prob(x, rows.context).double() for x in rows.x[:copies]]
    return torch.stack(logs).logsumexp(0).clamp_min(-1e6) - math.log(len(logs))


def _rows(x: Tensor, context: Tensor | None, weight: Tensor | None) -> Points:
    x = x[None] if x.dim() == 2 else x
    return Points(x, context, torch.ones(x.shape[1]).to(x) if weight is None else torch.as_tensor(weight).to(x))


def _others(parts: Sequence[Tensor], k: int) -> Tensor:
    return torch.cat([part for place, part in enumerate(parts) if place != k]).sort().values
