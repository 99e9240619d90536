r"""Mixtures of sigmoids, through the logit (deep sigmoidal flows) or through the normal quantile (Gaussianization).

With weights w that add up to one, slopes a > 0 and places m, the distribution function of a mixture of logistics and
its log-odds are

.. math:: y(x) = \sum_k w_k\, \sigma(a_k (x - m_k)),\qquad
    t(x) = (1 - \epsilon) \log \frac{y(x)}{1 - y(x)} + \epsilon x

t is linear far out, and the identity term with weight :math:`\epsilon` keeps its slope positive between components that
are far apart. Both y and 1 - y are computed up to a factor that prevents underflow, so t is exact to rounding on the
whole line.

The normal quantile z of log-odds grows like their square root, so its inverse squares outliers, and a few layers would
overflow every floating-point type. So both are linear beyond z = 12, where probabilities are below 2e-33.

Parameters come first: K log-weights, K log-slopes, K places, all relative to a mixture that is approximately logistic,
or normal; so all-zero parameters give maps close to the identity, with distinct components.

Reference:
    Huang, Krueger, Lacoste, Courville (2018), Neural Autoregressive Flows, arXiv:1804.00779, equation 8;
    Meng, Song, Song, Ermon (2020), Gaussianization Flows, arXiv:2003.01941.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import roots
from .affine import soft_clamp
from .linear_tails import linear_tails
from .roots import wants_derivatives
from .torch_internals import transformed

LEAK = 1e-3  # epsilon
LIMIT = 4.0  # of the log-slopes, around their start
WEIGHT_LIMIT = 8.0  # of the log-weights: none underflows, so the sums below are never 0
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
FAR = 12.0  # a normal quantile whose probability, about 2e-33, is representable in any dtype; linear beyond
FAR_ODDS = -math.log(0.5 * math.erfc(FAR * math.sqrt(0.5)))
FAR_SLOPE = math.exp(0.5 * FAR**2 + HALF_LOG_TWO_PI - FAR_ODDS)  # dz/dt there


class LogisticMixture(NamedTuple):
    """Weights, slopes and places, each ``(K, *shape)``."""

    weight: Tensor
    slope: Tensor
    place: Tensor


class Start(NamedTuple):
    """What parameters ``(3K, *shape)`` are relative to: limits (infinite for places), and the values at zero."""

    limits: Tensor
    values: Tensor


def logistic(params: Tensor) -> LogisticMixture:
    """Approximately the logistic distribution, which is a mixture of narrower logistics of scale s whose places m have
    the density sin(pi s) / (2 pi s (cosh m + cos pi s))."""
    K = len(params) // 3
    step = 4 / math.sqrt(K)
    scale = min(0.6 * step, 0.7)
    start = _start(K, step, lambda m: 1 / (math.cosh(m) + math.cos(math.pi * scale)), math.pi**2 / 3, params)
    return mixture(params, start)


def normal(params: Tensor) -> LogisticMixture:
    """Approximately the normal distribution: places with normal weights, and logistics for the rest of the variance."""
    return mixture(params, normal_start(len(params) // 3, params))


def normal_start(K: int, like: Tensor) -> Start:
    """The start of :func:`normal`, for parameters like ``like``."""
    step = 1.75 / math.sqrt(K)
    variance = max(1 - (0.4 * math.pi * step) ** 2 / 3, 0.05)
    return _start(K, step, lambda m: math.exp(-m * m / (2 * variance)), 1.0, like)


def mixture(params: Tensor, start: Start) -> LogisticMixture:
    """The mixture with parameters ``(3K, *shape)``."""
    weight, slope, place = (soft_clamp(params, start.limits) + start.values).chunk(3)
    return LogisticMixture(weight.softmax(0), slope.exp(), place)


def _start(K: int, step: float, density: Callable[[float], float], variance: float, like: Tensor) -> Start:
    """Evenly spaced places, weights that follow a density, and one slope, for a given variance."""
    places = [step * (k - (K - 1) / 2) for k in range(K)]
    weights = [density(place) for place in places]
    spread = sum(weight * place**2 for weight, place in zip(weights, places, strict=True)) / sum(weights)
    slope = math.pi / math.sqrt(3 * (variance - spread))  # a logistic of slope a has the variance pi² / (3 a²)
    limits = [WEIGHT_LIMIT] * K + [LIMIT] * K + [math.inf] * K
    values = [*map(math.log, weights), *[math.log(slope)] * K, *places]
    both = torch.tensor([limits, values], dtype=like.dtype, device=like.device)
    return Start(*both.view(2, -1, *[1] * (like.dim() - 1)))


def log_odds(x: Tensor, mixture: LogisticMixture) -> tuple[Tensor, Tensor]:
    """t and log dt/dx, of the shape of x."""
    weight, slope, place = mixture
    c = slope * (x - place)
    low = c.detach().amax(0).clamp_max(0)  # log y is about low if x is below all components,
    high = c.detach().amin(0).clamp_min(0)  # and log(1 - y) about -high if it is above all
    far = -0.45 * math.log(torch.finfo(x.dtype).tiny)  # beyond, a component's contribution is negligible
    grown = (c - (low + high)).clamp(-far, far).exp()
    down = torch.addcmul((-high).exp(), grown, low.exp()).reciprocal()  # sigmoid(-c) exp(high)
    rest = weight * down
    share = rest * grown  # of a component in y exp(-low); rest is that in (1 - y) exp(high)
    above, below = share.sum(0), rest.sum(0)
    steep = (slope * share * down).sum(0)
    t = above.log() - below.log() + (low + high)
    return torch.lerp(t, x, LEAK), ((1 - LEAK) * steep / (above * below) + LEAK).log()


def log_odds_inverse(t: Tensor, mixture: LogisticMixture) -> tuple[Tensor, Tensor]:
    """x and log dx/dt, of the shape of t."""
    x = log_odds_solve(t, mixture)
    return x, -log_odds(x, mixture)[1]


def log_odds_solve(t: Tensor, mixture: LogisticMixture, start: Tensor | None = None) -> Tensor:
    """The x of :func:`log_odds_inverse` alone, from an arbitrary start."""
    _, slope, place = mixture

    def around(t: Tensor) -> tuple[Tensor, Tensor]:
        steep = (1 - LEAK) * slope
        each = (t + steep * place) / (steep + LEAK)  # where each component by itself has the log-odds t
        return each.amin(0), each.amax(0)

    return roots.solve(lambda x: log_odds(x, mixture), t, around=around, start=start)


def quantile(t: Tensor, *, near: bool = False) -> tuple[Tensor, Tensor]:
    """The normal quantile z of log-odds t, linear beyond :data:`FAR`, and log dz/dt, with derivatives up to the third;
    of any order outside compilers and ``torch.func``. ``near``: whether all t are known to be within
    :data:`FAR_ODDS`."""
    return _quantile(t) if near else linear_tails(_quantile, t, FAR_ODDS, FAR_SLOPE)


def _quantile(t: Tensor) -> tuple[Tensor, Tensor]:
    if torch.is_grad_enabled() and t.requires_grad and not (torch.compiler.is_compiling() or transformed()):
        return _Quantile.apply(t)  # type: ignore[no-any-return]
    derivatives = wants_derivatives()
    with torch.no_grad():
        given = t.detach()  # forward-mode derivatives pass through no_grad
        z, log_slope = _quantile_values(given)
        if not derivatives:
            return z, log_slope
        s, (h, h1, h2) = log_slope.exp(), _bends(z, _odds(z))
    d = (t - given) * s  # 0, with the gradients of t
    value = z + d * (1 - d * (h / 2 - d * (2 * h.square() - h1) / 6))
    bend = h - d * ((h.square() - h1) / 2 + d * (4 * h * h1 - h2 - 2 * h**3) / 6)
    return value, log_slope - d * bend


class _Quantile(torch.autograd.Function):
    r"""With :math:`s = dz/dt`, :math:`d \log s / dt = s z - \tanh(t / 2)`: derivatives need the values alone."""

    @staticmethod
    def forward(ctx: Any, t: Tensor) -> tuple[Tensor, Tensor]:
        z, log_slope = _quantile_values(t)
        ctx.save_for_backward(t, z, log_slope)
        ctx.save_for_forward(t, z, log_slope)
        return z, log_slope

    @staticmethod
    def backward(ctx: Any, to_z: Tensor, to_slope: Tensor) -> Tensor:
        t, z, log_slope = ctx.saved_tensors
        s = log_slope.exp()
        return to_z * s + to_slope * (s * z - (t / 2).tanh())

    @staticmethod
    def jvp(ctx: Any, by: Tensor) -> tuple[Tensor, Tensor]:
        t, z, log_slope = ctx.saved_tensors
        s = log_slope.exp()
        return by * s, by * (s * z - (t / 2).tanh())


def _quantile_values(t: Tensor) -> tuple[Tensor, Tensor]:
    r"""From :math:`dz/dt = \sigma(t)\, \sigma(-t) / \phi(z)`, from the smaller of the two probabilities."""
    p = (-t.abs()).sigmoid()
    z = torch.special.ndtri(p)
    log_slope = torch.addcmul((p - p.square()).log(), z, z, value=0.5) + HALF_LOG_TWO_PI
    return z.copysign(t), log_slope


def quantile_inverse(z: Tensor) -> tuple[Tensor, Tensor]:
    r"""The log-odds t of a normal quantile z, linear beyond :data:`FAR`, and log dt/dz, with three derivatives.

    .. math:: t = \log \Phi(z) - \log \Phi(-z),\quad \frac{dt}{dz} = \frac{\phi(z)}{\Phi(z)\, \Phi(-z)}
    """
    return linear_tails(_quantile_inverse, z, FAR, 1 / FAR_SLOPE)


def _quantile_inverse(z: Tensor) -> tuple[Tensor, Tensor]:
    derivatives = wants_derivatives()
    with torch.no_grad():
        given = z.detach()
        odds = _odds(given)
        t = (odds.log_above + 0.5 * given.square() + HALF_LOG_TWO_PI - odds.log_mills) * given.sign()
        if not derivatives:
            return t, odds.log_slope
        slope, (h, h1, h2) = odds.log_slope.exp(), _bends(given, odds)
    d = z - given
    t = t + d * slope * (1 + d * (h / 2 + d * (h1 + h.square()) / 6))
    return t, odds.log_slope + d * (h + d * (h1 / 2 + d * h2 / 6))


def near_odds(z: Tensor) -> Tensor:
    """The t of :func:`quantile_inverse` within :data:`FAR`, without derivatives."""
    z = z * math.sqrt(0.5)
    return torch.special.erfc(-z).div_(torch.special.erfc(z)).log_()


class _Odds(NamedTuple):
    """At z: log Phi on the side of 0, log(Phi / phi) on the other, log t', and phi / Phi on both sides."""

    log_above: Tensor
    log_mills: Tensor
    log_slope: Tensor
    inner: Tensor
    outer: Tensor


def _odds(z: Tensor) -> _Odds:
    """Computed from the scaled complementary error function of abs(z), without underflow or cancellation far out."""
    a = z.abs()
    mills = torch.special.erfcx(a * math.sqrt(0.5)) * math.sqrt(math.pi / 2)  # Phi(-a) / phi(a)
    density = (-0.5 * a.square()).exp() / math.sqrt(2 * math.pi)
    below = mills * density
    log_above, log_mills = torch.log1p(-below), mills.log()
    return _Odds(log_above, log_mills, -log_above - log_mills, density / (1 - below), 1 / mills)


def _bends(z: Tensor, odds: _Odds) -> tuple[Tensor, Tensor, Tensor]:
    """The first three derivatives of log t'."""
    a, inner, outer = z.abs(), odds.inner, odds.outer
    inner1, outer1 = -inner * (a + inner), outer * (outer - a)  # derivatives with respect to a
    inner2 = -inner1 * (a + 2 * inner) - inner
    outer2 = outer1 * (2 * outer - a) - outer
    return (outer - inner - a) * z.sign(), outer1 - inner1 - 1, (outer2 - inner2) * z.sign()
