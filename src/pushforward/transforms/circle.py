"""Numbers on circles (times of day, directions, torsion angles), and events in which some features are such."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints

from .base import Transform


class Circle(Transform):
    r"""Features with a period, as angles: :math:`z = 2\pi (x - \mathrm{low}) / P - \pi` in [-pi, pi), P = high - low.

    A flow behind it must have period 2 pi in these features, as :func:`pushforward.ncsf` has: then the density agrees
    at both ends.

    Args:
        low: Start of the period.
        high: End of the period, the same point of the circle.
        within: Whether a number outside [low, high] has density 0; otherwise numbers are taken modulo the period.

    Raises:
        ValueError: ``low`` is not below ``high``.
    """

    def __init__(self, low: float = -math.pi, high: float = math.pi, *, within: bool = False) -> None:
        super().__init__()
        if not low < high:
            raise ValueError(f"low must be below high, got {low} and {high}")
        self.low, self.high, self.within = float(low), float(high), within

    @property
    def domain(self) -> constraints.Constraint:
        return constraints.interval(self.low, self.high)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = (x - self.low).remainder(self.high - self.low) * self._speed() - math.pi
        logdet = torch.full_like(x, math.log(self._speed()))
        if self.within:
            logdet = logdet.masked_fill((x < self.low) | (x > self.high), -math.inf)
        return z, logdet.sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = self.low + ((z + math.pi) / self._speed()).remainder(self.high - self.low)
        x = torch.where(x < self.high, x, torch.full_like(x, self.low))  # if rounding reaches the other end
        return x, torch.full_like(x, -math.log(self._speed())).sum(-1)

    def _speed(self) -> float:
        return 2 * math.pi / (self.high - self.low)


class AnglesFirst(Transform):
    r"""Events with some angles: the angles by themselves, then the other features given their cosines and sines.

    .. math:: z_a = f(x_a; c),\quad z_b = g(x_b; \cos x_a, \sin x_a, c)

    If f has period 2 pi, so has the density of the whole event, in each angle.

    Args:
        angles: f, a transform of vectors of angles, such as that of :func:`pushforward.ncsf`.
        others: g, whose context is the cosines and sines of the angles, followed by c.
        places: Which features are angles.
        features: Features of an event.

    Raises:
        ValueError: ``places`` is empty, names all features, or has duplicates or unknown ones.
    """

    angles_at: Tensor
    others_at: Tensor
    order: Tensor

    def __init__(self, angles: Transform, others: Transform, places: Sequence[int], features: int) -> None:
        super().__init__()
        places = sorted(places)
        if len(set(places)) < len(places) or not 0 < len(places) < features or not set(places) <= set(range(features)):
            raise ValueError(f"places must name some of the features 0 to {features - 1} once each, got {places}")
        self.angles, self.others, self.places, self.features = angles, others, places, features
        rest = [j for j in range(features) if j not in places]
        self.register_buffer("angles_at", torch.tensor(places), persistent=False)
        self.register_buffer("others_at", torch.tensor(rest), persistent=False)
        self.register_buffer("order", torch.tensor([*places, *rest]).argsort(), persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        angles = x[..., self.angles_at]
        first, logdet = self.angles(angles, context)
        second, other = self.others(x[..., self.others_at], self._given(angles, context))
        return torch.cat([first, second], -1), logdet + other

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        count = len(self.places)
        angles, logdet = self.angles.inverse(z[..., :count], context)
        others, other = self.others.inverse(z[..., count:], self._given(angles, context))
        return torch.cat([angles, others], -1)[..., self.order], logdet + other

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        angles = x[..., self.angles_at]
        first = self.angles.initialize(angles, context)
        second = self.others.initialize(x[..., self.others_at], self._given(angles, context))
        return torch.cat([first, second], -1)

    def _given(self, angles: Tensor, context: Tensor | None) -> Tensor:
        read = torch.cat([angles.cos(), angles.sin()], -1)
        return read if context is None else torch.cat([read, context.expand(*angles.shape[:-1], -1)], -1)
