"""Scalar maps with parameters, which couplings and autoregressive transforms apply to each feature.

Parameters come first: ``params`` has shape ``(num_params, *x.shape)``, so each parameter is a plane of the shape of x.
All-zero parameters give the identity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import one_of, positive
from ..numerics import affine, piecewise, spline
from ..saving.config import Configurable


class Scalar(Configurable):
    """A strictly increasing map of one number, given ``num_params`` numbers; both directions return log-slopes."""

    num_params: int
    broadcasts = False  # whether parameters may have size 1 in dimensions where x has more
    inputs = 1  # inputs that networks read per feature moved by such maps

    def read(self, x: Tensor) -> Tensor:
        """Network inputs for features moved by such maps: ``(*batch, features)`` to ``inputs`` times as many."""
        return x

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """z and log dz/dx, both of the shape of x."""
        raise NotImplementedError

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """x and log dx/dz, both of the shape of z."""
        raise NotImplementedError

    def solve(self, z: Tensor, params: Tensor) -> Tensor:
        """x alone: for sampling, as the log-slope costs some maps one more evaluation."""
        return self.inverse(z, params)[0]


class Affine(Scalar):
    r"""z = (x - mu) · exp(-s) with a log-scale s that is softly clamped to (-limit, limit), symmetric about 0.

    .. math:: s = \frac{r}{1 + |r| / \mathrm{limit}},\quad \log dz/dx = -s

    so it can expand as well as contract, and never overflows.

    Args:
        limit: The bound on the log-scale.

    Raises:
        ValueError: ``limit`` is not positive.

    Reference:
        Lecture: "Gaussian autoregressive NF", "RealNVP".
    """

    num_params = 2

    def __init__(self, limit: float = 5.0) -> None:
        super().__init__()
        positive(limit=limit)
        self.limit = limit

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        mu, raw = params.unbind()
        return affine.forward(x, mu, raw, self.limit)

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        mu, raw = params.unbind()
        return affine.inverse(z, mu, raw, self.limit)


class Additive(Scalar):
    """z = x - mu, of slope 1: the volume-preserving map of NICE.

    Reference:
        Dinh, Krueger, Bengio (2015), NICE, arXiv:1410.8516.
    """

    num_params = 1

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return x - params[0], torch.zeros_like(x)

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return z + params[0], torch.zeros_like(z)


class ScaleShift(Scalar):
    r"""z = a x + b with a positive slope a, computed from its parameter r in one of the common ways.

    ``"softplus"``: :math:`a = \log(1 + e^r)`, which grows like r;
    ``"sigmoid"``: :math:`a = 2 \sigma(r)`, below 2; ``"tanh"``: :math:`\log a = \mathrm{limit}\,
    \tanh(r / \mathrm{limit})`. All are 1 at r = 0; the first two include a small constant, so that they stay above 0.
    :class:`Affine` uses an exponential with the soft clamp of this library.

    Args:
        slope: ``"softplus"``, ``"sigmoid"`` or ``"tanh"``.
        limit: The bound on the log-slope with ``"tanh"``.

    Raises:
        ValueError: ``slope`` is unknown, or ``limit`` is not positive.

    Reference:
        Kingma, Dhariwal (2018), arXiv:1807.03039 (sigmoid); Ardizzone et al. (2019), arXiv:1907.02392 (tanh).
    """

    num_params = 2

    def __init__(self, slope: str = "softplus", limit: float = 5.0) -> None:
        super().__init__()
        one_of(affine.LOG_SLOPES, slope=slope)
        positive(limit=limit)
        self.slope, self.limit = slope, limit

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        log_slope = affine.LOG_SLOPES[self.slope](params[1], self.limit)
        return x * log_slope.exp() + params[0], log_slope

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        log_slope = affine.LOG_SLOPES[self.slope](params[1], self.limit)
        return (z - params[0]) * (-log_slope).exp(), -log_slope


class Piecewise(Scalar):
    """A formula of :mod:`pushforward.numerics` with K bins on [-bound, bound].

    Subclasses give the formula and how many parameters it takes.

    Raises:
        ValueError: ``bins`` is below 2 or ``bound`` is not positive.
    """

    formula: Callable[..., tuple[Tensor, Tensor]]
    per_bin, more = 1, 0  # parameters

    def __init__(self, bins: int = 8, bound: float = 5.0) -> None:
        super().__init__()
        if bins < 2:
            raise ValueError(f"bins must be at least 2, got bins={bins}")
        positive(bound=bound)
        self.bins, self.bound, self.num_params = bins, float(bound), self.per_bin * bins + self.more

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return type(self).formula(x, params, self.bound, False)

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return type(self).formula(z, params, self.bound, True)


class Rational(Piecewise):
    """One whose bins are rational-quadratic, with a least height.

    Raises:
        ValueError: as above, or ``floor`` is not between 0 and 1.
    """

    def __init__(self, bins: int = 8, bound: float = 5.0, floor: float = 0.15) -> None:
        super().__init__(bins, bound)
        if not 0 < floor < 1:
            raise ValueError(f"floor must be between 0 and 1, got floor={floor}")
        self.floor = float(floor)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return type(self).formula(x, params, self.bound, False, self.floor)

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return type(self).formula(z, params, self.bound, True, self.floor)


class Spline(Rational):
    """Monotone rational-quadratic spline on [-bound, bound], the identity outside.

    Args:
        bins: K, the number of bins; 3K - 1 parameters for each feature.
        bound: Where the linear tails begin.
        floor: The least height of a bin, relative to that of equal bins: flatter ones lose too many digits to be
            inverted in single precision. Splines that were saved without it have 0.01.

    Raises:
        ValueError: ``bins`` is below 2, ``bound`` is not positive, or ``floor`` is not between 0 and 1.

    Reference:
        Durkan, Bekasov, Murray, Papamakarios (2019), Neural Spline Flows, arXiv:1906.04032.
    """

    formula = staticmethod(spline.rational_quadratic)
    per_bin, more = 3, -1


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


class ScalarChain(Scalar):
    """h = h_K ∘ … ∘ h_1, each with its own parameters, all from one network.

    Args:
        scalars: The maps, in the order from x to z.

    Raises:
        ValueError: ``scalars`` is empty, or one of them has several inputs per feature, as circular maps do.
    """

    def __init__(self, scalars: Sequence[Scalar]) -> None:
        super().__init__()
        if not scalars:
            raise ValueError("scalars is empty: a chain needs at least one")
        if any(scalar.inputs != 1 for scalar in scalars):
            raise ValueError("scalars must be maps of the line: circular ones are used alone")
        self.scalars: Any = nn.ModuleList(scalars)  # Any: a ModuleList's items are untyped
        self.sizes = [scalar.num_params for scalar in scalars]
        self.num_params = sum(self.sizes)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros_like(x)
        for scalar, own in zip(self.scalars, params.split(self.sizes), strict=True):
            x, log_slope = scalar(x, own)
            total = total + log_slope
        return x, total

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros_like(z)
        for scalar, own in zip(reversed(self.scalars), reversed(params.split(self.sizes)), strict=True):
            z, log_slope = scalar.inverse(z, own)
            total = total + log_slope
        return z, total
