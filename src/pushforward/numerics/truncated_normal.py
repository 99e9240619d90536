"""Standard normal noise moved into unions of intervals, by distribution function and inverse: no draw is rejected."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def below(z: Tensor) -> Tensor:
    r""":math:`\Phi(z)`, to full relative precision in the lower tail, which ``torch.special.ndtr`` does not have."""
    return 0.5 * torch.erfc(-math.sqrt(0.5) * z)


def masses(low: Tensor, high: Tensor) -> Tensor:
    r""":math:`\Phi(b) - \Phi(a)` of intervals, to full relative precision in both tails; float64, 0 where a >= b."""
    right = low + high > 0  # there the tails of -z are precise
    start, stop = torch.where(right, -high, low), torch.where(right, -low, high)
    return (below(stop) - below(start)).clamp_min(0.0)


def into(u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Standard normal noise given that it lies in a union of intervals, from uniform numbers.

    Args:
        u: Numbers in (0, 1), ``(n,)``, float64.
        low, high: Ends of disjoint intervals, ``(intervals, n)``, float64; empty where ``low >= high``.

    Returns:
        ``(n,)``; NaN where all intervals are empty.
    """
    mass = masses(low, high)
    ends = mass.cumsum(0)
    place = u * ends[-1]
    which = (place >= ends[:-1]).sum(0, keepdim=True)
    low, high, mass, end = (part.gather(0, which)[0] for part in (low, high, mass, ends))
    share = 1 - (end - place) / mass
    right = low + high > 0
    share = torch.where(right, 1 - share, share).clamp(0.0, 1.0)
    z = torch.special.ndtri(below(torch.where(right, -high, low)) + share * mass)
    return torch.where(right, -z, z).clamp(low, high)
