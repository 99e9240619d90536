"""Makes a column with spikes normal: the distribution function of a histogram, then the normal quantile function."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .base import Transform

LINEAR, CUBIC = 1.5976, 0.07056  # logit Φ(z) ≈ LINEAR z + CUBIC z³, off by at most 1.4e-4 in Φ
INDEX = 3.0  # tail index beyond the histogram: finite variance, and outliers stay in range


class Histogram(Transform):
    r"""z = h(logit F(x)) for numbers, with F the distribution function of a histogram and h close to
    :math:`\Phi^{-1} \circ \mathrm{logit}^{-1}`.

    .. math:: \mathrm{logit}\,\Phi(z) \approx 1.5976\, z + 0.07056\, z^3

    whose inverse h has a closed form. Whatever the bins' shares, a draw from the histogram comes out standard normal: a
    value that holds a fifth of the rows becomes a fifth of the normal's mass, so that a subsequent flow has no spikes
    to model. Beyond the bins logit F continues as :math:`\pm a \log(1 + |x - x_\mathrm{end}| / (a s))` with a = 3, a
    Pareto tail. Nothing is trained.

    Args:
        edges: The bins' edges, increasing, ``(bins + 1,)``.
        cumulative: F at the edges, increasing. If it starts at 0 there is no mass below the first edge, if it ends at 1
            none above the last; z is NaN there.
        tail: s, the scale of the tails.

    Raises:
        ValueError: the edges or F do not increase, their lengths differ, or ``tail`` is not positive.

    Reference:
        Page (1977), Approximations to the cumulative normal function and its inverse for use on a pocket calculator.
    """

    edges: Tensor
    cumulative: Tensor

    def __init__(
        self, edges: Tensor | Sequence[float], cumulative: Tensor | Sequence[float], tail: float = 1.0
    ) -> None:
        super().__init__()
        edges, cumulative = (torch.as_tensor(v, dtype=torch.float64) for v in (edges, cumulative))
        if edges.shape != cumulative.shape or edges.dim() != 1 or len(edges) < 2:
            raise ValueError(
                f"edges and cumulative must be two sequences of one length, at least 2, got shapes "
                f"{tuple(edges.shape)} and {tuple(cumulative.shape)}"
            )
        if not bool((edges.diff() > 0).all() and (cumulative.diff() > 0).all()):
            raise ValueError("edges and cumulative must increase")
        if not (float(cumulative[0]) >= 0 and float(cumulative[-1]) <= 1 and tail > 0):
            raise ValueError(
                f"cumulative must lie in [0, 1] and tail be positive, got {float(cumulative[0]):g} to "
                f"{float(cumulative[-1]):g} and tail={tail}"
            )
        self.event_dim, self.tail = 0, float(tail)
        self.register_buffer("edges", edges.clone())
        self.register_buffer("cumulative", cumulative.clone())

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        within = x.clamp(self.edges[0].to(x), self.edges[-1].to(x))
        bin = _bin_of(within, self.edges)
        left, width = self.edges[bin], self.edges[bin + 1] - self.edges[bin]
        share = self.cumulative[bin + 1] - self.cumulative[bin]
        t = (within - left) / width
        u = self._safe(self.cumulative[bin] + share * t)
        rest = self._safe(1 - self.cumulative[bin + 1] + share * (1 - t))
        beyond = x - within
        far = (beyond.abs() / (INDEX * self.tail)).log1p()
        logit = u.log() - rest.log() + INDEX * far * beyond.sign()
        inside = (share / width).log() - u.log() - rest.log()
        slope = torch.where(beyond == 0, inside, -math.log(self.tail) - far)
        z = _normal(logit)
        closed = self.cumulative[0] == 0, self.cumulative[-1] == 1
        z = z.masked_fill(((beyond < 0) & closed[0]) | ((beyond > 0) & closed[1]), math.nan)
        return z.to(x), (slope - _slope(z).log()).to(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        wide = z.to(self.edges.dtype)
        logit = LINEAR * wide + CUBIC * wide.pow(3)
        first, last = self.cumulative[[0, -1]].logit()  # infinite if there is no tail
        within = torch.minimum(torch.maximum(logit, first), last)
        u, rest = within.sigmoid(), (-within).sigmoid()
        bin = _bin_of(u, self.cumulative)
        left, width = self.edges[bin], self.edges[bin + 1] - self.edges[bin]
        share = self.cumulative[bin + 1] - self.cumulative[bin]
        low, high = (u - self.cumulative[bin]) / share, 1 - (rest - 1 + self.cumulative[bin + 1]) / share
        t = torch.where(u < 0.5, low, high).clamp(0, 1)
        beyond = logit - within
        far = beyond.abs() / INDEX
        x = left + width * t + INDEX * self.tail * far.expm1() * beyond.sign()
        inside = (width / share).log() + self._safe(u).log() + self._safe(rest).log()
        slope = torch.where(beyond == 0, inside, math.log(self.tail) + far)
        return x.to(z), (slope + _slope(wide).log()).to(z)

    @staticmethod
    def _safe(u: Tensor) -> Tensor:
        return u.clamp_min(1e-12)


def _bin_of(v: Tensor, knots: Tensor) -> Tensor:
    """The bin that each number between the knots falls into."""
    if torch.compiler.is_compiling():  # ONNX has no searchsorted
        return (v[..., None] >= knots[1:-1]).sum(-1)
    return torch.searchsorted(knots[1:-1], v.to(knots).contiguous(), right=True)


def _normal(logit: Tensor) -> Tensor:
    """h: the real root of CUBIC z³ + LINEAR z = logit, by Cardano, in operations that ONNX has in double precision."""
    inner = 1.5 / LINEAR * math.sqrt(3 * CUBIC / LINEAR) * logit.abs()
    root = (inner + (inner * inner + 1).sqrt()) ** (1 / 3)
    return math.sqrt(LINEAR / (3 * CUBIC)) * (root - 1 / root) * logit.sign()


def _slope(z: Tensor) -> Tensor:
    """d logit / dz."""
    return LINEAR + 3 * CUBIC * z.square()
