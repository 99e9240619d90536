"""Draws of a target from the Gaussians of its peaks, in small steps: sequential Monte Carlo, each peak by itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..diagnostics.modes import Height
from ..numerics.annealing import BEST, KERNELS, Point, at
from .peaks import Peaks

KEPT = 0.8  # effective sample size after a step, as a share of that before
STEPS = 60
MOVES, LAST = 3, 8  # Hamiltonian steps after each step of the ladder, and after the last


@torch.no_grad()
def tempered(
    height: Height, peaks: Peaks, particles: int, generator: torch.Generator, *, kernel: str = "hmc"
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Draws of pi around every peak, and the mass there.

    Peak k has the part :math:`\pi_k(z) = \pi(z)\, r_k(z)`, with :math:`r_k = m_k N_k / \sum_j m_j N_j` the share of its
    Gaussian; the parts sum to pi, and each has one mode if all peaks are known. In the coordinates
    :math:`u = L_k^{-1} (z - \mu_k)` its path runs through :math:`N(u; 0, I)^{1 - \beta}\, \pi_k^\beta`, in steps that
    keep most particles effective, each followed by resampling and by moves that leave the step's density invariant.

    Args:
        height: log pi~ in free coordinates.
        peaks: Where the paths begin.
        particles: Draws of each path.
        generator: Source of the randomness.
        kernel: ``"hmc"`` or ``"metropolis"``.

    Returns:
        The draws ``(K, particles, features)``, the logarithm of each part's mass ``(K,)``, and the share of particles
        that would have been effective had the path been a single step, ``(K,)``.

    Reference:
        Del Moral, Doucet, Jasra (2006), Sequential Monte Carlo samplers, JRSS B 68.
    """
    K, d = peaks.loc.shape

    def points(u: Tensor) -> Tensor:
        return peaks.loc[:, None] + u @ peaks.factor.mT

    def log_start(u: Tensor) -> Tensor:
        return -0.5 * u.square().sum(-1) - 0.5 * d * math.log(2 * math.pi)

    def log_end(u: Tensor) -> Tensor:
        z = points(u)
        value = height(z.flatten(0, 1)).view(K, -1) + peaks.factor.diagonal(dim1=1, dim2=2).log().sum(-1)[:, None]
        if K == 1:
            return value
        parts = peaks.log_parts(z.flatten(0, 1)).view(K, K, -1)  # (peak, label of the point, particle)
        return value + (torch.diagonal(parts, dim1=0, dim2=1).mT - parts.logsumexp(0))

    u = torch.randn(K, particles, d, generator=generator, dtype=peaks.loc.dtype)
    point = at(log_start, log_end, u)
    beta, log_mass = u.new_zeros(K), u.new_zeros(K)
    size = u.new_full((K,), 0.5 * d**-0.25)
    once = effective(point.b - point.a) / particles
    for step in range(STEPS):
        gain = (point.b - point.a).nan_to_num(-math.inf, -math.inf, -math.inf)
        after = _next(beta, gain) if step < STEPS - 1 else torch.ones_like(beta)
        weight = (after - beta)[:, None] * gain.clamp_min(-1e30)
        log_mass, beta = log_mass + weight.logsumexp(1) - math.log(particles), after
        point = _resampled(point, weight, generator)
        done = bool((beta == 1).all())
        for _ in range(LAST if done else MOVES):
            shares = (1 - beta)[:, None], beta[:, None]
            jitter = size[:, None] * (0.5 + torch.rand(K, 1, generator=generator, dtype=u.dtype))
            point, chance = KERNELS[kernel](log_start, log_end, point, shares, jitter, generator=generator)
            size = (size * (chance.mean(1) - BEST[kernel]).exp()).clamp(1e-4, 2.0)
        if done:
            break
    return points(point.x), log_mass, once


def effective(log_w: Tensor) -> Tensor:
    """Effective sample size of weights, over the last dimension; 0 if all are 0."""
    log_w = log_w.clamp_min(-1e30)
    return (2 * log_w.logsumexp(-1) - (2 * log_w).logsumexp(-1)).exp()


def _next(beta: Tensor, gain: Tensor) -> Tensor:
    """The next beta of every path: as far as a share ``KEPT`` of the particles stays effective, by bisection."""
    least = KEPT * gain.shape[1]
    low, high = beta, torch.ones_like(beta)
    ends = effective((1 - beta)[:, None] * gain.clamp_min(-1e30)) >= least
    for _ in range(20):
        middle = 0.5 * (low + high)
        fine = effective((middle - beta)[:, None] * gain.clamp_min(-1e30)) >= least
        low, high = torch.where(fine, middle, low), torch.where(fine, high, middle)
    return torch.where(ends, 1.0, low.maximum(beta + 1e-5)).clamp(max=1.0)


def _resampled(point: Point, log_w: Tensor, generator: torch.Generator) -> Point:
    """Systematic resampling of every path."""
    K, n = log_w.shape
    cumulative = log_w.softmax(1).cumsum(1)
    places = (torch.arange(n, dtype=log_w.dtype) + torch.rand(K, 1, generator=generator, dtype=log_w.dtype)) / n
    taken = torch.searchsorted(cumulative, places).clamp(max=n - 1)
    rows = torch.arange(K)[:, None]
    return Point(*(tensor[rows, taken] for tensor in point))
