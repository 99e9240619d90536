"""Spline scalar maps besides the rational-quadratic :class:`~pushforward.transforms.Spline`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..numerics import piecewise
from .scalar import Piecewise, Rational


class LinearSpline(Piecewise):
    """Piecewise linear on [-bound, bound], with bins of equal width.

    Args:
        bins: K, the number of bins; K parameters for each feature, the heights of the bins.
        bound: Where the linear tails begin; these have the slopes of the outermost bins.

    Reference:
        Müller, McWilliams, Rousselle, Gross, Novák (2019), Neural Importance Sampling, arXiv:1808.03856.
    """

    formula = staticmethod(piecewise.linear)
    per_bin, more = 1, 0


class QuadraticSpline(Piecewise):
    """Piecewise quadratic on [-bound, bound], with a slope that is linear within each bin; the identity outside.

    Args:
        bins: K, the number of bins; 2K - 1 parameters for each feature: widths, and slopes at inner knots.
        bound: Where the linear tails begin.

    Reference:
        Müller, McWilliams, Rousselle, Gross, Novák (2019), Neural Importance Sampling, arXiv:1808.03856.
    """

    formula = staticmethod(piecewise.quadratic)
    per_bin, more = 2, -1


class CubicSpline(Piecewise):
    """Monotone cubic on [-bound, bound] with Steffen's slopes at inner knots, linear outside.

    It is inverted by the root finder.

    Args:
        bins: K, the number of bins; 2K + 2 parameters for each feature: widths, heights and the slopes of the ends.
        bound: Where the linear tails begin.

    Reference:
        Durkan, Bekasov, Murray, Papamakarios (2019), Cubic-Spline Flows, arXiv:1906.02145.
    """

    formula = staticmethod(piecewise.cubic)
    per_bin, more = 2, 2


class FreeSpline(Rational):
    """Rational-quadratic on [-bound, bound] with free slopes at the ends, extended linearly outside.

    Args:
        bins: K, the number of bins; 3K + 1 parameters for each feature.
        bound: Where the linear tails begin.
        floor: The least height of a bin, relative to that of equal bins; 0.01 in splines that were saved without it.

    Reference:
        Durkan, Bekasov, Murray, Papamakarios (2019), Neural Spline Flows, arXiv:1906.04032.
    """

    formula = staticmethod(piecewise.free)
    per_bin, more = 3, 1


class CircularSpline(Rational):
    """A rotation of the circle [-bound, bound), then a rational-quadratic spline with one slope where its ends meet.

    Networks read the cosine and the sine of a feature, so that parameters are continuous around the circle. Numbers
    outside are taken modulo the period.

    Args:
        bins: K, the number of bins; 3K + 1 parameters for each feature, the last of which is the rotation.
        bound: Half of the period.
        floor: The least height of a bin, as in :class:`FreeSpline`.

    Reference:
        Rezende et al. (2020), Normalizing Flows on Tori and Spheres, arXiv:2002.02428.
    """

    formula = staticmethod(piecewise.circular)
    per_bin, more = 3, 1
    inputs = 2

    def __init__(self, bins: int = 8, bound: float = math.pi, floor: float = 0.15) -> None:
        super().__init__(bins, bound, floor)

    def read(self, x: Tensor) -> Tensor:
        angle = x * (math.pi / self.bound)
        return torch.stack([angle.cos(), angle.sin()], -1).flatten(-2)
