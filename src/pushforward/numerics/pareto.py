"""The tail of importance weights: a generalised Pareto fit, whose shape k tells how many moments the weights have."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
