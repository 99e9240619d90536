"""A map of single numbers that goes on beyond its ends by tails of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..numerics.tails import Tail
from .base import Transform


class Extended(Transform):
    r"""The inner map between two ends, and parabolas beyond.

    .. math:: |x - e| = s t + \tfrac c2 t^2,\quad t = |z - f(e)|

    from where the slope has changed from that of the inner map to s, within a short stretch of z. Where z is normal, x
    has an exponential tail of mean excess c farther out, or a normal one if c = 0: draws stay where the rows are, and
    rows far out keep a score, while the inverse of a logarithm would grow exponentially. Nothing is trained.

    Args:
        inner: The map, with ``event_dim`` 0.
        low: e, s and c of the lower tail; None if the inner map goes on for ever, or has a hard end there.
        high: Those of the upper tail.
        stretch: Of z, within which the slope changes.

    Raises:
        ValueError: the inner map is not one of single numbers, the ends are not in order, or a number that must be
            positive is not.

    Reference:
        Coles (2001), An introduction to statistical modeling of extreme values, chapter 4.
    """

    ends: Tensor  # in x, infinite where there is none
    places: Tensor  # in z
    slopes: Tensor  # dx/dz of the inner map at the ends
    tails: Tensor  # s and c, (2, ends)

    def __init__(
        self, inner: Transform, low: Sequence[float] | None, high: Sequence[float] | None, *, stretch: float = 0.05
    ) -> None:
        super().__init__()
        if inner.event_dim != 0:
            raise ValueError(f"inner must have event_dim=0, got event_dim={inner.event_dim}")
        if not stretch > 0 or not all(tail is None or (tail[1] > 0 and tail[2] >= 0) for tail in (low, high)):
            raise ValueError(f"stretch and slopes must be positive, got stretch={stretch}, low={low}, high={high}")
        if low is not None and high is not None and not low[0] < high[0]:
            raise ValueError(f"low must begin below high, got {low[0]:g} and {high[0]:g}")
        self.event_dim, self.inner, self.low, self.high, self.stretch = 0, inner, low, high, float(stretch)
        found = [self._end(tail, sign * math.inf) for tail, sign in ((low, -1), (high, 1))]
        for name, values in zip(("ends", "places", "slopes"), zip(*found, strict=True), strict=True):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64))
        tails = [(1.0, 0.0) if tail is None else tail[1:] for tail in (low, high)]
        self.register_buffer("tails", torch.tensor(tails, dtype=torch.float64).t())

    @property
    def domain(self) -> Any:
        return self.inner.domain

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        within = x.clamp(*self.ends.to(x))
        z, log_slope = self.inner(within)
        beyond = x - within
        t, log_tail = self._tail(beyond).inward(beyond.abs())
        return z + t.copysign(beyond), torch.where(beyond == 0, log_slope, log_tail)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        within = z.clamp(*self.places.to(z))
        x, log_slope = self.inner.inverse(within)
        beyond = z - within
        y, log_tail = self._tail(beyond).outward(beyond.abs())
        return x + y.copysign(beyond), torch.where(beyond == 0, log_slope, log_tail)

    def _tail(self, beyond: Tensor) -> Tail:
        """The tail on the side of each number."""
        low, high = torch.cat([self.slopes[None], self.tails]).to(beyond).unbind(-1)
        start, slope, growth = (torch.where(beyond < 0, a, b) for a, b in zip(low, high, strict=True))
        return Tail(start, beyond.new_tensor(self.stretch), slope, growth)

    @torch.no_grad()
    def _end(self, tail: Sequence[float] | None, nowhere: float) -> tuple[float, float, float]:
        if tail is None:
            return nowhere, nowhere, 1.0
        z, log_slope = self.inner(torch.tensor(tail[0], dtype=torch.float64))
        return tail[0], float(z), float((-log_slope).exp())
