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
from .logs import HALF_LOG_2PI
from .piecewise import linear_tails
from .torch_internals import transformed

LEAK = 1e-3  # epsilon
LIMIT = 4.0  # of the log-slopes, around their start
WEIGHT_LIMIT = 8.0  # of the log-weights: none underflows, so the sums below are never 0
FAR = 12.0  # a normal quantile whose probability, about 2e-33, is representable in any dtype; linear beyond
FAR_ODDS = -math.log(0.5 * math.erfc(FAR * math.sqrt(0.5)))
FAR_SLOPE = math.exp(0.5 * FAR**2 + HALF_LOG_2PI - FAR_ODDS)  # dz/dt there


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
    """The normal quantile z of log-odds t, linear beyond :data:`FAR`, and log dz/dt. ``near``: whether all t are known
    to be within :data:`FAR_ODDS`."""
    return _quantile(t) if near else linear_tails(_quantile, t, FAR_ODDS, FAR_SLOPE)


def _quantile(t: Tensor) -> tuple[Tensor, Tensor]:
    if torch.compiler.is_compiling() or transformed():  # differentiable at 0 as it stands, though slower
        low = t < 0
        z, log_slope = _lower_quantile(torch.where(low, t, -t))
        return torch.where(low, z, -z), log_slope
    if torch.is_grad_enabled():
        return _Quantile.apply(t)  # type: ignore[no-any-return]
    z, log_slope = _lower_quantile(-t.abs())
    return z.copysign(t), log_slope


def _lower_quantile(t: Tensor) -> tuple[Tensor, Tensor]:
    r"""z of t <= 0, and :math:`dz/dt = \sigma(t)\, \sigma(-t) / \phi(z)`: the smaller probability keeps its digits."""
    p = t.sigmoid()
    z = torch.special.ndtri(p)
    return z, torch.addcmul((p - p.square()).log(), z, z, value=0.5) + HALF_LOG_2PI


class _Quantile(torch.autograd.Function):
    r"""With :math:`s = dz/dt`, :math:`d \log s / dt = s z - \tanh(t / 2)`: derivatives need the values alone."""

    @staticmethod
    def forward(ctx: Any, t: Tensor) -> tuple[Tensor, Tensor]:
        z, log_slope = _lower_quantile(-t.abs())
        z = z.copysign(t)
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


def quantile_inverse(z: Tensor) -> tuple[Tensor, Tensor]:
    r"""The log-odds t of a normal quantile z, linear beyond :data:`FAR`, and log dt/dz.

    .. math:: t = \log \Phi(z) - \log \Phi(-z),\quad \frac{dt}{dz} = \frac{\phi(z)}{\Phi(z)\, \Phi(-z)}
    """
    return linear_tails(_quantile_inverse, z, FAR, 1 / FAR_SLOPE)


def _quantile_inverse(z: Tensor) -> tuple[Tensor, Tensor]:
    above, below = torch.special.erfc(-z * math.sqrt(0.5)).log(), torch.special.erfc(z * math.sqrt(0.5)).log()
    return above - below, math.log(4) - HALF_LOG_2PI - 0.5 * z.square() - above - below


def near_odds(z: Tensor) -> Tensor:
    """The t of :func:`quantile_inverse` within :data:`FAR`, without derivatives."""
    z = z * math.sqrt(0.5)
    return torch.special.erfc(-z).div_(torch.special.erfc(z)).log_()
