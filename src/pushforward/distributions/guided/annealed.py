"""From a guide to a joint density by small steps, for rows with few effective draws under plain importance weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...numerics.sequential import DEAD, Particles, picked, sequential
from .holes import RowsWithHoles

STEPS = 40
MOVES = 3
KEPT = 0.6  # effective fraction of the particles after a step


def annealed(
    weigh: Callable[[Tensor], tuple[Tensor, Tensor]], rows: RowsWithHoles, particles: int, steps: int = STEPS
) -> tuple[Tensor, Tensor, Tensor]:
    r"""A sequential Monte Carlo sampler in the space of the guide's noise z.

    With w(z) = p(x(z)) / q(x(z)) the path passes through the densities :math:`\propto N(z)\, w(z)^\beta`, from the
    guide's own at :math:`\beta = 0` to the joint's at 1. Particles move by Metropolis steps along the difference of two
    others, :math:`z' = z + \gamma\, (z_a - z_b)`; every row has its own path and its own :math:`\gamma`.

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
        ter Braak (2006), A Markov chain Monte Carlo version of the genetic algorithm differential evolution.
    """
    holes, size = rows.x.isnan(), torch.full_like(rows.x[:, 0], 0.5, dtype=torch.float64)

    def move(state: Particles, beta: Tensor, step: int, last: bool) -> Particles:
        nonlocal size
        z, filled, log_w = state
        for k in range(MOVES):
            stream = 10 * step + 2 * k + 12  # ten streams per step
            u = rows.uniform(particles, stream=stream)[..., 0]
            cycle = rows.uniform(particles, stream=stream + 1)[..., 0].argsort(0)  # no particle is its own partner
            difference = (picked(z, _after(cycle, 1)) - picked(z, _after(cycle, 2))) * holes
            proposal = z + size[:, None] * difference + 1e-3 * difference.roll(1, 0)
            there, log_v = weigh(proposal)
            log_v = log_v.clamp_min(DEAD)
            normal = 0.5 * ((z.square() - proposal.square()) * holes).sum(-1)
            accepted = u.log() < beta * (log_v - log_w) + normal
            z, filled = (torch.where(accepted[..., None], new, old) for new, old in ((proposal, z), (there, filled)))
            log_w = torch.where(accepted, log_v, log_w)
            size = (size * (accepted.double().mean(0) - 0.3).exp()).clamp(0.02, 2.0)
        return z, filled, log_w

    z = rows.normal(particles, stream=1)
    filled, log_w = weigh(z)
    path = sequential(
        (z, filled, log_w.clamp_min(DEAD)),
        lambda state: state[2],
        move,
        lambda step: rows.uniform(1, stream=10 * step + 11)[0, :, 0],
        kept=KEPT,
        steps=steps,
    )
    return path.particles[1], path.log_mass, 2 * path.variance.sqrt()


def _after(cycle: Tensor, k: int) -> Tensor:
    """For each particle the one k places after it in a cycle ``(K, n)``."""
    return torch.empty_like(cycle).scatter_(0, cycle, cycle.roll(-k, 0))
