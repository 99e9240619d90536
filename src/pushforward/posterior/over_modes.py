"""Flows that start over all modes of a target: no thin bridges to tear, since the base has as many modes."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from ..diagnostics.importance_sampling import Importance, importance
from ..diagnostics.peaks import Height, Peaks
from ..distributions.flow import Flow
from ..distributions.mixture import GaussianMixture
from ..numerics.annealing import BEST, Path, Point
from ..numerics.matrices import with_log_diagonal
from ..numerics.sequential import DEAD, Particles, effective, sequential
from ..objectives.user_target import UserTarget
from ..transforms.base import Transform
from ..transforms.compose import Compose
from ..transforms.marginals import Marginals
from ..transforms.normalization import Standardize, Whiten
from .constrain import Space

PARTICLES = 8192  # of all paths together
FEWEST = 128  # of each path, in any case
KEPT = 0.8  # effective sample size after a step of a path, as a share of that before
STEPS = 60  # of a path
MOVES, LAST = 3, 8  # Hamiltonian steps after each of these, and after the last
PIECES = 4  # Gaussians per part, at most
ENOUGH, MOST = 300, 2**17  # draws for each number of a covariance estimated from them, and the most in total
ROUNDS = 3  # of draws and expectation maximisation
GAUSSIAN = 0.8  # effective share of particles above which a part counts as Gaussian


@torch.no_grad()
def draws_of_modes(
    height: Height, peaks: Peaks, crowded: bool, generator: torch.Generator
) -> tuple[Peaks, Tensor, Tensor]:
    """The result of the paths from the peaks: Gaussians that fit the parts, with their masses; the indices of these
    parts, ``(K,)``; and draws of each part, ``(K, n, features)``. If peaks are too many, as in products of densities
    with two modes each, one wide path covers them all.
    """
    if crowded:
        peaks, particles = _around_all(peaks), 2 * PARTICLES
    else:
        particles = max(FEWEST, PARTICLES // len(peaks))
    draws, log_mass, once = tempered(height, peaks, particles, generator)
    loc, factor = _moments(draws, peaks)
    gaussian = once > max(GAUSSIAN, 1 - 0.5 * loc.shape[1] * (loc.shape[1] + 3) / particles)
    loc = torch.where(gaussian[:, None], peaks.loc, loc)
    factor = torch.where(gaussian[:, None, None], peaks.factor, factor)
    return Peaks(loc, factor, log_mass), gaussian, draws


@torch.no_grad()
def tempered(height: Height, peaks: Peaks, particles: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    r"""Draws of pi around every peak, ``(K, particles, features)``, the logarithm of each part's mass ``(K,)``, and the
    share of particles that would have been effective had the path been a single step, ``(K,)``.

    Peak k has the part :math:`\pi_k(z) = \pi(z)\, r_k(z)`, with :math:`r_k = m_k N_k / \sum_j m_j N_j` the share of its
    Gaussian; the parts sum to pi, and each has one mode if all peaks are known. In the coordinates
    :math:`u = L_k^{-1} (z - \mu_k)` its path runs through :math:`N(u; 0, I)^{1 - \beta}\, \pi_k^\beta`
    (:func:`~pushforward.numerics.sequential.sequential`).
    """
    K, d = peaks.loc.shape
    uniform: dict[str, Any] = {"generator": generator, "dtype": peaks.loc.dtype}
    size = peaks.loc.new_full((K,), 0.5 * d**-0.25)

    def points(u: Tensor) -> Tensor:
        return peaks.loc + (peaks.factor @ u[..., None])[..., 0]

    def log_start(u: Tensor) -> Tensor:
        return -0.5 * u.square().sum(-1) - 0.5 * d * math.log(2 * math.pi)

    def log_end(u: Tensor) -> Tensor:
        z = points(u).flatten(0, 1)
        value = height(z).view(-1, K) + peaks.factor.diagonal(dim1=1, dim2=2).log().sum(-1)
        if K == 1:
            return value
        parts = peaks.log_parts(z).view(K, -1, K)  # (label of the Gaussian, particle, peak)
        return value + (torch.diagonal(parts, dim1=0, dim2=2) - parts.logsumexp(0))

    def gain(point: Particles) -> Tensor:
        _, a, b, *_ = point
        return (b - a).nan_to_num(-math.inf, -math.inf, -math.inf).clamp_min(DEAD)

    def move(point: Particles, beta: Tensor, step: int, last: bool) -> Particles:
        nonlocal size
        for _ in range(LAST if last else MOVES):
            jitter = size * (0.5 + torch.rand(K, **uniform))
            point, chance = path.hamiltonian(Point(*point), (1 - beta, beta), jitter.expand(particles, K))
            size = (size * (chance.mean(0) - BEST["hmc"]).exp()).clamp(1e-4, 2.0)
        return point

    path = Path(log_start, log_end, generator)
    start = path.at(torch.randn(particles, K, d, **uniform))
    once = effective(gain(start)) / particles
    found = sequential(start, gain, move, lambda _: torch.rand(K, **uniform), kept=KEPT, steps=STEPS)
    return points(found.particles[0]).transpose(0, 1), found.log_mass, once


@torch.no_grad()
def split(parts: Peaks, gaussian: Tensor, draws: Tensor) -> tuple[Peaks, Tensor]:
    """The parts, each as the one or few Gaussians that its draws call for, and the part of each Gaussian, ``(K',)``.

    A part is not Gaussian if it is bent, or if modes overlap so far that they share a peak.
    """
    if len(parts) == 1:
        return parts, torch.zeros(1, dtype=torch.long)
    alone = [parts.at(torch.tensor([k])) for k in range(len(parts))]
    pieces = [part if fits else _gaussians(part, rows) for part, fits, rows in zip(alone, gaussian, draws, strict=True)]
    owner = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(piece) for piece in pieces]))
    return functools.reduce(Peaks.together, pieces), owner


def _gaussians(part: Peaks, rows: Tensor) -> Peaks:
    """A part as one Gaussian, or as several if the Bayesian information criterion favours them."""
    n, d = rows.shape
    best, found = -math.inf, part
    for number in range(1, 1 + PIECES):
        parameters = number * (1 + d + d * (d + 1) / 2)
        if number > 1 and parameters * math.log(n) > n:
            break
        mixture = GaussianMixture(d, number).to(rows).fit(rows, prior=1.0)
        score = float(mixture.log_prob(rows).sum()) - 0.5 * parameters * math.log(n)
        if score <= best:
            break
        best, found = score, part if number == 1 else _peaks(mixture, part.log_mass)
    return found


@torch.no_grad()
def refined(height: Height, pieces: Peaks, generator: torch.Generator) -> Peaks:
    """The pieces after expectation maximisation on their own draws, weighted towards the target: independent draws,
    as many as the parameters need. Pieces with too many parameters or too uneven weights are left as they are."""
    K, d = pieces.loc.shape
    number = int(ENOUGH * K * d * (d + 1) / 2)
    if number > MOST or K == 1:
        return pieces
    mixture = GaussianMixture(d, K).to(pieces.loc)
    _set(mixture, pieces)
    for _ in range(ROUNDS):
        z = mixture.sample((number,), generator=generator)
        log_p = torch.cat([height(part) for part in z.split(PARTICLES)])  # batches no larger than elsewhere
        log_w = (log_p - mixture.log_prob(z)).nan_to_num(-math.inf, -math.inf, -math.inf)
        if not effective(log_w) > 0.5 * number:  # also true of NaN
            break
        log_mass = log_w.logsumexp(0) - math.log(number)
        mixture.fit(z, weight=log_w.softmax(0) * number, prior=0.01, max_steps=20, further=True)
        pieces = _peaks(mixture, log_mass)
    return pieces


def _peaks(mixture: GaussianMixture, log_mass: Tensor) -> Peaks:
    """The components of a mixture, with the given masses."""
    factor = torch.linalg.cholesky(mixture.covariances())
    return Peaks(mixture.loc.clone(), factor, mixture.logits.log_softmax(0) + log_mass)


def _set(mixture: GaussianMixture, parts: Peaks) -> None:
    """Sets the components of a mixture to the parts."""
    mixture.logits.copy_(parts.log_mass - parts.log_mass.logsumexp(0))
    mixture.loc.copy_(parts.loc)
    identity = torch.eye(parts.loc.shape[1]).to(parts.factor)
    A = torch.linalg.solve_triangular(parts.factor, identity.expand_as(parts.factor), upper=False)
    mixture.factors.copy_(with_log_diagonal(A.tril()))


def _around_all(peaks: Peaks) -> Peaks:
    """One Gaussian with independent features, over all peaks."""
    loc = peaks.loc.mean(0, keepdim=True)
    variance = peaks.loc.var(0, correction=0) + peaks.factor.square().sum(-1).mean(0)
    return Peaks(loc, variance.sqrt().diag()[None], peaks.log_mass.logsumexp(0)[None])


def _moments(draws: Tensor, peaks: Peaks) -> tuple[Tensor, Tensor]:
    """Mean and Cholesky factor of every part's draws, the covariance shrunk towards that of its peak."""
    n, d = draws.shape[1:]
    loc = draws.mean(1)
    away = draws - loc[:, None]
    prior = 4.0 * d
    own = peaks.factor @ peaks.factor.mT
    return loc, torch.linalg.cholesky((away.mT @ away + prior * own) / (n + prior))


@torch.no_grad()
def flow_over_modes(flow: Flow, parts: Peaks, draws: Tensor, space: Space) -> Flow:
    r"""An untrained flow of a recipe, close to affine, started over the parts that were found and their draws
    ``(K, n, features)``.

    - Several parts: the base is the mixture :math:`\sum_k m_k N(\mu_k, \Sigma_k)`, mapped through the flow in its
      present state, and all parts share the flow's transform: a mixture of flows with one transform for all.
    - One path over too many modes: the base stays normal, behind a monotone map of every feature, fitted to the draws.
    """
    inner, rows = flow.transform.flattened(), draws.flatten(0, 1)
    event = space.outer.inverse(rows[0])[0].shape
    if len(parts) == 1:
        wide = Standardize(rows.mean(0), rows.std(0))
        marginals = Marginals(rows.shape[1]).to(rows)
        marginals.initialize(wide(rows)[0])
        return Flow(space.to(wide, marginals, *inner), flow.base, event_shape=event).to(rows)
    share = parts.log_mass.softmax(0)
    loc = share @ parts.loc
    away = parts.loc - loc
    covariance = torch.einsum("k,kij->ij", share, parts.factor @ parts.factor.mT + away[..., None] * away[:, None])
    whiten = Whiten(loc, torch.linalg.cholesky(covariance))
    flow = Flow(space.to(whiten, *inner), flow.base, event_shape=event).to(rows)
    start = Compose([whiten, *inner]).to(rows)
    flow.base = _carried(parts, start)
    return flow


def _carried(parts: Peaks, transform: Transform) -> GaussianMixture:
    """The mixture of the parts as mapped by a transform that is close to affine."""
    K, d = parts.loc.shape
    steps = parts.loc[:, None] + parts.factor.mT  # mu_k + each column of L_k
    loc = transform(parts.loc)[0]
    columns = (transform(steps.flatten(0, 1))[0].view(K, d, d) - loc[:, None]).mT
    L = torch.linalg.cholesky(columns @ columns.mT)
    mixture = GaussianMixture(d, K).to(loc)
    _set(mixture, Peaks(loc, L, parts.log_mass))
    return mixture.requires_grad_(False)  # gradients through draws do not reach it


def weighed(flow: Flow, target: UserTarget, n: int, generator: torch.Generator) -> Importance:
    """n draws of a flow, in whatever space it lives, and their importance weights, without a search."""
    own = torch.Generator(flow.device)
    own.manual_seed(int(torch.randint(2**31, (), generator=generator)))
    return importance(flow, target, n, starts=0, generator=own)


@torch.no_grad()
def reweigh(flow: Flow, target: UserTarget, n: int, generator: torch.Generator) -> float:
    r"""Sets the share of each part of a flow's base to the one its importance weights imply:
    :math:`m_k \leftarrow m_k \sum_i w_i\, r_k(z_i) / \sum_i r_k(z_i)`. Returns the effective share of draws under the
    weights before this change."""
    found = weighed(flow, target, n, generator)
    if isinstance(flow.base, GaussianMixture) and math.isfinite(found.log_z):
        z = flow.transform(found.draws)[0]
        shares = flow.base.joint(z).log_softmax(-1)
        gain = (shares + found.log_weights[:, None].log_softmax(0)).logsumexp(0) - shares.logsumexp(0)
        logits = flow.base.logits.log_softmax(0)
        flow.base.logits.copy_(torch.where(gain.isfinite(), logits + gain, logits).log_softmax(0).clamp_min(-30.0))
    return found.ess / n
