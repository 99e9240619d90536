"""Each feature by itself: a fixed map for each column of a table, such as one with tails of its own or a histogram that
makes spikes normal; or one scalar map with parameters for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..nets.mlp import MLP
from ..numerics.tails import Tail
from .base import Transform, in_blocks
from .scalar import Scalar

LINEAR, CUBIC = 1.5976, 0.07056  # logit Φ(z) ≈ LINEAR z + CUBIC z³, off by at most 1.4e-4 in Φ
INDEX = 3.0  # tail index beyond the histogram: finite variance, and outliers stay in range


class Columns(Transform):
    """A separate elementwise map for each column, for tables with mixed columns.

    Args:
        maps: One transform of ``event_dim`` 0 per feature, from data to noise.

    Raises:
        ValueError: the list is empty or a map's ``event_dim`` is not 0.
    """

    def __init__(self, maps: Sequence[Transform]) -> None:
        super().__init__()
        if not maps or any(m.event_dim != 0 for m in maps):
            raise ValueError("maps must hold one transform with event_dim=0 for every column, and at least one")
        self.maps: Any = nn.ModuleList(maps)  # Any: a ModuleList's items are untyped

    @property
    def domain(self) -> Any:
        return in_blocks([m.domain for m in self.maps], [1] * len(self.maps))

    def entries(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return stack([m(column) for m, column in zip(self.maps, x.unbind(-1), strict=True)])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, slopes = stack([m.inverse(column) for m, column in zip(self.maps, z.unbind(-1), strict=True)])
        return x, slopes.sum(-1)


def stack(results: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Columns and their slopes side by side."""
    values, slopes = zip(*results, strict=True)
    return torch.stack(values, -1), torch.stack(slopes, -1)


class Univariate(Transform):
    r"""z_j = h(x_j; theta_j(c)): each feature is moved separately, given only the context; the Jacobian is diagonal.

    Args:
        net: Gives the parameters from the context alone: ``MLP(0, features, scalar.num_params)``; free parameters if
            there is no context.
        scalar: The scalar map that moves each feature.

    Raises:
        ValueError: ``net`` reads features, or its number of parameters is not that of ``scalar``.

    Reference:
        Meng, Song, Song, Ermon (2020), Gaussianization Flows, arXiv:2003.01941.
    """

    def __init__(self, net: MLP, scalar: Scalar) -> None:
        super().__init__()
        if net.inputs:
            raise ValueError(f"net must read no features, but it reads {net.inputs}")
        if net.num_params != scalar.num_params:
            raise ValueError(f"net gives {net.num_params} parameters per feature, but scalar takes {scalar.num_params}")
        self.net, self.scalar = net, scalar
        self.event_shape = (len(net.biases[-1]) // net.num_params,)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._moved(self.scalar.forward, x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._moved(self.scalar.inverse, z, context)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        planes, params = self._planes(z, context)
        return self.scalar.solve(planes, params).movedim(0, -1)

    def _moved(
        self, scalar_map: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], x: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        moved, log_slope = scalar_map(*self._planes(x, context))
        return moved.movedim(0, -1), log_slope.sum(0)

    def _planes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """The features, first in memory so that operations run along the batch rather than along a handful of features;
        and their parameters."""
        planes = x.movedim(-1, 0).contiguous()
        if context is not None:
            return planes, self.net(x[..., :0], context).movedim(-1, 1)
        params = self.net(x.new_zeros(0)).view(-1, len(planes), *[1] * (x.dim() - 1))  # the same for all events
        return planes, params if self.scalar.broadcasts else params.expand(-1, *planes.shape)


class Extended(Transform):
    r"""The inner map between two ends, and parabolas beyond.

    .. math:: |x - e| = s t + \tfrac c2 t^2,\quad t = |z - f(e)|

    from where the slope has changed from that of the inner map to s, within a short stretch of z. Where z is normal, x
    has an exponential tail of mean excess c farther out, or a normal one if c = 0: draws stay where the rows are, and
    rows far out keep a score, while the inverse of a logarithm would grow exponentially. Nothing is trained.

    Args:
        inner: The map, with ``event_dim`` 0.
        low: e, s and c of the lower tail; None if the inner map goes on for ever, or has a hard end there.
        high: Those of the upper tail.
        stretch: Of z, within which the slope changes.

    Raises:
        ValueError: the inner map is not one of single numbers, the ends are not in order, or a number that must be
            positive is not.

    Reference:
        Coles (2001), An introduction to statistical modeling of extreme values, chapter 4.
    """

    ends: Tensor  # in x, infinite where there is none
    places: Tensor  # in z
    slopes: Tensor  # dx/dz of the inner map at the ends
    tails: Tensor  # s and c, (2, ends)

    def __init__(
        self, inner: Transform, low: Sequence[float] | None, high: Sequence[float] | None, *, stretch: float = 0.05
    ) -> None:
        super().__init__()
        if inner.event_dim != 0:
            raise ValueError(f"inner must have event_dim=0, got event_dim={inner.event_dim}")
        if not stretch > 0 or not all(tail is None or (tail[1] > 0 and tail[2] >= 0) for tail in (low, high)):
            raise ValueError(f"stretch and slopes must be positive, got stretch={stretch}, low={low}, high={high}")
        if low is not None and high is not None and not low[0] < high[0]:
            raise ValueError(f"low must begin below high, got {low[0]:g} and {high[0]:g}")
        self.event_dim, self.inner, self.low, self.high, self.stretch = 0, inner, low, high, float(stretch)
        found = [self._end(tail, sign * math.inf) for tail, sign in ((low, -1), (high, 1))]
        for name, values in zip(("ends", "places", "slopes"), zip(*found, strict=True), strict=True):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64))
        tails = [(1.0, 0.0) if tail is None else tail[1:] for tail in (low, high)]
        self.register_buffer("tails", torch.tensor(tails, dtype=torch.float64).t())

    @property
    def domain(self) -> Any:
        return self.inner.domain

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        within = x.clamp(*self.ends.to(x))
        z, log_slope = self.inner(within)
        beyond = x - within
        t, log_tail = self._tail(beyond).inward(beyond.abs())
        return z + t.copysign(beyond), torch.where(beyond == 0, log_slope, log_tail)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        within = z.clamp(*self.places.to(z))
        x, log_slope = self.inner.inverse(within)
        beyond = z - within
        y, log_tail = self._tail(beyond).outward(beyond.abs())
        return x + y.copysign(beyond), torch.where(beyond == 0, log_slope, log_tail)

    def _tail(self, beyond: Tensor) -> Tail:
        """The tail on the side of each number."""
        low, high = torch.cat([self.slopes[None], self.tails]).to(beyond).unbind(-1)
        start, slope, growth = (torch.where(beyond < 0, a, b) for a, b in zip(low, high, strict=True))
        return Tail(start, beyond.new_tensor(self.stretch), slope, growth)

    @torch.no_grad()
    def _end(self, tail: Sequence[float] | None, nowhere: float) -> tuple[float, float, float]:
        if tail is None:
            return nowhere, nowhere, 1.0
        z, log_slope = self.inner(torch.tensor(tail[0], dtype=torch.float64))
        return tail[0], float(z), float((-log_slope).exp())


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


