"""Sequential Monte Carlo: weighted particles, resampled and moved along a path of densities in small steps.

Particles are the first dimension and independent paths the second: log-weights are ``(K, n)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

DEAD = -1e30  # in place of -inf, which must not be multiplied by 0
BISECTIONS = 20
LEAST = 1e-5  # minimal step of beta

Particles = tuple[Tensor, ...]  # each ``(K, n, ...)``


class Path(NamedTuple):
    """The end of a path."""

    particles: Particles  # equally weighted draws of the last density
    log_mass: Tensor  # the logarithm of the ratio of normalising constants, ``(n,)``
    # that of ``log_mass`` as the steps see it, ``(n,)``: without the correlation of particles that have an ancestor
    # in common
    variance: Tensor


@torch.no_grad()
def sequential(
    particles: Particles,
    gain: Callable[[Particles], Tensor],
    move: Callable[[Particles, Tensor, int, bool], Particles],
    lots: Callable[[int], Tensor],
    *,
    kept: float,
    steps: int,
) -> Path:
    r"""Particles along the path of densities :math:`\propto q(z)\, w(z)^\beta`, from beta = 0 to 1.

    Each step goes as far as a share ``kept`` of the particles stays effective, resamples them, and moves them by
    kernels that leave the step's density invariant; every path has its own steps.

    Args:
        particles: Draws of q.
        gain: log w of particles, ``(K, n)``.
        move: Moves particles, given beta ``(n,)``, the number of the step, and whether it is the last.
        lots: Uniform numbers for the resampling of a step, ``(n,)``.
        kept: Effective share of the particles after a step.
        steps: Maximal number of steps; the last one goes all the way.

    Reference:
        Del Moral, Doucet, Jasra (2006), Sequential Monte Carlo samplers, JRSS B 68.
    """
    log_w = gain(particles)
    count, (beta, log_mass, variance) = len(log_w), (torch.zeros_like(log_w[0]) for _ in range(3))
    for step in range(steps):
        after = next_power(log_w, kept * count, beta) if step < steps - 1 else torch.ones_like(beta)
        weight, beta = (after - beta) * log_w, after
        log_mass = log_mass + weight.logsumexp(0) - math.log(count)
        variance = variance + (count / effective(weight).clamp_min(1) - 1) / (count - 1)
        taken, last = resampled(weight, lots(step), count), bool((beta == 1).all())
        particles = move(tuple(picked(part, taken) for part in particles), beta, step, last)
        if last:
            break
        log_w = gain(particles)
    return Path(particles, log_mass, variance)


def effective(log_w: Tensor) -> Tensor:
    """(sum w)² / sum w² of log-weights ``(K, *batch)``, of the batch's shape; 0 where all weights are 0."""
    return (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp().nan_to_num(nan=0.0)


def next_power(log_w: Tensor, least: float, beta: Tensor | None = None) -> Tensor:
    """The largest power beta' of at most 1, ``(n,)``, for which ``least`` particles are effective with weights
    :math:`w^{\\beta' - \\beta}`, by bisection; a little above beta in any case."""
    beta = torch.zeros_like(log_w[0]) if beta is None else beta
    whole = effective((1 - beta) * log_w) >= least
    if bool(whole.all()):
        return torch.ones_like(beta)
    low, high = beta, torch.ones_like(beta)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        enough = effective((middle - beta) * log_w) >= least
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return torch.where(whole, 1.0, low.maximum(beta + LEAST)).clamp(max=1.0)


def resampled(log_w: Tensor, start: Tensor, draws: int) -> Tensor:
    """Indices ``(draws, n)`` in proportion to the weights ``(K, n)``: systematic resampling, ``start`` in [0, 1).

    The second half of the positions mirrors the first, so that mirrored draws are taken together.
    """
    log_w = torch.where(log_w.isneginf().all(0), 0.0, log_w)
    cumulative = log_w.softmax(0).cumsum(0).t().contiguous()
    first = (torch.arange((draws + 1) // 2, device=log_w.device) + start[:, None]) / draws
    places = torch.cat([first, 1 - first[:, : draws // 2]], 1)
    return torch.searchsorted(cumulative, places).clamp(max=len(log_w) - 1).t()


def picked(values: Tensor, index: Tensor) -> Tensor:
    """The particles at the indices ``(draws, n)``, of values ``(K, n, ...)``."""
    index = index.view(*index.shape, *[1] * (values.dim() - 2))
    return values.gather(0, index.expand(-1, -1, *values.shape[2:]))
