r"""Splines on [-bound, bound] besides that of :mod:`.spline`: linear, quadratic and cubic ones, and rational-quadratic
ones with free end slopes or on a circle.

Outside, the maps are linear with the slope at the end, which is 1 for a quadratic spline. Circular splines have no
outside. Parameters come first; all-zero parameters give the identity.

Reference:
    Müller et al. (2019), Neural Importance Sampling, arXiv:1808.03856 (linear, quadratic);
    Durkan, Bekasov, Murray, Papamakarios (2019), Cubic-Spline Flows, arXiv:1906.02145; Steffen (1990), A simple method
    for monotonic interpolation in one dimension; Rezende et al. (2020), Normalizing Flows on Tori and Spheres,
    arXiv:2002.02428 (circular).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from . import roots
from .spline import FLOOR, MIN_SLOPE, bin_of, positive, rational, shares

CUBIC_END = -math.log(2)  # three times the sigmoid of this is 1, the slope of the identity


def linear(x: Tensor, params: Tensor, bound: float, inverse: bool) -> tuple[Tensor, Tensor]:
    """The linear spline or its inverse, with its log-slope: K parameters, the heights of bins of equal width."""
    heights, tops = (part[0] for part in shares(params.unsqueeze(0), bound))
    bins, width = len(params), 2 * bound / len(params)

    def within(v: Tensor) -> tuple[Tensor, Tensor]:
        edges = tops[:-1] if inverse else _edges(bins, bound, v)
        index = (v >= edges).sum(0, keepdim=True)
        height, top = heights.gather(0, index)[0], tops.gather(0, index)[0]
        left, slope = index[0] * width - bound, height / width
        if inverse:
            return left + (v - (top - height)) / slope, -slope.log()
        return (top - height) + (v - left) * slope, slope.log()

    return linear_tails(within, x, bound)


def _edges(bins: int, bound: float, like: Tensor) -> Tensor:
    inner = torch.arange(1, bins, dtype=like.dtype, device=like.device) * (2 * bound / bins) - bound
    return inner.view(-1, *[1] * like.dim())


def quadratic(x: Tensor, params: Tensor, bound: float, inverse: bool) -> tuple[Tensor, Tensor]:
    """The quadratic spline, whose slope is linear between knots, or its inverse: K widths, K - 1 slopes; 1 at the ends.

    The inner slopes are scaled by a common factor, so that the slope averages 1.
    """
    bins = (len(params) + 1) // 2
    widths, ends = (part[0] for part in shares(params[:bins].unsqueeze(0), bound))
    inner, share = positive(params[bins:]), widths / (2 * bound)
    rest = (0.5 * (share[:-1] + share[1:]) * inner).sum(0, keepdim=True)
    ones = torch.ones_like(rest)
    slopes = torch.cat([ones, inner * ((1 - 0.5 * (share[:1] + share[-1:])) / rest), ones])
    tops = (0.5 * (slopes[:-1] + slopes[1:]) * widths).cumsum(0) - bound

    def within(v: Tensor) -> tuple[Tensor, Tensor]:
        index = (v >= (tops if inverse else ends)[:-1]).sum(0, keepdim=True)
        d0, d1 = slopes.gather(0, index)[0], slopes.gather(0, index + 1)[0]
        width, end, top = (part.gather(0, index)[0] for part in (widths, ends, tops))
        left, bottom = end - width, top - 0.5 * (d0 + d1) * width
        if inverse:  # the root of (d1 - d0) a² / 2 + d0 a = (v - bottom) / width that does not cancel
            rise = ((v - bottom) / width).clamp_min(0)
            a = 2 * rise / (d0 + (d0.square() + 2 * (d1 - d0) * rise).clamp_min(MIN_SLOPE**4).sqrt())
            return left + width * a, -torch.lerp(d0, d1, a).log()
        a = (v - left) / width
        return bottom + width * a * torch.lerp(d0, d1, 0.5 * a), torch.lerp(d0, d1, a).log()

    return linear_tails(within, x, bound)


def cubic(x: Tensor, params: Tensor, bound: float, inverse: bool) -> tuple[Tensor, Tensor]:
    """The monotone cubic spline or its inverse: K widths, K heights and the slopes of the two ends.

    Slopes at inner knots are Steffen's; a small multiple of the identity keeps the slope positive everywhere.
    """
    bins = len(params) // 2 - 1
    raw = params[: 2 * bins].unflatten(0, (2, bins))
    (widths, heights), _ = shares(raw, bound)
    slopes = _steffen(widths, heights / widths, params[2 * bins :])

    def within(v: Tensor, search: int = 0) -> tuple[Tensor, Tensor]:
        left, width, bottom, height, d0, d1 = bin_of(v, raw, slopes, bound, search)
        a, s = (v - left) / width, height / width
        y = bottom + width * a * (d0 + a * (3 * s - 2 * d0 - d1 + a * (d0 + d1 - 2 * s)))
        slope = d0 + a * (2 * (3 * s - 2 * d0 - d1) + 3 * a * (d0 + d1 - 2 * s))
        return torch.lerp(y, v, MIN_SLOPE), (MIN_SLOPE + (1 - MIN_SLOPE) * slope.clamp_min(0)).log()

    return roots.invert(lambda v: linear_tails(within, v, bound), x) if inverse else linear_tails(within, x, bound)


def _steffen(widths: Tensor, secants: Tensor, ends: Tensor) -> Tensor:
    """Slopes ``(K + 1, *shape)`` at the knots that keep cubics monotone; at most three times the secant at the ends."""
    before, after, w0, w1 = secants[:-1], secants[1:], widths[:-1], widths[1:]
    parabola = (before * w1 + after * w0) / (w0 + w1)
    inner = 2 * torch.minimum(torch.minimum(before, after), 0.5 * parabola)
    first, last = 3 * (ends + CUBIC_END).sigmoid() * torch.stack([secants[0], secants[-1]])
    return torch.cat([first[None], inner, last[None]])


def free(x: Tensor, params: Tensor, bound: float, inverse: bool, floor: float = FLOOR) -> tuple[Tensor, Tensor]:
    """The rational-quadratic spline with free slopes at its ends, or its inverse: K widths, K heights, K + 1 slopes."""
    bins = len(params) // 3
    raw, slopes = params[: 2 * bins].unflatten(0, (2, bins)), positive(params[2 * bins :])
    within = x.clamp(-bound, bound)
    y, log_slope = rational(within, raw, slopes, bound, floor, inverse)
    end = torch.where(x < 0, slopes[0], slopes[-1])  # exactly: both directions must use the very same slope
    beyond = (x - within) / end if inverse else (x - within) * end
    log_end = -end.log() if inverse else end.log()
    return y + beyond, torch.where(x == within, log_slope, log_end)


def circular(x: Tensor, params: Tensor, bound: float, inverse: bool, floor: float = FLOOR) -> tuple[Tensor, Tensor]:
    """The rational-quadratic spline on a circle [-bound, bound) after a rotation, or its inverse: K widths, K heights,
    K slopes, the first of which is shared by both ends, and the angle of the rotation."""
    bins = len(params) // 3
    raw, slopes, turn = params[: 2 * bins].unflatten(0, (2, bins)), positive(params[2 * bins : -1]), params[-1]
    slopes = torch.cat([slopes, slopes[:1]])
    if inverse:
        y, log_slope = rational(wrapped(x, bound), raw, slopes, bound, floor, True)
        return wrapped(y - turn, bound), log_slope
    y, log_slope = rational(wrapped(x + turn, bound), raw, slopes, bound, floor, False)
    return y.clamp(-bound, bound), log_slope  # rounding must not leave the circle's interval


def wrapped(x: Tensor, bound: float) -> Tensor:
    """The point of [-bound, bound) at x on the circle."""
    return (x + bound).remainder(2 * bound) - bound


def linear_tails(
    inner: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, bound: float, slope: float | None = None
) -> tuple[Tensor, Tensor]:
    """The map x to (z, log dz/dx) within [-bound, bound], extended linearly with its slopes at the ends, or with
    ``slope`` if that is known exactly."""
    within = x.clamp(-bound, bound)
    z, log_slope = inner(within)
    return z + (x - within) * (log_slope.exp() if slope is None else slope), log_slope
