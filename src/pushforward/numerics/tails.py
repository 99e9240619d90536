r"""Tails: normal and power ones, the map between them, Student's t; maps that go on beyond their last point; and how
heavy tails are, by what rows and importance weights show.

With :math:`E = -\log\bigl(2 \Phi(-|z|)\bigr)`, which is exponential where z is normal,

.. math:: y = \frac{e^{\lambda E} - 1}{\lambda},\qquad P(y > t) \sim (\lambda t)^{-1/\lambda}

so that a standard normal :math:`|z|` becomes a generalised Pareto variable of tail index :math:`1 / \lambda`.

Reference:
    Hickling, Prangle (2024), Flexible tails for normalising flows, arXiv:2406.16971.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .logs import HALF_LOG_2PI

LOG_2 = math.log(2.0)
FAR = -80.0  # log-probability down to which single precision can represent the probability itself
LARGE = 4.0  # from here on the series of a ratio of gamma functions is exact to double precision
SHAPES = (1e-9, *(k / 20 for k in range(1, 21)))  # of tails from exponential ones to those without a mean


def lighten(y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """|z| of y >= 0, and log d|z|/dy; ``weight`` is lambda, positive."""
    E = (weight * y).log1p() / weight
    z = -log_ndtri(-LOG_2 - E)
    return z, -weight * E - _log_hazard(z)


def weigh_down(z: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """y of |z| >= 0, and log dy/d|z|: the inverse of :func:`lighten`."""
    E = -LOG_2 - torch.special.log_ndtr(-z)
    return (weight * E).expm1() / weight, weight * E + _log_hazard(z)


def _log_hazard(z: Tensor) -> Tensor:
    """log dE/dz = log of phi(z) / Phi(-z)."""
    return -0.5 * z.square() - HALF_LOG_2PI - torch.special.log_ndtr(-z)


def log_ndtri(log_p: Tensor) -> Tensor:
    """z with log Phi(z) = log_p, for log_p <= log(1/2), however small the probability.

    Far out it starts from Mills' ratio, log Phi(-t) ≈ -t^2 / 2 - log(t sqrt(2 pi)), and takes three Newton steps on the
    logarithm, which is nearly a parabola there.
    """
    near = torch.special.ndtri(log_p.clamp_min(FAR).exp())
    far = log_p.clamp_max(FAR)
    t = (-2 * far - 2 * HALF_LOG_2PI - (-2 * far).log()).sqrt()
    for _ in range(3):
        t = t + (torch.special.log_ndtr(-t) - far) * (-_log_hazard(t)).exp()
    return torch.where(log_p > FAR, near, -t)


def student_t(t: Tensor, df: Tensor) -> Tensor:
    r"""log p(t) of a Student-t.

    .. math:: \log\Gamma\Bigl(\frac{\nu + 1}{2}\Bigr) - \log\Gamma\Bigl(\frac{\nu}{2}\Bigr)
              - \tfrac12 \log \pi\nu - \frac{\nu + 1}{2} \log\Bigl(1 + \frac{t^2}{\nu}\Bigr)
    """
    return _half_step(0.5 * df) - 0.5 * (math.pi * df).log() - 0.5 * (df + 1) * (t.square() / df).log1p()


def _half_step(a: Tensor) -> Tensor:
    """log Gamma(a + 1/2) - log Gamma(a): for large a a difference of nearly equal numbers, hence by a series there.

    Reference: Tricomi, Erdélyi (1951), The asymptotic expansion of a ratio of gamma functions; DLMF 5.11.12.
    """
    small, b = a.clamp_max(LARGE), a.clamp_min(LARGE).reciprocal()
    exact = (small + 0.5).lgamma() - small.lgamma()
    series = -0.5 * b.log() - b / 8 + b**3 / 192 - b**5 / 640 + 17 * b**7 / 14336 - 31 * b**9 / 18432
    return torch.where(a < LARGE, exact, series)


def log_survival(log_t: Tensor, shape: float) -> Tensor:
    r"""log P(E > e) of a generalised Pareto variable of unit scale at :math:`e = -\log t`; near log t for shape 0."""
    return -(-shape * log_t).log1p() / shape


def shapes_learnt(log_t: Tensor, weight: Tensor | None = None) -> Tensor:
    r"""How likely each of SHAPES is after what rows have shown, ``(shapes,)``, in nats; before, all are alike.

    If tail probabilities t are what they say, :math:`E = -\log t` is exponential, of shape 0; where they are too small,
    its tail is heavier. The cells of a row go together, so that they count as one.

    Args:
        log_t: ``(n, cells)``; impossible ones, at -infinity, do not count.
        weight: How often each row counts, ``(n,)``.
    """
    seen = log_t.where(log_t.isfinite(), 0.0)
    log_p = torch.stack([(1 + shape) * log_survival(seen, shape).mean(1) for shape in SHAPES])
    return (log_p if weight is None else log_p * (weight / weight.mean())).sum(1).log_softmax(0)


def log_predictive(log_t: Tensor, log_weight: Tensor) -> Tensor:
    """log of tail probabilities averaged over the SHAPES that they may have, from :func:`shapes_learnt`."""
    each = [w + log_survival(log_t, shape) for w, shape in zip(log_weight, SHAPES, strict=True)]
    return torch.stack(each).logsumexp(0)


class Tail(NamedTuple):
    r"""How a monotone map goes on beyond its last point: its slope bends into another, and from there grows evenly.

    With t the distance from that point in z, and y the distance in x,

    .. math:: \frac{dy}{dt} = a + (s - a)\, t / b \text{ for } t \le b,\quad s + c\,(t - b) \text{ beyond},

    so y is a parabola of t on either side of b, with one slope at b, and both directions have closed forms:

    .. math:: y = s t + \tfrac c2 t^2,\qquad t = \frac{2 y}{s + r},\quad r = \sqrt{s^2 + 2 c y} = \frac{dy}{dt}

    Where z is normal, y has a normal tail if c = 0. Otherwise it has an exponential one of mean excess c: the hazard of
    a normal grows by nearly 1 with every unit of z.
    """

    start: Tensor  # a, the slope where it begins
    stretch: Tensor  # b > 0, of z, in which it bends
    slope: Tensor  # s > 0, from there on
    growth: Tensor  # c >= 0, of that slope

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


def generalized_pareto(x: Tensor) -> tuple[float, float]:
    r"""Shape k and scale sigma of the generalised Pareto distribution of positive exceedances x.

    .. math:: p(x) = \frac1\sigma \left(1 + k \frac{x}{\sigma}\right)^{-1/k - 1}

    The empirical Bayes estimate over a grid of :math:`b = -k/\sigma`, with a weak prior that pulls k towards 1/2.

    Args:
        x: Exceedances, one-dimensional, at least five values, the largest positive.

    Reference:
        Zhang, Stephens (2009), Technometrics 51(3); Vehtari et al. (2024), Pareto smoothed importance sampling,
        arXiv:1507.02646, appendix.
    """
    x = x.double().sort().values
    n = len(x)
    grid = 30 + int(n**0.5)
    quartile = x[int(n / 4 + 0.5) - 1].clamp_min(torch.finfo(x.dtype).tiny)
    j = torch.arange(1, grid + 1, dtype=x.dtype, device=x.device)
    b = 1 / x[-1] + (1 - (grid / (j - 0.5)).sqrt()) / (3 * quartile)
    k = torch.log1p(-b[:, None] * x).mean(1)
    profile = n * ((-b / k).log() - k - 1)  # log-likelihood of each b, maximised over the other parameter
    b = (profile.softmax(0) * b).sum()
    k = torch.log1p(-b * x).mean()
    return float((n * k + 10 * 0.5) / (n + 10)), float(-k / b)


def khat(log_weights: Tensor) -> float:
    """The shape k of the upper tail of importance weights; 0 if the largest agree to within 0.1 %.

    Below 0.5 the weights have finite variance, up to 0.7 estimates still converge at a practical rate, above that they
    are unreliable. Infinite if fewer than 25 weights leave no tail to fit, or if a weight is infinite or NaN.

    Args:
        log_weights: Logarithms of the weights, one-dimensional, up to a constant.

    Reference:
        Vehtari et al. (2024), arXiv:1507.02646.
    """
    n = len(log_weights)
    tail = int(min(0.2 * n, 3 * n**0.5))
    top = log_weights.double().sort().values[-tail - 1 :]
    if tail < 5 or not math.isfinite(top[-1]):  # NaN sorts last
        return math.inf
    weights = (top - top[-1]).exp()
    excess = weights[1:] - weights[0]
    if excess[-1] <= 1e-3:  # no tail, and the rest may be rounding
        return 0.0
    return generalized_pareto(excess)[0]
