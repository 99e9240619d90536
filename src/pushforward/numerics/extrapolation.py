r"""How a monotone map goes on beyond its last point: its slope bends into another, and from there grows evenly.

With t the distance from that point in z, and y the distance in x,

.. math:: \frac{dy}{dt} = a + (s - a)\, t / b \text{ for } t \le b,\quad s + c\,(t - b) \text{ beyond},

so y is a parabola of t on either side of b, with one slope at b, and both directions have closed forms:

.. math:: y = s t + \tfrac c2 t^2,\qquad t = \frac{2 y}{s + r},\quad r = \sqrt{s^2 + 2 c y} = \frac{dy}{dt}

Where z is normal, y has a normal tail if c = 0. Otherwise it has an exponential one of mean excess c: the hazard of a
normal grows by nearly 1 with every unit of z.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Tail(NamedTuple):
    """A tail's numbers: a, the slope where it begins; b > 0, the stretch of z in which it bends; s > 0, the slope from
    there on; and c >= 0, the growth of that slope."""

    start: Tensor
    stretch: Tensor
    slope: Tensor
    growth: Tensor

    def outward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """y of t >= 0, and log dy/dt."""
        beyond = t > self.stretch
        slope, growth = self._piece(beyond)
        own = torch.where(beyond, t - self.stretch, t)
        y = (slope + 0.5 * growth * own) * own
        return torch.where(beyond, y + self._bend(), y), (slope + growth * own).log()

    def inward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """t of y >= 0, and log dt/dy: the inverse of :meth:`outward`."""
        bend = self._bend()
        beyond = y > bend
        slope, growth = self._piece(beyond)
        own = torch.where(beyond, y - bend, y)
        root = (slope.square() + 2 * growth * own).sqrt()
        t = 2 * own / (slope + root)
        return torch.where(beyond, t + self.stretch, t), -root.log()

    def _piece(self, beyond: Tensor) -> tuple[Tensor, Tensor]:
        """The slope with which each number's parabola begins, and its growth."""
        bending = (self.slope - self.start) / self.stretch
        return torch.where(beyond, self.slope, self.start), torch.where(beyond, self.growth, bending)

    def _bend(self) -> Tensor:
        """y at the end of the first parabola."""
        return 0.5 * (self.start + self.slope) * self.stretch
