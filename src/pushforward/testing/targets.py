"""Log-densities to fit flows to: energy functions with known normalising constants, and a posterior.

Each is a :class:`Target`, called like a function: it maps ``(n, features)`` to log pi(x) + constant, ``(n,)``, in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints


@dataclass(frozen=True)
class Target:
    """An unnormalised log-density and its known properties.

    Attributes:
        log_density: Maps ``(n, features)`` to ``(n,)``, in nats.
        features: Features of a row.
        log_z: The logarithm of its integral, None if unknown.
        support: Blocks for :func:`pushforward.constrain`, ``(constraint, size)``; empty for the whole space.
    """

    log_density: Callable[[Tensor], Tensor]
    features: int
    log_z: float | None = None
    support: tuple[tuple[Any, int], ...] = ()

    def __call__(self, x: Tensor) -> Tensor:
        return self.log_density(x)


def _bump(x: Tensor, loc: Tensor | float, scale: float) -> Tensor:
    """Logarithm of a Gaussian bump of height 1."""
    return -0.5 * ((x - loc) / scale).square()


def _normal(x: Tensor, loc: Tensor | float, scale: Tensor | float) -> Tensor:
    scale = torch.as_tensor(scale, dtype=x.dtype, device=x.device)
    return -0.5 * ((x - loc) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)


def _ring(x: Tensor) -> Tensor:
    radius = torch.linalg.vector_norm(x, dim=-1)
    return _bump(radius, 2.0, 0.4) + torch.logaddexp(_bump(x[..., 0], 2.0, 0.6), _bump(x[..., 0], -2.0, 0.6))


def _wave(x: Tensor) -> Tensor:
    return torch.sin(math.pi / 2 * x[..., 0])


def _sine(x: Tensor) -> Tensor:
    return _bump(x[..., 1], _wave(x), 0.4)


def _split_sine(x: Tensor) -> Tensor:
    gap = 3 * _bump(x[..., 0], 1.0, 0.6).exp()
    return torch.logaddexp(_bump(x[..., 1], _wave(x), 0.35), _bump(x[..., 1], _wave(x) - gap, 0.35))


def _forked_sine(x: Tensor) -> Tensor:
    gap = 3 * torch.sigmoid((x[..., 0] - 1.0) / 0.3)
    return torch.logaddexp(_bump(x[..., 1], _wave(x), 0.4), _bump(x[..., 1], _wave(x) - gap, 0.35))


_STRIP = ((constraints.interval(-4.0, 4.0), 1), (constraints.real, 1))
_BAR = math.log(8 * math.sqrt(2 * math.pi))  # a Gaussian ridge of scale 1 over the strip's length

# Rezende, Mohamed (2015), Variational inference with normalizing flows, arXiv:1505.05770, table 1. The last three do
# not depend on x_1 far out, so they have a normalising constant on the strip -4 < x_1 < 4 only.
potential_1 = Target(_ring, 2, log_z=1.87750162)
potential_2 = Target(_sine, 2, log_z=_BAR + math.log(0.4), support=_STRIP)
potential_3 = Target(_split_sine, 2, log_z=_BAR + math.log(0.35 + 0.35), support=_STRIP)
potential_4 = Target(_forked_sine, 2, log_z=_BAR + math.log(0.4 + 0.35), support=_STRIP)


def _funnel(x: Tensor) -> Tensor:
    v, rest = x[..., 0], x[..., 1:]
    return _normal(v, 0.0, 3.0) + _normal(rest, 0.0, (v / 2).exp()[..., None]).sum(-1)


def _banana(x: Tensor) -> Tensor:
    return _normal(x[..., 0], 0.0, 2.0) + _normal(x[..., 1], 0.5 * x[..., 0].square() - 2.0, 0.5)


def _modes(x: Tensor, centres: list[list[float]], scale: float) -> Tensor:
    distance = x[..., None, :] - torch.tensor(centres, dtype=x.dtype, device=x.device)
    return _normal(distance, 0.0, scale).sum(-1).logsumexp(-1) - math.log(len(centres))


_EIGHT = [[3 * math.cos(k * math.pi / 4), 3 * math.sin(k * math.pi / 4)] for k in range(8)]

#: Neal's funnel: v ~ N(0, 3²), and all else ~ N(0, exp(v)). Neal (2003), Slice sampling, section 8.
funnel = Target(_funnel, 10, log_z=0.0)
#: A bent Gaussian: x_1 ~ N(0, 2²), x_2 ~ N(x_1² / 2 - 2, 1/2²).
banana = Target(_banana, 2, log_z=0.0)
#: Eight Gaussians on a circle that overlap a little.
mixture = Target(lambda x: _modes(x, _EIGHT, 0.7), 2, log_z=0.0)
#: Two Gaussians 12 standard deviations apart: what a flow misses most easily.
separated = Target(lambda x: _modes(x, [[-6.0, 0.0], [6.0, 0.0]], 1.0), 2, log_z=0.0)

SCHOOLS = (28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0), (15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0)
"""The effects of coaching in eight schools, and their standard errors. Rubin (1981)."""


def between_schools(mu: Tensor, tau: Tensor) -> Tensor:
    """The log-density of mu ~ N(0, 5²) and of tau, half-Cauchy of scale 5."""
    return _normal(mu, 0.0, 5.0) + math.log(2 / (5 * math.pi)) - torch.log1p((tau / 5.0).square())


def _eight_schools(x: Tensor) -> Tensor:
    raw, mu, tau = x[..., :8], x[..., 8], x[..., 9]
    effect, error = map(x.new_tensor, SCHOOLS)
    theta = mu[..., None] + tau[..., None] * raw
    likelihood = _normal(effect, theta, error).sum(-1)
    return torch.where(tau > 0, likelihood + _normal(raw, 0.0, 1.0).sum(-1) + between_schools(mu, tau), -math.inf)


#: Rubin's eight schools, non-centred: rows (eight standardised effects, mu, tau > 0). Gelman et al., BDA3, section 5.5.
eight_schools = Target(_eight_schools, 10, support=((constraints.real, 9), (constraints.positive, 1)))
