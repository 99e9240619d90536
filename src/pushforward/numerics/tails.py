r"""Normal tails and power tails: the map between them, Student's t, and how heavy tails are by what rows show.

With :math:`E = -\log\bigl(2 \Phi(-|z|)\bigr)`, which is exponential where z is normal,

.. math:: y = \frac{e^{\lambda E} - 1}{\lambda},\qquad P(y > t) \sim (\lambda t)^{-1/\lambda}

so that a standard normal :math:`|z|` becomes a generalised Pareto variable of tail index :math:`1 / \lambda`.

Reference:
    Hickling, Prangle (2024), Flexible tails for normalising flows, arXiv:2406.16971.
"""

from __future__ import annotations

import math

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
