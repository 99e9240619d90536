"""Distributions of one number: their quantiles, if the distribution function is known, and their expectations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

MOST_STEPS, BISECT = 60, 3  # every third step halves the bracket, so that it shrinks whatever the shape of F
CLOSE = 1e-6  # in probability; single precision tells a little less than 1e-7
NODES, FARTHEST = 61, 5.0  # of a standard normal
NODES_OF_MANY = 15  # of each of several, whose sum is smooth


@torch.no_grad()
def quantile_between(cdf: Callable[[Tensor], Tensor], q: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """x with F(x) = q, element by element, by regula falsi (Illinois) and bisection.

    Args:
        cdf: F, non-decreasing.
        q: Probabilities of any shape.
        low, high: Where F is at most and at least q; finite.

    Reference:
        Dowell, Jarratt (1971), A modified regula falsi method for computing the root of an equation, BIT 11.
    """
    below, above = cdf(low) - q, cdf(high) - q
    nearer = below.abs() <= above.abs()
    x, off = torch.where(nearer, low, high), torch.where(nearer, below, above)
    for step in range(1, MOST_STEPS + 1):
        done = (off.abs() <= CLOSE) | (high - low <= 1e-12 * (low.abs() + high.abs()))
        if bool(done.all()):
            break
        slope = above - below
        secant = low - below * (high - low) / torch.where(slope > 0, slope, 1.0)
        middle = low + 0.5 * (high - low)
        halve = (slope <= 0) | (step % BISECT == 0) | (secant <= low) | (secant >= high)
        x = torch.where(done, x, torch.where(halve, middle, secant))
        off = torch.where(done, off, cdf(x) - q)
        left = (off < 0) & ~done
        right = ~left & ~done
        above = torch.where(right, off, torch.where(left & (below < 0), 0.5 * above, above))
        below = torch.where(left, off, torch.where(right & (above > 0), 0.5 * below, below))
        low, high = torch.where(left, x, low), torch.where(right, x, high)
    return x


def normal_nodes(like: Tensor, points: int = NODES) -> tuple[Tensor, Tensor]:
    """Points of a standard normal and their weights, both ``(points,)``: the trapezoidal rule, which is as good as
    exact for smooth functions; for others its errors are some hundredths of their jumps.

    Reference:
        Trefethen, Weideman (2014), The exponentially convergent trapezoidal rule, SIAM Review 56.
    """
    z = torch.linspace(-FARTHEST, FARTHEST, points).to(like)
    return z, (-0.5 * z.square()).softmax(0)
