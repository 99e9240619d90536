"""Steps along a path between two densities: Hamiltonian and random-walk Metropolis moves of many points at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Path:
    r"""The densities :math:`\propto a^{s_a} b^{s_b}` between two, and steps that leave one of them as it is."""

    log_a: LogDensity  # the first log-density: points ``(*batch, features)`` to ``(*batch,)``
    log_b: LogDensity  # the second
    generator: torch.Generator | None = None  # source of the randomness

    def at(self, x: Tensor) -> Point:
        """Both log-densities of points and their gradients; NaN counts as -infinity with gradient 0."""
        values, slopes = zip(*(with_slope(log_density, x) for log_density in (self.log_a, self.log_b)), strict=True)
        return Point(x.detach(), *(torch.where(value < math.inf, value, -math.inf) for value in values), *slopes)

    def hamiltonian(self, point: Point, shares: tuple[Tensor, Tensor], size: Tensor) -> tuple[Point, Tensor]:
        r"""One Hamiltonian Monte Carlo step, with identity mass matrix.

        Args:
            shares: s_a and s_b, broadcastable to the batch.
            size: Leapfrog step size, broadcastable to the batch.

        Returns:
            The points afterwards, and the acceptance probability of each.

        Reference:
            Neal (2011), MCMC using Hamiltonian dynamics, arXiv:1206.1901.
        """
        share_a, share_b = (share[..., None] for share in shares)
        size = size[..., None]
        momentum = self._noise(point)
        new, kinetic = point, 0.5 * momentum.square().sum(-1)
        for _ in range(LEAPS):
            momentum = momentum + 0.5 * size * (share_a * new.slope_a + share_b * new.slope_b)
            new = self.at(new.x + size * momentum)
            momentum = momentum + 0.5 * size * (share_a * new.slope_a + share_b * new.slope_b)
        gain = _height(new, *shares) - 0.5 * momentum.square().sum(-1) - _height(point, *shares) + kinetic
        return accepted_moves(point, new, gain, self.generator)

    def random_walk(self, point: Point, shares: tuple[Tensor, Tensor], size: Tensor) -> tuple[Point, Tensor]:
        """Metropolis steps x' = x + size · N(0, I), five of them; arguments as for :meth:`hamiltonian`."""
        chances = []
        for _ in range(LEAPS):
            new = self.at(point.x + size[..., None] * self._noise(point))
            gain = _height(new, *shares) - _height(point, *shares)
            point, chance = accepted_moves(point, new, gain, self.generator)
            chances.append(chance)
        return point, torch.stack(chances).mean(0)

    def _noise(self, point: Point) -> Tensor:
        like = point.x
        return torch.randn(like.shape, generator=self.generator, dtype=like.dtype, device=like.device)


def _height(point: Point, share_a: Tensor, share_b: Tensor) -> Tensor:
    """share_a · a + share_b · b, -infinity where either is, ``(*batch,)``."""
    value = share_a * point.a.clamp_min(-1e30) + share_b * point.b.clamp_min(-1e30)
    return torch.where(point.a.isinf() | point.b.isinf(), -math.inf, value)


def with_slope(log_density: LogDensity, x: Tensor) -> tuple[Tensor, Tensor]:
    """The log-densities of points, and their gradients, 0 where there is none."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = log_density(x)
        (slope,) = torch.autograd.grad(value.nan_to_num(0.0, 0.0, 0.0).sum(), x)
    return value.detach(), slope.nan_to_num(0.0, 0.0, 0.0)


State = TypeVar("State", bound=tuple[Tensor, ...])


def accepted_moves(old: State, new: State, gain: Tensor, generator: torch.Generator | None) -> tuple[State, Tensor]:
    """The new state of each point that accepts its move, else the old one; and the probabilities, ``(*batch,)``."""
    chance = gain.nan_to_num(-math.inf, math.inf, -math.inf).clamp(max=0.0).exp()
    taken = torch.rand(chance.shape, generator=generator, dtype=chance.dtype, device=chance.device) < chance
    parts = [torch.where(taken.view(*taken.shape, *[1] * (n.dim() - taken.dim())), n, o)
             for n, o in zip(new, old, strict=True)]  # fmt: skip
    return type(old)(*parts), chance


KERNELS = {"hmc": Path.hamiltonian, "metropolis": Path.random_walk}
BEST = {"hmc": 0.7, "metropolis": 0.3}  # acceptance rate at which the step size adaptation aims
