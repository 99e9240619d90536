"""Log-densities of heavy-tailed numbers and of angles, numerically stable for all parameters."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGE = 4.0  # from here on the series below is exact to double precision


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


def von_mises(angle: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    r"""log p of an angle: :math:`a \cos x + b \sin x - \log 2\pi I_0(\kappa),\ \kappa = \sqrt{a^2 + b^2}`."""
    kappa = (cosine.square() + sine.square() + 1e-12).sqrt()  # keeps the gradient finite at 0
    log_norm = math.log(2 * math.pi) + torch.special.i0e(kappa).log() + kappa
    return cosine * angle.cos() + sine * angle.sin() - log_norm
