r"""Kernel density estimates in one dimension: a smooth distribution function, with a leave-one-out width.

.. math:: f(x) = (1 - \epsilon)\,\frac1n \sum_i \frac{1}{h_i}\,\varphi\Big(\frac{x - x_i}{h_i}\Big)
          + \epsilon\, N(x;\, \bar x, (2s)^2),\qquad h_i = h\,(\tilde f(x_i) / g)^{-1/2}

Kernels are wider where data are sparse (g is the geometric mean of a pilot estimate), and a wide normal with weight
:math:`\epsilon = 1/(n+1)` covers tails that no kernel reaches.

Reference:
    Abramson (1982), On bandwidth variation in kernel estimates: a square root law.
    Silverman (1986), Density Estimation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

WIDTHS = (0.12, 0.25, 0.4, 0.6, 0.8, 1.06, 1.4)  # of the kernels, in s n^(-1/5)
MOST_CENTRES, MOST_JUDGED = 4000, 300  # rows that serve as kernel centres, and rows on which widths are scored
SMOOTH = 1000  # rows from which on one point per cell is enough
PART = 256  # points at a time, so that their kernels stay in the processor's cache
_ROOT = math.sqrt(2 * math.pi)


def smoothing(rows: int) -> int:
    """How many points of each row's cell to learn from: with few rows, two smooth more than one."""
    return 2 if rows < SMOOTH else 1


def smooth_distribution(x: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """The distribution function and the density at the points ``at``, both of its shape.

    Args:
        x: Numbers ``(n,)`` in float64, or ``(copies, n)``: the same rows at several points of their cells.
        at: Where to evaluate.
    """
    copies = x.reshape(-1, x.shape[-1])[:, :: -(-x.shape[-1] // MOST_CENTRES)]
    varied = copies.std(1) > 0  # the copy at the values themselves may be constant while those within cells are not
    copies = copies[varied] if varied.any() else copies.reshape(1, -1)
    widths = _widths(copies)
    values = [_mixture(at, copy, widths) for copy in copies[: smoothing(copies.shape[1])]]
    cdf, density = (torch.stack(part).mean(0) for part in zip(*values, strict=True))
    return cdf, density


def _widths(copies: Tensor) -> Tensor:
    """The kernels' widths ``(n,)``, which maximise the leave-one-out likelihood."""
    x, other = copies[0], copies[-1]
    base = _spread(x) * len(x) ** -0.2
    pilot = torch.cat([_density(_squares(part, x), base.expand(len(x))) for part in x.split(PART)])
    local = (pilot / pilot.log().mean().exp()).rsqrt().clamp(0.2, 5.0)
    candidates = [factor * base * shape for shape in (torch.ones_like(local), local) for factor in WIDTHS]
    judged = torch.arange(0, len(x), -(-len(x) // MOST_JUDGED))
    squares = _squares(other[judged], x).float()  # enough digits for the choice, and twice as fast
    squares[torch.arange(len(judged)), judged] = math.inf  # leaves out a row's own kernel
    return max(candidates, key=lambda widths: _left_out(other[judged], squares, x, widths))


def _left_out(at: Tensor, squares: Tensor, centres: Tensor, widths: Tensor) -> float:
    """The mean leave-one-out log-density of the judged rows."""
    density = _density(squares, widths.to(squares)) * (len(centres) / (len(centres) - 1))
    return float(_with_tail(at, centres, density, None)[1].log().mean())


def _mixture(at: Tensor, centres: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    parts = [_kernels(part, centres, widths) for part in at.split(PART)]
    below, density = (torch.cat(part) for part in zip(*parts, strict=True))
    cdf, density = _with_tail(at, centres, density, below)
    return cdf, density  # type: ignore[return-value]


def _kernels(at: Tensor, centres: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    """The means of all kernels' distribution functions and of their densities."""
    away = at[:, None] - centres
    below = 0.5 + 0.5 * (away * (math.sqrt(0.5) / widths)).erf_().mean(1)
    return below, _density(away.square_(), widths)


def _with_tail(at: Tensor, centres: Tensor, density: Tensor, cdf: Tensor | None) -> tuple[Tensor | None, Tensor]:
    share, wide = 1 / (len(centres) + 1), 2 * centres.std()
    u = (at - centres.mean()) / wide
    density = (1 - share) * density + share * (-0.5 * u.square()).exp() / (wide * _ROOT)
    return None if cdf is None else (1 - share) * cdf + share * torch.special.ndtr(u), density


def _squares(at: Tensor, centres: Tensor) -> Tensor:
    """Squared distances, ``(points, centres)``."""
    return (at[:, None] - centres).square_()


def _density(squares: Tensor, widths: Tensor) -> Tensor:
    """The mean of all kernels at points with these squared distances ``(points, n)`` to their centres."""
    powers = squares.mul(-0.5 / widths.square()).clamp_min_(-80.0).exp_()  # underflow would take six times as long
    return powers @ (1 / (len(widths) * _ROOT * widths))


def _spread(x: Tensor) -> Tensor:
    """The smaller of the standard deviation and that of a normal with the same quartiles, if these differ."""
    low, high = torch.quantile(x, torch.tensor([0.25, 0.75], dtype=x.dtype))
    deviation, quartile = x.std(), (high - low) / 1.349
    return torch.where(quartile > 0.1 * deviation, torch.minimum(deviation, quartile), deviation)
