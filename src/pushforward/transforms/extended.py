"""A map of single numbers that goes on beyond its ends by tails of its own."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..numerics.extrapolation import Tail
from .base import Transform

STRETCH = 0.05  # standard deviations of z in which the inner map's slope becomes the tail's
LEAST = 1.5  # standard deviations at which a tail begins at the earliest: the hazard of a normal says little before

End = tuple[float, float]  # where the inner map ends, and the mean excess of numbers beyond


class Extended(Transform):
    r"""The inner map between two ends, and exponential tails beyond.

    .. math:: |x - e| = m\,\bigl(h t + \tfrac12 t^2\bigr),\quad t = |z - f(e)| / \sigma,\quad h = u + 1 / u,
              \quad u = |f(e) - \mu| / \sigma

    If z is normal with mean mu and standard deviation sigma, then h + t is close to its hazard, so the distance of x
    from an end e is exponential with mean m: linear in the energy of z, and not in its exponential as for a logarithm.
    Within a twentieth of sigma the slope changes from that of the inner map to that of the tail. Nothing is trained.

    Args:
        inner: The map, with ``event_dim`` 0.
        low: e and m of the lower tail; None if the inner map goes on for ever, or has a hard end there.
        high: Those of the upper tail.
        loc: mu.
        scale: sigma.

    Raises:
        ValueError: the inner map is not one of single numbers, the ends are not in order, or a mean excess or ``scale``
            is not positive.

    Reference:
        Pickands (1975), Statistical inference using extreme order statistics; Coles (2001), An introduction to
        statistical modeling of extreme values, chapter 4.
    """

    ends: Tensor  # in x, infinite where there is none
    places: Tensor  # in z
    start: Tensor  # dx/dz of the inner map at the ends
    slope: Tensor  # where the tail has bent
    growth: Tensor

    def __init__(
        self, inner: Transform, low: End | None, high: End | None, *, loc: float = 0.0, scale: float = 1.0
    ) -> None:
        super().__init__()
        if inner.event_dim != 0:
            raise ValueError(f"inner must have event_dim=0, got event_dim={inner.event_dim}")
        if not scale > 0 or any(end is not None and not end[1] > 0 for end in (low, high)):
            raise ValueError(f"scale and mean excesses must be positive, got scale={scale}, low={low}, high={high}")
        if low is not None and high is not None and not low[0] < high[0]:
            raise ValueError(f"low must begin below high, got {low[0]:g} and {high[0]:g}")
        self.event_dim, self.inner, self.low, self.high, self.loc, self.scale = 0, inner, low, high, loc, scale
        tails = [self._tail(end, sign * math.inf) for end, sign in ((low, -1), (high, 1))]
        for name, values in zip(("ends", "places", "start", "slope", "growth"), zip(*tails, strict=True), strict=True):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64))

    @property
    def domain(self) -> Any:
        return self.inner.domain

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        within = x.clamp(self.ends[0].to(x), self.ends[1].to(x))
        z, log_slope = self.inner(within)
        beyond = x - within
        t, log_tail = self._side(beyond).inward(beyond.abs())
        return z + t.copysign(beyond), torch.where(beyond == 0, log_slope, log_tail)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        within = z.clamp(self.places[0].to(z), self.places[1].to(z))
        x, log_slope = self.inner.inverse(within)
        beyond = z - within
        y, log_tail = self._side(beyond).outward(beyond.abs())
        return x + y.copysign(beyond), torch.where(beyond == 0, log_slope, log_tail)

    def _side(self, beyond: Tensor) -> Tail:
        """The tail that each number is in."""
        stretch = beyond.new_tensor(STRETCH * self.scale)
        start, slope, growth = (torch.where(beyond < 0, *v.to(beyond)) for v in (self.start, self.slope, self.growth))
        return Tail(start, stretch, slope, growth)

    @torch.no_grad()
    def _tail(self, end: End | None, nowhere: float) -> tuple[float, ...]:
        if end is None:
            return nowhere, nowhere, 1.0, 1.0, 0.0
        edge, excess = end
        place, log_slope = self.inner(torch.tensor(edge, dtype=torch.float64))
        away = max(abs(float(place) - self.loc) / self.scale, LEAST)
        slope, growth = excess * (away + 1 / away) / self.scale, excess / self.scale**2
        return edge, float(place), float((-log_slope).exp()), slope, growth
