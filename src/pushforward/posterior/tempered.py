"""Draws of a target from the Gaussians of its peaks, in small steps, each peak by itself."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..diagnostics.peaks import Height, Peaks
from ..numerics.annealing import BEST, KERNELS, Point, at
from ..numerics.sequential import DEAD, Particles, effective, sequential

KEPT = 0.8  # effective sample size after a step, as a share of that before
STEPS = 60
MOVES, LAST = 3, 8  # Hamiltonian steps after each step of the ladder, and after the last


@torch.no_grad()
def tempered(
    height: Height, peaks: Peaks, particles: int, generator: torch.Generator, *, kernel: str = "hmc"
) -> tuple[Tensor, Tensor, Tensor]:
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
            point, chance = KERNELS[kernel](
                log_start, log_end, Point(*point), (1 - beta, beta), jitter.expand(particles, K), generator=generator
            )
            size = (size * (chance.mean(0) - BEST[kernel]).exp()).clamp(1e-4, 2.0)
        return point

    start = at(log_start, log_end, torch.randn(particles, K, d, **uniform))
    once = effective(gain(start)) / particles
    path = sequential(start, gain, move, lambda _: torch.rand(K, **uniform), kept=KEPT, steps=STEPS)
    return points(path.particles[0]).transpose(0, 1), path.log_mass, once
