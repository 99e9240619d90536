"""From a guide to a joint density by small steps, for rows with few effective draws under plain importance weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .holed import Holed, effective, resampled

STEPS = 40
MOVES = 3
KEPT = 0.6  # effective fraction of the particles after a step
LEAST = 1e-4  # minimal step of beta
DEAD = -1e30  # in place of -inf, which must not be multiplied by 0


@torch.no_grad()
def anneal(
    weigh: Callable[[Tensor], tuple[Tensor, Tensor]], rows: Holed, particles: int, steps: int = STEPS
) -> tuple[Tensor, Tensor, Tensor]:
    r"""A sequential Monte Carlo sampler in the space of the guide's noise z.

    With w(z) = p(x(z)) / q(x(z)) the path passes through the densities :math:`\propto N(z)\, w(z)^\beta`, from the
    guide's own at :math:`\beta = 0` to the joint's at 1. Each step goes as far as a fraction ``KEPT`` of the particles
    stays effective, resamples them, and moves each by Metropolis steps along the difference of two others,
    :math:`z' = z + \gamma\, (z_a - z_b)`; every row has its own path and its own :math:`\gamma`.

    Args:
        weigh: Maps noise ``(K, n, features)`` to filled rows of that shape and log w, ``(K, n)``.
        rows: The rows, for their random numbers.
        particles: K.
        steps: Maximal number of steps; the last one goes all the way.

    Returns:
        Filled rows ``(K, n, features)``, equally weighted draws of the joint; the log marginal density ``(n,)``; and
        its standard error ``(n,)``: those of the steps, accumulated and doubled, since particles with a common ancestor
        are correlated, which the steps do not see.

    Reference:
        Del Moral, Doucet, Jasra (2006), Sequential Monte Carlo samplers, JRSS B 68; ter Braak (2006), A Markov chain
        Monte Carlo version of the genetic algorithm differential evolution.
    """
    z = rows.normal(particles, stream=1)
    filled, log_w = weigh(z)
    log_w = log_w.clamp_min(DEAD)
    beta, total, variance = (torch.zeros_like(log_w[0]) for _ in range(3))
    size = 0.5 * torch.ones_like(beta)
    holes = rows.x.isnan()
    for step in range(steps):
        after = _next(beta, log_w) if step < steps - 1 else torch.ones_like(beta)
        gain, beta = (after - beta) * log_w, after
        total += gain.logsumexp(0) - math.log(particles)
        variance += (particles / effective(gain).clamp_min(1) - 1) / (particles - 1)
        taken = resampled(gain, rows.uniform(1, stream=10 * step + 11)[0, :, 0], particles)
        log_w, z, filled = log_w.gather(0, taken), _taken(z, taken), _taken(filled, taken)
        for move in range(MOVES):
            stream = 10 * step + 2 * move + 12  # ten streams per step
            u = rows.uniform(particles, stream=stream)[..., 0]
            partners = rows.uniform(particles, stream=stream + 1)[..., 0].argsort(
                0
            )  # a random cycle: no particle is its own partner
            difference = (_taken(z, _after(partners, 1)) - _taken(z, _after(partners, 2))) * holes
            proposal = z + size[:, None] * difference + 1e-3 * difference.roll(1, 0)
            there, log_v = weigh(proposal)
            log_v = log_v.clamp_min(DEAD)
            normal = 0.5 * ((z.square() - proposal.square()) * holes).sum(-1)
            accepted = u.log() < beta * (log_v - log_w) + normal
            z, filled = (torch.where(accepted[..., None], new, old) for new, old in ((proposal, z), (there, filled)))
            log_w = torch.where(accepted, log_v, log_w)
            size = (size * (accepted.double().mean(0) - 0.3).exp()).clamp(0.02, 2.0)
        if bool((beta == 1).all()):
            break
    return filled, total, 2 * variance.sqrt()


def _taken(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(0, index[..., None].expand(-1, -1, values.shape[-1]))


def _after(cycle: Tensor, k: int) -> Tensor:
    """For each particle the one k places after it in a cycle ``(K, n)``."""
    return torch.empty_like(cycle).scatter_(0, cycle, cycle.roll(-k, 0))


def _next(beta: Tensor, log_w: Tensor) -> Tensor:
    """For each row the next beta, at which a fraction ``KEPT`` of the particles stays effective, by bisection."""
    enough = effective((1 - beta) * log_w) >= KEPT * len(log_w)
    low, high = beta, torch.ones_like(beta)
    for _ in range(14):
        middle = 0.5 * (low + high)
        fine = effective((middle - beta) * log_w) >= KEPT * len(log_w)
        low, high = torch.where(fine, middle, low), torch.where(fine, high, middle)
    return torch.where(enough, 1.0, low.maximum(beta + LEAST)).clamp(max=1.0)
