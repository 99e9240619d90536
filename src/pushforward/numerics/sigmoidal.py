r"""Mixtures of sigmoids, through the logit (deep sigmoidal flows) or through the normal quantile (Gaussianization).

With weights w that add up to one, slopes a > 0 and places m, the distribution function of a mixture of logistics and
its log-odds are

.. math:: y(x) = \sum_k w_k\, \sigma(a_k (x - m_k)),\qquad
    t(x) = (1 - \epsilon) \log \frac{y(x)}{1 - y(x)} + \epsilon x

t is linear far out, and the part :math:`\epsilon` of the identity keeps its slope positive between components that
are far apart. Both y and 1 - y are computed up to a factor that keeps them from underflow, so t is right to rounding on
the whole line.

Parameters come first: K log-weights, K log-slopes, K places, all relative to a mixture that is about logistic, or
normal; so with zeros the maps are close to the identity, and the components stand apart from each other.

Reference:
    Huang, Krueger, Lacoste, Courville (2018), Neural Autoregressive Flows, arXiv:1804.00779, equation 8;
    Meng, Song, Song, Ermon (2020), Gaussianization Flows, arXiv:2003.01941.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from . import roots
from .affine import soft_clamp
from .roots import wants_derivatives

LEAK = 1e-3  # epsilon
LIMIT = 4.0  # of the log-slopes, about their start
WEIGHT_LIMIT = 8.0  # of the log-weights: none underflows, so the sums below have a part that is not 0
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
NEAR = 60.0  # log-odds whose probability is a number in single precision


class Mixture(NamedTuple):
    """Weights, slopes and places, each ``(K, *shape)``."""

    weight: Tensor
    slope: Tensor
    place: Tensor


def logistic(params: Tensor) -> Mixture:
    """About the logistic distribution, which is one of narrower ones at places m of density
    sin(pi s) / (2 pi s (cosh m + cos pi s)) if these have the scale s."""
    step = 4 / math.sqrt(len(params) // 3)
    scale = min(0.6 * step, 0.7)
    return _mixture(params, step, lambda m: 1 / (math.cosh(m) + math.cos(math.pi * scale)), math.pi**2 / 3)


def normal(params: Tensor) -> Mixture:
    """About the normal distribution: places with normal weights, and logistics that make up for the variance."""
    step = 1.75 / math.sqrt(len(params) // 3)
    variance = max(1 - (0.4 * math.pi * step) ** 2 / 3, 0.05)
    return _mixture(params, step, lambda m: math.exp(-m * m / (2 * variance)), 1.0)


def _mixture(params: Tensor, step: float, density: Callable[[float], float], variance: float) -> Mixture:
    """With zeros for parameters: even places, weights that follow a density, and one slope, for a given variance."""
    K = len(params) // 3
    middle = (K - 1) / 2
    weights = [density(step * (k - middle)) for k in range(K)]
    spread = sum(weight * (step * (k - middle)) ** 2 for k, weight in enumerate(weights)) / sum(weights)
    start = math.pi / math.sqrt(3 * (variance - spread))  # a logistic of slope a has the variance pi² / (3 a²)
    column = [-1] + [1] * (params.dim() - 1)
    log_weight = torch.tensor([math.log(w) for w in weights], dtype=params.dtype, device=params.device).view(column)
    place = step * (torch.arange(K, dtype=params.dtype, device=params.device).view(column) - middle)
    raw_weight, raw_slope, raw_place = params.unflatten(0, (3, -1)).unbind()
    weight = (soft_clamp(raw_weight, WEIGHT_LIMIT) + log_weight).softmax(0)
    return Mixture(weight, soft_clamp(raw_slope, LIMIT).exp() * start, place + raw_place)


def log_odds(x: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """t and log dt/dx, of the shape of x."""
    weight, slope, place = mixture
    c = slope * (x - place)
    low = c.detach().amax(0).clamp_max(0)  # log y is about low where x is below all components,
    high = c.detach().amin(0).clamp_min(0)  # and log(1 - y) about -high where it is above all
    small = torch.where(low < 0, c - low, torch.where(high > 0, high - c, 0.0)).exp()
    up, down = c.sigmoid(), (-c).sigmoid()
    up, down = torch.where(low < 0, small * down, up), torch.where(high > 0, small * up, down)
    above, below = (weight * up).sum(0), (weight * down).sum(0)  # y exp(-low) and (1 - y) exp(high)
    t = above.log() - below.log() + (low + high)
    steepness = (weight * slope * up * down).sum(0) / (above * below)
    return (1 - LEAK) * t + LEAK * x, ((1 - LEAK) * steepness + LEAK).log()


def log_odds_inverse(t: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """x and log dx/dt, of the shape of t."""
    weight, slope, place = (part.detach() for part in mixture)
    slope = (1 - LEAK) * slope
    each = (t.detach() + slope * place) / (slope + LEAK)  # where each component alone would have the log-odds t
    ends = each.amin(0), each.amax(0)
    return roots.invert(lambda x: log_odds(x, mixture), t, start=(weight * each).sum(0), bracket=ends)


def quantile(t: Tensor) -> tuple[Tensor, Tensor]:
    """The normal quantile z of log-odds t, and log dz/dt, with derivatives up to the third."""
    derivatives = wants_derivatives()
    with torch.no_grad():
        given = t.detach()  # forward-mode derivatives pass through no_grad
        size = given.abs()
        near = -torch.special.ndtri((-size.clamp_max(NEAR)).sigmoid())
        far = (2 * size - (4 * math.pi * size.clamp_min(NEAR)).log()).clamp_min(1).sqrt()
        z = torch.where(size < NEAR, near, far).copysign(given)
        for _ in range(2):
            odds = _odds(z)
            z = z - (odds.t - given) * (-odds.log_slope).exp()
        odds = _odds(z)
        if not derivatives:
            return z, -odds.log_slope
        s, (h, h1, h2) = (-odds.log_slope).exp(), _bends(z, odds)
    d = (t - given) * s  # 0, with the gradients of t
    value = z + d * (1 - d * (h / 2 - d * (2 * h.square() - h1) / 6))
    bend = h - d * ((h.square() - h1) / 2 + d * (4 * h * h1 - h2 - 2 * h**3) / 6)
    return value, -odds.log_slope - d * bend


def quantile_inverse(z: Tensor) -> tuple[Tensor, Tensor]:
    r"""The log-odds t of a normal quantile z, and log dt/dz, with derivatives up to the third.

    .. math:: t = \log \Phi(z) - \log \Phi(-z),\quad \frac{dt}{dz} = \frac{\phi(z)}{\Phi(z)\, \Phi(-z)}
    """
    derivatives = wants_derivatives()
    with torch.no_grad():
        odds = _odds(z.detach())
        if not derivatives:
            return odds.t, odds.log_slope
        slope, (h, h1, h2) = odds.log_slope.exp(), _bends(z.detach(), odds)
    d = z - z.detach()
    t = odds.t + d * slope * (1 + d * (h / 2 + d * (h1 + h.square()) / 6))
    return t, odds.log_slope + d * (h + d * (h1 / 2 + d * h2 / 6))


class _Odds(NamedTuple):
    """t and log t' at some z; there, phi / Phi on the side of 0 and beyond."""

    t: Tensor
    log_slope: Tensor
    inner: Tensor
    outer: Tensor


def _odds(z: Tensor) -> _Odds:
    """All from the scaled complementary error function of abs(z), so that nothing underflows or cancels far out."""
    a = z.abs()
    mills = torch.special.erfcx(a * math.sqrt(0.5)) * math.sqrt(math.pi / 2)  # Phi(-a) / phi(a)
    density = (-0.5 * a.square()).exp() / math.sqrt(2 * math.pi)
    below = mills * density
    log_above = torch.log1p(-below)
    t = (log_above + 0.5 * a.square() + HALF_LOG_TWO_PI - mills.log()) * z.sign()
    return _Odds(t, -log_above - mills.log(), density / (1 - below), 1 / mills)


def _bends(z: Tensor, odds: _Odds) -> tuple[Tensor, Tensor, Tensor]:
    """The first three derivatives of log t'."""
    a, inner, outer = z.abs(), odds.inner, odds.outer
    inner1, outer1 = -inner * (a + inner), outer * (outer - a)  # derivatives by a
    inner2 = -inner1 * (a + 2 * inner) - inner
    outer2 = outer1 * (2 * outer - a) - outer
    return (outer - inner - a) * z.sign(), outer1 - inner1 - 1, (outer2 - inner2) * z.sign()
