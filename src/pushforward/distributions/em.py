r"""Expectation maximisation for mixtures of Gaussians, on their sufficient statistics.

With :math:`t(y) = (1, y, y y^\top)`, the log-density of a row under a component is linear in t,

.. math:: \log w_k + \log N(y;\, \mu_k, P_k^{-1}) = c_k + h_k^\top y - \tfrac12 \langle P_k, y y^\top \rangle,
          \qquad h_k = P_k \mu_k,

so that a step is two matrix products: t(y) with the parameters gives the responsibility of each component for each row,
and these with t(y) give the counts, sums and products that determine the new parameters. For independent features,
squares replace :math:`y y^\top`.

Reference:
    Dempster, Laird, Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..numerics.logs import NEGLIGIBLE
from ..numerics.matrices import with_log_diagonal

if TYPE_CHECKING:
    from .mixture import GaussianMixture

FLOOR = 1e-6  # of a component's variances, relative to those of the rows
PART, CACHED, KEPT = 4096, 2**19, 2**24  # rows whose products are formed at once; their numbers; those that are kept

Pairs = tuple[Tensor, Tensor]  # indices i and j of the features whose products are needed


def maximise(
    mixture: GaussianMixture,
    y: Tensor,
    weight: Tensor,
    *,
    prior: float,
    tolerance: float,
    max_steps: int,
    shares: Tensor,
) -> None:
    """Runs EM in place, until a step gains less than ``tolerance``.

    Args:
        mixture: The mixture, in float64.
        y: Standardised rows, ``(n, m)``, float64: products of large or small values would lose digits.
        weight: Weight of each row, ``(n,)``.
        prior: Strength, in rows, of the pull of a covariance to that of all rows, shrunk to a component's share.
        tolerance: In nats per row.
        max_steps: Maximal number of steps.
        shares: The initial responsibility of each component for each row, ``(n, components)``.
    """
    pairs, before = _pairs(mixture), -math.inf
    if len(mixture.logits) == 1:  # all rows belong to it in every step
        _set_parameters(mixture, _sums(y, weight, pairs), prior, pairs)
        return
    statistics = _Statistics(y, pairs)
    parts = zip(statistics, (shares * weight[:, None]).split(statistics.size), strict=True)
    sums = sum((t @ s).T for t, s in parts)
    for _ in range(max_steps):
        _set_parameters(mixture, sums, prior, pairs)
        total, sums = _expect(mixture, statistics, weight, pairs)
        now = total / float(weight.sum())
        if abs(now - before) < tolerance:
            break
        before = now


def spread_centres(y: Tensor, weight: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Rows that are far apart: greedy k-means++ (Arthur, Vassilvitskii 2007) and ten rounds of Lloyd's algorithm."""
    tries = 2 + int(math.log(number))
    near, chance = torch.full_like(weight, math.inf), weight
    centres = y.new_zeros(0, y.shape[1])
    for _ in range(number):
        chance = chance if bool(chance.sum() > 0) else weight
        rows = torch.multinomial(chance.cpu(), tries, replacement=True, generator=generator).to(y.device)
        nearer = torch.minimum(near, torch.cdist(y[rows], y).square())  # (tries, n)
        best = int((nearer * weight).sum(-1).argmin())
        centres, near = torch.cat([centres, y[rows[best], None]]), nearer[best]
        chance = weight * near
    for _ in range(10):
        shares = nearest(y, centres) * weight[:, None]
        counts = shares.sum(0)[:, None]
        centres = torch.where(counts > 0, shares.T @ y / counts.clamp_min(1e-300), centres)
    return centres


def nearest(y: Tensor, centres: Tensor) -> Tensor:
    """1 for the centre nearest to each row and 0 for the others, ``(n, centres)``."""
    return torch.nn.functional.one_hot(torch.cdist(y, centres).argmin(-1), len(centres)).to(y)


def precision_factors(covariances: Tensor) -> Tensor:
    """A of covariances :math:`(A^T A)^{-1}`, ``(*batch, m, m)``, with its diagonal's logarithm, as mixtures store it.

    Only the lower triangles of the covariances are read.
    """
    L = torch.linalg.cholesky(covariances)
    return with_log_diagonal(torch.linalg.solve_triangular(L, torch.eye(L.shape[-1]).to(L), upper=False).tril())


def _pairs(mixture: GaussianMixture) -> Pairs:
    """The pairs of features whose products are needed: the upper triangle, or its diagonal."""
    m, here = mixture.loc.shape[1], mixture.loc.device
    if not mixture.independent:
        i, j = torch.triu_indices(m, m, device=here)
        return i, j
    return (torch.arange(m, device=here),) * 2


