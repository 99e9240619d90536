"""Two-dimensional toy densities, as defined by FFJORD, with their entropies.

The entropy is the best possible negative log-likelihood: a flow that scores lower on a large fresh sample is wrong.

Reference:
    Grathwohl et al. (2019), FFJORD, arXiv:1810.01367, figure 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.errors import one_of

# In nats; those without a closed form were found by numerical integration, to about 0.001.
ENTROPIES = {
    "8gaussians": 2.8316,
    "2spirals": 2.6450,
    "checkerboard": math.log(32),
    "circles": 3.2681,
    "moons": 2.3939,
    "pinwheel": 2.3178,
    "rings": 2.6232,
    "swissroll": 2.6696,
}


def sample(name: str, n: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draws n points of a toy density, ``(n, 2)``.

    Args:
        name: One of :data:`ENTROPIES`.
        n: How many points.
        generator: Source of the randomness; PyTorch's default if None.

    Raises:
        ValueError: an unknown name.
    """
    one_of(_TOYS, name=name)
    return _TOYS[name](_Dice(n, generator))


class _Dice:
    """n draws of various distributions, from one generator."""

    def __init__(self, n: int, generator: torch.Generator | None) -> None:
        self.n, self.generator = n, generator

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(self.n, generator=self.generator)

    def normal(self) -> Tensor:
        return torch.randn(self.n, 2, generator=self.generator)

    def integer(self, below: int) -> Tensor:
        return torch.randint(below, (self.n,), generator=self.generator)


def _on_circle(angle: Tensor) -> Tensor:
    return torch.stack([angle.cos(), angle.sin()], 1)


def _eight_gaussians(dice: _Dice) -> Tensor:
    centre = 4 * _on_circle(dice.integer(8) * (math.pi / 4))
    return (centre + 0.5 * dice.normal()) / math.sqrt(2)


def _two_spirals(dice: _Dice) -> Tensor:
    turn = dice.uniform().sqrt() * 3 * math.pi
    arm = torch.stack([-turn.cos() * turn + dice.uniform(0, 0.5), turn.sin() * turn + dice.uniform(0, 0.5)], 1)
    side = dice.integer(2) * 2 - 1
    return arm * side[:, None] / 3 + 0.1 * dice.normal()


def _checkerboard(dice: _Dice) -> Tensor:
    first = dice.uniform(-2, 2)
    second = dice.uniform() - 2 * dice.integer(2) + first.floor() % 2
    return 2 * torch.stack([first, second], 1)


def _circles(dice: _Dice) -> Tensor:
    radius = 1 - 0.5 * dice.integer(2)
    return 3 * (radius[:, None] * _on_circle(dice.uniform(0, 2 * math.pi)) + 0.08 * dice.normal())


def _moons(dice: _Dice) -> Tensor:
    upper = _on_circle(dice.uniform(0, math.pi))
    lower = torch.tensor([1.0, 0.5]) - upper
    points = torch.where(dice.integer(2)[:, None] == 0, upper, lower) + 0.1 * dice.normal()
    return 2 * points + torch.tensor([-1.0, -0.2])


def _pinwheel(dice: _Dice) -> Tensor:
    along, across = (dice.normal() * torch.tensor([0.3, 0.1]) + torch.tensor([1.0, 0.0])).unbind(1)
    angle = dice.integer(5) * (2 * math.pi / 5) + 0.25 * along.exp()
    return 2 * torch.stack([along * angle.cos() + across * angle.sin(), across * angle.cos() - along * angle.sin()], 1)


def _rings(dice: _Dice) -> Tensor:
    radius = 0.75 * (dice.integer(4) + 1)
    return radius[:, None] * _on_circle(dice.uniform(0, 2 * math.pi)) + 0.08 * dice.normal()


def _swissroll(dice: _Dice) -> Tensor:
    turn = 1.5 * math.pi * (1 + 2 * dice.uniform())
    return (turn[:, None] * _on_circle(turn) + dice.normal()) / 5


_TOYS = {
    "8gaussians": _eight_gaussians,
    "2spirals": _two_spirals,
    "checkerboard": _checkerboard,
    "circles": _circles,
    "moons": _moons,
    "pinwheel": _pinwheel,
    "rings": _rings,
    "swissroll": _swissroll,
}
