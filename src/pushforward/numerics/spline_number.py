"""The inverse of the spline of :mod:`.spline` for one number, in Python's own double precision.

Drawing one row from an autoregressive flow inverts one number at a time. As tensors these are sixty starts of operators
for each; in plain Python the same arithmetic takes a tenth of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log1p, sqrt

from .spline import MIN_SLOPE, SLOPE_SHIFT, min_share


def solve(y: float, params: Sequence[float], bound: float) -> float:
    """x with y = spline(x); ``params`` holds K widths, K heights and K - 1 slopes, unnormalised. NaN where any of the
    sizes is.

    Raises:
        ArithmeticError: parameters so extreme that a denominator is 0 or a number too large.
    """
    if not -bound < y < bound:
        return y
    bins = (len(params) + 1) // 3
    ends, heights = _ends(params[bins : 2 * bins], bound)
    k = 0
    while k < bins - 1 and y >= ends[k]:
        k += 1
    lefts, widths = _ends(params[:bins], bound)
    width, height = widths[k], heights[k]
    d0 = _slope(params[2 * bins + k - 1]) if k else 1.0  # the tails have slope 1
    d1 = _slope(params[2 * bins + k]) if k < bins - 1 else 1.0
    s, eta = height / width, 1 - (ends[k] - y) / height
    delta = d0 + d1 - 2 * s
    b, c = d0 - eta * delta, s * eta  # (s - b) t² + b t - c = 0
    t = _share(2 * c / (b + sqrt(max(b * b + 4 * (s - b) * c, 0.0))))
    for _ in range(3):  # Newton: the discriminant may cancel
        u = 1 - t
        denominator = s + delta * t * u
        excess = s * t * t + d0 * t * u - eta * denominator
        t = _share(t - excess * denominator / (s * (d1 * t * t + 2 * s * t * u + d0 * u * u)))
    return lefts[k] - width * (1 - t)


def _ends(raw: Sequence[float], bound: float) -> tuple[list[float], list[float]]:
    """Where each bin ends in [-bound, bound], and its size."""
    floor, largest = min_share(len(raw)), max(raw)
    powers = [exp(number - largest) for number in raw]
    unit = 2 * bound * (1 - len(raw) * floor) / sum(powers)
    sizes = [2 * bound * floor + unit * power for power in powers]
    ends, end = [], -bound
    for size in sizes:
        end += size
        ends.append(end)
    return ends, sizes


def _slope(raw: float) -> float:
    raw += SLOPE_SHIFT
    return MIN_SLOPE + max(raw, 0.0) + log1p(exp(-abs(raw)))


def _share(t: float) -> float:
    """t in [0, 1]; NaN stays."""
    return min(max(t, 0.0), 1.0)
