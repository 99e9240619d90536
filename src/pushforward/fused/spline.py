r"""The spline of :mod:`pushforward.numerics.spline` in few passes over memory, with a hand-written gradient.

A spline spends its time in passes over the 3K - 1 parameter planes. Here they are ``(features, 3K - 1, n)``, so each is
contiguous over the batch; the least size is given only to the one bin of K that has been picked, and only two of the
K - 1 slopes go through a softplus. The gradient with respect to all parameters follows from six numbers per point.

A single draw of an autoregressive flow inverts one number at a time. As tensors that takes sixty operators each; the
same arithmetic in Python, in double precision, takes a tenth of their time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import exp, log1p, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from ..numerics import spline

LARGE = 1 << 16  # numbers, from which on sums over bins are faster as one operator per bin
NEWTON_STEPS = 3  # for one number, in double precision; the discriminant of the start may cancel


class _Bin(NamedTuple):
    """The bin of each point, each field ``(features, n)``."""

    index: Tensor  # type: ignore[assignment]  # (features, 1, n)
    left: Tensor
    width: Tensor
    bottom: Tensor
    height: Tensor
    d0: Tensor
    d1: Tensor
    raw_slopes: Tensor  # (features, 2, n)


class KeptSpline(NamedTuple):
    """Kept for the gradient: where each point lies in its bin, which points the spline moves, the bins, and the shares
    of all bins."""

    inverse: bool
    t: Tensor
    inside: Tensor
    bins: _Bin
    shares: Tensor


def evaluate(
    v: Tensor,
    params: Tensor,
    bound: float,
    floor: float,
    inverse: bool,
    into: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, KeptSpline]:
    """The mapped plane and its log-slopes, ``(features, n)``, in new memory or written ``into`` two planes; ``params``
    is ``(features, 3K - 1, n)``, contiguous."""
    inside = v.abs() < bound
    clamped = v.clamp(-bound, bound)
    found, shares = _find(clamped, params, bound, floor, int(inverse))
    _, left, width, bottom, height, d0, d1, _ = found
    if inverse:
        value, log_slope, t = spline.bin_inverse(clamped, left, width, bottom, height, d0, d1)
    else:
        t = (clamped - left).div_(width)
        value, log_slope = spline.bin_map(t, width, bottom, height, d0, d1)
    kept = KeptSpline(inverse, t, inside, found, shares)
    out, slope = (value, log_slope) if into is None else into
    return torch.where(inside, value, v, out=out), torch.mul(log_slope, inside, out=slope), kept


def solve(y: Tensor, params: Tensor, bound: float, floor: float) -> Tensor:
    """The x of :func:`evaluate` with ``inverse`` alone."""
    clamped = y.clamp(-bound, bound)
    found, _ = _find(clamped, params, bound, floor, 1)
    x = spline.bin_solve(clamped, found.left, found.width, found.bottom, found.height, found.d0, found.d1)
    return torch.where(y.abs() < bound, x, y)


def vjp(kept: KeptSpline, value_grad: Tensor, slope_grad: Tensor, bound: float, floor: float, out: Tensor) -> Tensor:
    """The gradient of v from those of the mapped plane and the log-slopes; that of the parameters is written to
    ``out``."""
    value_in, slope_in = value_grad * kept.inside, slope_grad * kept.inside
    v_grad, point_grads = _point_grads(kept.t, kept.bins, value_in, slope_in, kept.inverse)
    _params_grad(out, kept, point_grads, bound, floor)
    return torch.where(kept.inside, v_grad, value_grad)


def _find(v: Tensor, params: Tensor, bound: float, floor: float, search: int) -> tuple[_Bin, Tensor]:
    """The bin of each point of v, ``(features, n)``, among the widths (``search`` 0) or the heights (1); and the shares
    ``(features, 2, K, n)``, of which each size is a least one and a multiple."""
    features, count, n = params.shape
    bins = (count + 1) // 3
    raw, inner = params.split([2 * bins, bins - 1], 1)
    shares = raw.view(features, 2, bins, n).softmax(2)
    sums, (least, unit) = _summed(shares), _sizes(bins, bound, floor, v)
    # A point lies beyond bin k if (v + bound) / unit - sum_k >= (k + 1) ratio, where ratio is least / unit.
    ratio = (floor if search else spline.FLOOR) / bins
    ratio /= 1 - bins * ratio
    ends = torch.linspace(ratio, (bins - 1) * ratio, bins - 1, dtype=v.dtype, device=v.device).unsqueeze(1)
    goal = (v + bound).div_(unit[search]).unsqueeze(1)
    passed = (goal - sums.select(1, search).narrow(1, 0, bins - 1)).ge_(ends).sum(1, keepdim=True)
    index = passed.long()
    pair = index.unsqueeze(1).expand(features, 2, 1, n)
    share = shares.gather(2, pair).squeeze(2)
    size = torch.addcmul(least, share, unit)
    start = sums.gather(2, pair).squeeze(2).sub_(share).mul_(unit).addcmul_(passed, least).sub_(bound)
    around = torch.cat([index - 1, index], 1)
    raw_slopes = inner.gather(1, around.clamp(0, bins - 2)).add_(spline.SLOPE_SHIFT)
    slopes = torch.nn.functional.softplus(raw_slopes).add_(spline.MIN_SLOPE)
    slopes.masked_fill_((around < 0).logical_or_(around > bins - 2), 1.0)  # the tails have slope 1
    (left, bottom), (width, height), (d0, d1) = start.unbind(1), size.unbind(1), slopes.unbind(1)
    return _Bin(index, left, width, bottom, height, d0, d1, raw_slopes), shares


def _summed(shares: Tensor) -> Tensor:
    """Running sums over the bins, ``(features, 2, K, n)``; PyTorch's own go number by number."""
    if shares.numel() < LARGE:
        return shares.cumsum(2)
    sums = torch.empty_like(shares)
    (total, *totals), (first, *others) = sums.unbind(2), shares.unbind(2)
    total.copy_(first)
    for after, share in zip(totals, others, strict=True):
        total = torch.add(total, share, out=after)
    return sums