class PeriodicHistogram(Transform):
    r"""Numbers moved within each period so that all its parts hold as many.

    .. math:: z = a + P\,(k + F(u)), \qquad x = a + P\,(k + u), \quad k \in \mathbb Z, \; 0 \le u < 1

    with F the distribution function of a histogram of equal bins. The ends of periods stay where they are. Nothing is
    trained.

    Args:
        start: a, where a period begins.
        period: P, its length.
        shares: Those of the bins, all positive, with the sum 1.

    Raises:
        ValueError: the period or a share is not positive, or the shares' sum is not 1.
    """

    even: Tensor  # the bins' edges, in periods
    cumulative: Tensor  # F there

    def __init__(self, start: float, period: float, shares: Tensor | Sequence[float]) -> None:
        super().__init__()
        shares = torch.as_tensor(shares, dtype=torch.float64)
        if not (period > 0 and bool((shares > 0).all()) and abs(float(shares.sum()) - 1) < 1e-6):
            raise ValueError(f"period and shares must be positive, and these have the sum 1, got {period} and {shares}")
        self.event_dim, self.start, self.period = 0, float(start), float(period)
        self.register_buffer("even", torch.linspace(0, 1, len(shares) + 1, dtype=torch.float64))
        self.register_buffer("cumulative", torch.cat([self.even[:1], shares.cumsum(0)[:-1], self.even[-1:]]))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._moved(x, self.even, self.cumulative)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._moved(z, self.cumulative, self.even)

    def _moved(self, x: Tensor, knots: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers moved from between knots to between places in their period, and the log-slopes."""
        turn = (x.to(knots) - self.start) / self.period
        u = turn - turn.floor()
        bin = _bin_of(u, knots)
        slope = (places[bin + 1] - places[bin]) / (knots[bin + 1] - knots[bin])
        z = self.start + self.period * (turn.floor() + places[bin] + slope * (u - knots[bin]))
        return z.to(x), slope.log().to(x)


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
