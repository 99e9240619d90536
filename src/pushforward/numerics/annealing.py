"""Steps along a path between two densities: Hamiltonian and random-walk Metropolis moves of many points at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

LogDensity = Callable[[Tensor], Tensor]
LEAPS = 5  # of a Hamiltonian trajectory, or random steps


class Point(NamedTuple):
    """Points ``(*batch, features)``, two log-densities at them, ``(*batch,)``, and their gradients."""

    x: Tensor
    a: Tensor
    b: Tensor
    slope_a: Tensor
    slope_b: Tensor


def at(log_a: LogDensity, log_b: LogDensity, x: Tensor) -> Point:
    """Both log-densities of points and their gradients; NaN counts as -infinity with gradient 0."""
    values, slopes = [], []
    for log_density in (log_a, log_b):
        with torch.enable_grad():
            here = x.detach().requires_grad_()
            value = log_density(here)
            (slope,) = torch.autograd.grad(value.nan_to_num(0.0, 0.0, 0.0).sum(), here)
        values.append(torch.where(value < math.inf, value, -math.inf).detach())
        slopes.append(slope.nan_to_num(0.0, 0.0, 0.0))
    return Point(x.detach(), *values, *slopes)


def path(point: Point, share_a: Tensor | float, share_b: Tensor | float) -> Tensor:
    """share_a · a + share_b · b, -infinity where either is, ``(*batch,)``."""
    value = share_a * point.a.clamp_min(-1e30) + share_b * point.b.clamp_min(-1e30)
    return torch.where(point.a.isinf() | point.b.isinf(), -math.inf, value)


def hamiltonian(
    log_a: LogDensity,
    log_b: LogDensity,
    point: Point,
    shares: tuple[Tensor, Tensor],
    size: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Point, Tensor]:
    r"""One Hamiltonian Monte Carlo step for :math:`s_a \log a + s_b \log b`, with identity mass matrix.

    Args:
        log_a: The first log-density.
        log_b: The second.
        point: The current points.
        shares: s_a and s_b, broadcastable to the batch.
        size: Leapfrog step size, broadcastable to the batch.
        generator: Source of the randomness.

    Returns:
        The points afterwards, and the acceptance probability of each.

    Reference:
        Neal (2011), MCMC using Hamiltonian dynamics, arXiv:1206.1901.
    """
    share_a, share_b = (share[..., None] for share in shares)
    size = size[..., None]
    momentum = torch.randn(point.x.shape, generator=generator, dtype=point.x.dtype, device=point.x.device)
    new, kinetic = point, 0.5 * momentum.square().sum(-1)
    for _ in range(LEAPS):
        momentum = momentum + 0.5 * size * (share_a * new.slope_a + share_b * new.slope_b)
        new = at(log_a, log_b, new.x + size * momentum)
        momentum = momentum + 0.5 * size * (share_a * new.slope_a + share_b * new.slope_b)
    gain = path(new, *shares) - 0.5 * momentum.square().sum(-1) - path(point, *shares) + kinetic
    return accepted_moves(point, new, gain, generator)


def random_walk(
    log_a: LogDensity,
    log_b: LogDensity,
    point: Point,
    shares: tuple[Tensor, Tensor],
    size: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Point, Tensor]:
    """Metropolis steps x' = x + size · N(0, I), five of them; arguments as for :func:`hamiltonian`."""
    chances = []
    for _ in range(LEAPS):
        noise = torch.randn(point.x.shape, generator=generator, dtype=point.x.dtype, device=point.x.device)
        new = at(log_a, log_b, point.x + size[..., None] * noise)
        point, chance = accepted_moves(point, new, path(new, *shares) - path(point, *shares), generator)
        chances.append(chance)
    return point, torch.stack(chances).mean(0)


State = TypeVar("State", bound=tuple[Tensor, ...])


def accepted_moves(old: State, new: State, gain: Tensor, generator: torch.Generator | None) -> tuple[State, Tensor]:
    """The new state of each point that accepts its move, else the old one; and the probabilities, ``(*batch,)``."""
    chance = gain.nan_to_num(-math.inf, math.inf, -math.inf).clamp(max=0.0).exp()
    taken = torch.rand(chance.shape, generator=generator, dtype=chance.dtype, device=chance.device) < chance
    parts = [torch.where(taken.view(*taken.shape, *[1] * (n.dim() - taken.dim())), n, o)
             for n, o in zip(new, old, strict=True)]  # fmt: skip
    return type(old)(*parts), chance


KERNELS = {"hmc": hamiltonian, "metropolis": random_walk}
BEST = {"hmc": 0.7, "metropolis": 0.3}  # acceptance rate at which the step size adaptation aims
