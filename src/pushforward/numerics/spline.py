r"""Monotone rational-quadratic splines with linear tails, as plain differentiable operations.

Inside [-bound, bound] the map is, on bin k with widths w, heights h and knot slopes d,

.. math:: y = y_k + \frac{h_k (s t^2 + d_k t (1-t))}{s + (d_{k+1} + d_k - 2 s)\, t (1-t)},\qquad
          t = (x - x_k) / w_k,\quad s = h_k / w_k

and outside it is the identity; the outermost slopes are 1, so the slope is continuous everywhere. Parameters come
first: K unnormalised widths, K heights, K - 1 inner slopes; zeros give the identity.

Reference:
    Durkan, Bekasov, Murray, Papamakarios (2019), Neural Spline Flows, arXiv:1906.04032, equations 4 to 8;
    Gregory, Delbourgo (1982).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_SLOPE = 1e-3
SLOPE_SHIFT = math.log(math.expm1(1 - MIN_SLOPE))  # softplus(SLOPE_SHIFT) + MIN_SLOPE = 1: zero parameters give slope 1

FLOOR = 1e-2  # of the width of a bin, and of its height unless another is given, relative to those of equal bins


def rational_quadratic(
    x: Tensor, params: Tensor, bound: float, inverse: bool, floor: float = FLOOR
) -> tuple[Tensor, Tensor]:
    """The spline or its inverse, with its log-slope, of the shape of x; ``params`` is ``(3K - 1, *x.shape)``."""
    bins, ones = (len(params) + 1) // 3, torch.ones_like(x).unsqueeze(0)
    slopes = torch.cat([ones, positive(params[2 * bins :]), ones])  # the tails have slope 1
    inside = x.abs() < bound
    clamped = x.clamp(-bound, bound)  # clamp, compute, then where: the tails must not produce NaN gradients
    y, log_slope = rational(clamped, params[: 2 * bins].unflatten(0, (2, bins)), slopes, bound, floor, inverse)
    return torch.where(inside, y, x), torch.where(inside, log_slope, 0.0)


def rational(
    v: Tensor, raw: Tensor, slopes: Tensor, bound: float, floor: float, inverse: bool
) -> tuple[Tensor, Tensor]:
    """The map within the bounds or its inverse, with its log-slope, from unnormalised sizes and all slopes."""
    left, width, bottom, height, d0, d1 = bin_of(v, raw, slopes, bound, int(inverse), floor)
    if inverse:
        return bin_inverse(v, left, width, bottom, height, d0, d1)[:2]
    return bin_map((v - left) / width, width, bottom, height, d0, d1)


def bin_map(t: Tensor, width: Tensor, bottom: Tensor, height: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor]:
    """Equations 4 and 5 within a bin, with one logarithm: y and log dy/dx."""
    s = height / width
    rise, denominator, steepness = _terms(t, s, d0, d1)
    return torch.addcmul(bottom, height, rise / denominator), ((s / denominator).square() * steepness).log()


def bin_inverse(
    y: Tensor, left: Tensor, width: Tensor, bottom: Tensor, height: Tensor, d0: Tensor, d1: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """x, log dx/dy and t = (x - left) / width within a bin."""
    t, s, d0, d1 = _root(y, width, bottom, height, d0, d1)
    _, denominator, steepness = _terms(t, s, d0, d1)
    log_slope = -((s / denominator).square() * steepness).log()
    t = t.to(y.dtype)
    return torch.addcmul(left, width, t), log_slope.to(y.dtype), t


def bin_solve(y: Tensor, left: Tensor, width: Tensor, bottom: Tensor, height: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
    """The x of :func:`bin_inverse` alone."""
    return torch.addcmul(left, width, _root(y, width, bottom, height, d0, d1)[0].to(y.dtype))


def _root(y: Tensor, width: Tensor, bottom: Tensor, height: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, ...]:
    """t, and s, d0 and d1 in the precision in which it was found.

    t starts at the root 2c / (-b - sqrt(disc)) of equation 6 and is then refined by Newton steps: that form never
    cancels, but with steep slopes the discriminant itself may. Single precision is solved in double, where one step
    suffices; double precision takes three.
    """
    single = y.dtype != torch.float64
    eta, s = (y - bottom) / height, height / width
    if single:
        eta, s, d0, d1 = eta.double(), s.double(), d0.double(), d1.double()
    b = torch.addcmul(d0, eta, d0 + d1 - 2 * s, value=-1)  # a t² + b t - c = 0 with a = s - b and c = s eta
    c = s * eta
    t = (2 * c / (b + torch.addcmul(b * b, s - b, c, value=4).clamp_min(0).sqrt())).clamp(0, 1)
    for _ in range(1 if single else 3):
        rise, denominator, steepness = _terms(t, s, d0, d1)
        excess = torch.addcmul(rise, eta, denominator, value=-1)
        t = (t - excess * denominator / (s * steepness)).clamp(0, 1)
    return t, s, d0, d1


def _terms(t: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Numerator and denominator of (y - bottom) / height, and dy/dx · denominator² / s²."""
    u = 1 - t
    tu = t * u
    rise = torch.addcmul(s * t * t, d0, tu)
    denominator = torch.addcmul(s, torch.sub(d0 + d1, s, alpha=2), tu)
    steepness = torch.addcmul(torch.addcmul(d1 * t * t, s, tu, value=2), d0 * u, u)
    return rise, denominator, steepness


def positive(raw: Tensor) -> Tensor:
    """Slopes that are 1 at 0."""
    return MIN_SLOPE + F.softplus(raw + SLOPE_SHIFT)


def bin_of(
    v: Tensor, raw: Tensor, slopes: Tensor, bound: float, search: int, floor: float = FLOOR
) -> tuple[Tensor, ...]:
    """The bin of v from unnormalised widths and heights ``(2, K, *shape)`` and all slopes ``(K + 1, *shape)``."""
    sizes, ends = shares(raw, bound, of_both(FLOOR, floor, raw).view(2, *[1] * (raw.dim() - 1)))
    index = (v >= ends[search, :-1]).sum(0, keepdim=True)  # 0 … K-1
    pair = index.expand(2, *index.shape)
    size = sizes.gather(1, pair).squeeze(1)
    start = ends.gather(1, pair).squeeze(1) - size
    d0, d1 = slopes.gather(0, index).squeeze(0), slopes.gather(0, index + 1).squeeze(0)
    return start[0], size[0], start[1], size[1], d0, d1


def of_both(width: float, height: float, like: Tensor) -> Tensor:
    """A constant for widths and one for heights, made in place, since a copy to a GPU would synchronise: ``(2,)``."""
    return torch.linspace(width, height, 2, dtype=like.dtype, device=like.device)


def shares(raw: Tensor, bound: float, floor: float | Tensor = FLOOR) -> tuple[Tensor, Tensor]:
    """Sizes and upper ends of K parts of [-bound, bound], from unnormalised sizes ``(…, K, *shape)`` whose second
    dimension is the bins; each has at least the share ``floor`` / K."""
    sizes = 2 * bound * (floor / raw.shape[1] + (1 - floor) * raw.softmax(1))
    return sizes, sizes.cumsum(1) - bound