def _sizes(bins: int, bound: float, floor: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """The least size of a bin, and the size of a share of 1 beyond it, for widths and for heights: ``(2, 1)`` each."""
    whole = 2 * bound
    least = spline.of_both(whole / bins * spline.FLOOR, whole / bins * floor, like)
    unit = spline.of_both(whole * (1 - spline.FLOOR), whole * (1 - floor), like)
    return least.unsqueeze(1), unit.unsqueeze(1)


def _point_grads(
    t: Tensor, found: _Bin, value_grad: Tensor, slope_grad: Tensor, inverse: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Gradients of the argument and of left, width, bottom, height, d0, d1 at every point.

    Derivatives of y and l = log dy/dx with respect to t, s = h / w, d0, d1 and h; the inverse x(y) has
    dx = (dy - y_p dp) / y_x and -l depends on x, so its gradient is the forward one with different weights.
    """
    width, height, d0, d1 = found.width, found.height, found.d0, found.d1
    s, u = height / width, 1 - t
    tu = t * u
    delta = d0 + d1 - 2 * s
    den = s + delta * tu
    rho = (s * t * t + d0 * tu) / den  # (y - bottom) / height
    q = d1 * t * t + 2 * s * tu + d0 * u * u  # dy/dx = s² q / den²
    bend = 1 - 2 * t
    dl_dt = (2 * (d1 * t + s * bend - d0 * u)) / q - 2 * delta * bend / den
    dy_dx = (s / den).square() * q
    if inverse:
        slope_grad = -slope_grad
        whole = torch.addcdiv(value_grad, slope_grad * dl_dt, width)  # total gradient of x: directly, and through -l
        argument_grad = whole / dy_dx
        value_grad = -argument_grad
    two_tu = 2 * tu / den
    factor = value_grad * height * tu / den  # dy/dd0 = h tu (1 - rho) / den, dy/dd1 = -h tu rho / den
    d0_grad = factor * (1 - rho) + slope_grad * (u * u / q - two_tu)
    d1_grad = slope_grad * (t * t / q - two_tu) - factor * rho
    s_grad = value_grad * height * (t * t - rho * (1 - 2 * tu)) / den
    s_grad += slope_grad * (2 / s + 2 * tu / q - 2 * (1 - 2 * tu) / den)
    t_grad = value_grad * dy_dx * width + slope_grad * dl_dt
    if not inverse:
        argument_grad = t_grad / width
    left_grad = -t_grad / width
    width_grad = -(t_grad * t + s_grad * s) / width
    height_grad = value_grad * rho + s_grad / width
    return argument_grad, (left_grad, width_grad, value_grad, height_grad, d0_grad, d1_grad)


def _params_grad(out: Tensor, kept: KeptSpline, point_grads: tuple[Tensor, ...], bound: float, floor: float) -> None:
    """The gradient of all 3K - 1 planes, from the six gradients of each point's bin."""
    features, count, n = out.shape
    bins, found = (count + 1) // 3, kept.bins
    left_grad, width_grad, bottom_grad, height_grad, d0_grad, d1_grad = point_grads
    # An edge moves with all sizes before it: size k gets edge_grad if k < index, size_grad if k = index, else 0.
    edge_grad = torch.stack([left_grad, bottom_grad], 1)[:, :, None]
    size_grad = torch.stack([width_grad, height_grad], 1)[:, :, None]
    least, unit = (sizes.unsqueeze(-1) for sizes in _sizes(bins, bound, floor, out))
    start = torch.stack([found.left, found.bottom], 1)[:, :, None] + bound
    start.sub_(found.index[:, None] * least)
    size = torch.stack([found.width, found.height], 1)[:, :, None] - least
    mean = (edge_grad * start).addcmul_(size_grad, size).neg_()  # the softmax's mean of the gradient of the shares
    before = torch.arange(bins, device=out.device)[:, None] < found.index  # (features, K, n)
    sizes = out[:, : 2 * bins].unflatten(1, (2, bins))
    torch.where(before[:, None], torch.addcmul(mean, edge_grad, unit), mean, out=sizes)
    pair = found.index[:, None].expand(features, 2, 1, n)
    sizes.scatter_add_(2, pair, size_grad * unit)
    sizes.mul_(kept.shares)
    slopes = out[:, 2 * bins :].zero_()
    through, index = torch.sigmoid(found.raw_slopes), found.index[:, 0]
    left, right = d0_grad * through[:, 0] * (index > 0), d1_grad * through[:, 1] * (index < bins - 1)
    slopes.scatter_add_(1, (found.index - 1).clamp_min(0), left[:, None])
    slopes.scatter_add_(1, found.index.clamp_max(bins - 2), right[:, None])


def solve_number(y: float, params: Sequence[float], bound: float, floor: float) -> float:
    """x with y = spline(x), of one number, NaN if any size is; ``params`` are K widths, K heights and K - 1 slopes,
    unnormalised.

    Raises:
        ArithmeticError: parameters so extreme that a denominator is 0 or a number too large.
    """
    if not -bound < y < bound:
        return y
    bins = (len(params) + 1) // 3
    lefts, bottoms = _edges(params[:bins], bound, spline.FLOOR), _edges(params[bins : 2 * bins], bound, floor)
    k = bisect_right(bottoms, y, 1, bins) - 1
    width, height = lefts[k + 1] - lefts[k], bottoms[k + 1] - bottoms[k]
    d0 = _slope(params[2 * bins + k - 1]) if k else 1.0  # the tails have slope 1
    d1 = _slope(params[2 * bins + k]) if k < bins - 1 else 1.0
    return lefts[k] + width * _root((y - bottoms[k]) / height, height / width, d0, d1)


def _root(eta: float, s: float, d0: float, d1: float) -> float:
    """Where in a bin of secant s the map has risen by the share eta of its height."""
    delta = d0 + d1 - 2 * s
    b, c = d0 - eta * delta, s * eta  # (s - b) t² + b t - c = 0
    t = _share(2 * c / (b + sqrt(max(b * b + 4 * (s - b) * c, 0.0))))
    for _ in range(NEWTON_STEPS):
        u = 1 - t
        denominator = s + delta * t * u
        excess = s * t * t + d0 * t * u - eta * denominator
        t = _share(t - excess * denominator / (s * (d1 * t * t + 2 * s * t * u + d0 * u * u)))
    return t


def _edges(raw: Sequence[float], bound: float, floor: float) -> list[float]:
    """The K + 1 edges of the bins."""
    largest = max(raw)
    powers = [exp(number - largest) for number in raw]
    least, unit = 2 * bound * floor / len(raw), 2 * bound * (1 - floor) / sum(powers)
    return list(accumulate((least + unit * power for power in powers), initial=-bound))


def _slope(raw: float) -> float:
    raw += spline.SLOPE_SHIFT
    return spline.MIN_SLOPE + max(raw, 0.0) + log1p(exp(-abs(raw)))


def _share(t: float) -> float:
    """t in [0, 1]; NaN stays."""
    return min(max(t, 0.0), 1.0)