class _Statistics:
    """t(y) for a part of the rows at a time, ``(1 + m + pairs, n)``; kept for the next step if they are few numbers."""

    def __init__(self, y: Tensor, pairs: Pairs) -> None:
        self.numbers = 1 + y.shape[1] + len(pairs[0])
        self.size = max(min(PART, CACHED // self.numbers), 1)
        self.parts, self.followers = y.split(self.size), pairs[0].bincount().tolist()
        self.kept = [*map(self.of, self.parts)] if len(y) * self.numbers <= KEPT else None

    def of(self, part: Tensor) -> Tensor:
        y, t = part.T.contiguous(), part.new_empty(self.numbers, len(part))
        t[0], t[1 : 1 + len(y)] = 1, y
        at = 1 + len(y)
        for k, number in enumerate(self.followers):  # of features from k on, by which it is multiplied
            torch.mul(y[k], y[k : k + number], out=t[at : at + number])
            at += number
        return t

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.kept) if self.kept is not None else map(self.of, self.parts)


def _sums(y: Tensor, weight: Tensor, pairs: Pairs) -> Tensor:
    """The weighted sum of t(y), ``(1, t)``, without forming t(y), which would take much memory."""
    counted = weight[:, None] * y
    products = (counted.T @ y)[pairs] if len(pairs[0]) > y.shape[1] else (counted * y).sum(0)
    return torch.cat([weight.sum()[None], counted.sum(0), products])[None]


def _expect(mixture: GaussianMixture, statistics: _Statistics, weight: Tensor, pairs: Pairs) -> tuple[float, Tensor]:
    """The log-likelihood of all rows, and each component's weighted sums of t(y), ``(components, t)``."""
    parameters = _natural(mixture, pairs)
    total, sums = 0.0, torch.zeros_like(parameters)
    for t, w in zip(statistics, weight.split(statistics.size), strict=True):
        joint = parameters @ t
        most = joint.amax(0)
        shares = joint.sub_(most).clamp_min_(-NEGLIGIBLE).exp_()  # in place: the exponentials dominate the cost
        density = shares.sum(0)
        total += float(((most + density.log()) * w).sum())
        sums += (shares * (w / density)) @ t.T
    return total, sums


def _natural(mixture: GaussianMixture, pairs: Pairs) -> Tensor:
    """The coefficients of t(y), ``(components, t)``."""
    A, loc = mixture.precision_factors(), mixture.loc
    P, z = A.mT @ A, (A @ loc[..., None])[..., 0]
    h = (A.mT @ z[..., None])[..., 0]
    log_det = mixture.scale_logs().sum(-1) - 0.5 * loc.shape[1] * math.log(2 * math.pi)
    c = mixture.logits.log_softmax(0) + log_det - 0.5 * z.square().sum(-1)
    i, j = pairs
    twice = torch.where(i == j, 0.5, 1.0)  # off-diagonal pairs count twice
    return torch.cat([c[:, None], h, -twice * P[:, i, j]], 1)


def _set_parameters(mixture: GaussianMixture, sums: Tensor, prior: float, pairs: Pairs) -> None:
    """The M step: weights, centres and covariances of each component from its rows."""
    m, (i, j) = mixture.loc.shape[1], pairs
    counts, firsts, products = sums[:, 0].clamp_min(1e-8), sums[:, 1 : 1 + m], sums[:, 1 + m :]
    loc, rest = firsts / counts[:, None], prior * len(sums) ** (-2 / m)
    spread = products - counts[:, None] * loc[:, i] * loc[:, j]
    scatter, rows = spread + rest * (i == j), (counts + prior)[:, None]
    if mixture.covariance == "tied":
        scatter, rows = scatter.sum(0, keepdim=True), rows.sum(0, keepdim=True)
    elif mixture.covariance == "spherical":
        scatter = scatter.mean(1, keepdim=True)
    covariance = scatter / rows + FLOOR * (i == j)[: scatter.shape[1]]
    mixture.logits.copy_((counts / counts.sum()).log())
    mixture.loc.copy_(loc)
    if mixture.independent:
        mixture.factors.copy_(-0.5 * covariance.log())
        return
    lower = sums.new_zeros(len(covariance), m, m)
    lower[:, j, i] = covariance  # the Cholesky factorisation reads only this triangle
    mixture.factors.copy_(precision_factors(lower))
