"""The inverse of the spline of :mod:`pushforward.numerics.spline` for one number, in Python's double precision.

A single draw of an autoregressive flow inverts one number at a time. As tensors that takes sixty operators each; the
same arithmetic in Python takes a tenth of their time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import exp, log1p, sqrt

from ..numerics.spline import FLOOR, MIN_SLOPE, SLOPE_SHIFT

NEWTON_STEPS = 3  # in double precision; the discriminant of the start may cancel


def solve(y: float, params: Sequence[float], bound: float, floor: float) -> float:
    """x with y = spline(x), NaN if any size is; ``params`` are K widths, K heights and K - 1 slopes, unnormalised.

    Raises:
        ArithmeticError: parameters so extreme that a denominator is 0 or a number too large.
    """
    if not -bound < y < bound:
        return y
    bins = (len(params) + 1) // 3
    lefts, bottoms = _edges(params[:bins], bound, FLOOR), _edges(params[bins : 2 * bins], bound, floor)
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
    raw += SLOPE_SHIFT
    return MIN_SLOPE + max(raw, 0.0) + log1p(exp(-abs(raw)))


def _share(t: float) -> float:
    """t in [0, 1]; NaN stays."""
    return min(max(t, 0.0), 1.0)
