"""Gaussianizations whose parameters are shared by the batch: one autograd node, and sampling by Newton's method from
tables.

The tables of all layers are built at once: for small batches, sampling is mostly operator-launch overhead.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor

from ..nets.mlp import MLP
from ..numerics import roots, sigmoidal
from ..numerics.sigmoidal import LEAK, LogisticMixture
from ..numerics.torch_internals import watched
from ..transforms.base import Transform
from ..transforms.columns import Univariate
from ..transforms.linear import PLU
from ..transforms.scalar_monotone import Gaussianization
from .maps import within
from .mixture import LogOdds, evaluate, mixture_of
from .rows import planes, through, unplanes

KNOTS = 96  # of a mixture's table: after cubic interpolation, one or two Newton steps mostly suffice
BUCKETS = 192  # of equal width in z, from -ENDS to ENDS: a point takes the cell at the middle of its bucket
ENDS = 8.0
REACH = 12.0  # log-odds of every component at the ends of a table, more than four standard deviations
BEYOND = 9  # cells by which the end polynomials extrapolate: t is nearly linear there
STEPS = 4  # of Newton's method at most, before falling back to a bracketed search


class Gaussianizations(NamedTuple):
    """Gaussianizations and the matrices between them; all sampling tables are built at once."""

    parts: list[Any]

    @classmethod
    def make(cls, transform: Transform, like: Tensor) -> Gaussianizations | None:
        return cls([Gaussianized(transform)]) if _free(transform) else None

    def take(self, transform: Transform) -> bool:
        """Takes in the next transform if it is one of these; returns whether it did."""
        if watched(transform) or not (type(transform) is PLU or _free(transform, like=self.parts[0].transform)):
            return False
        self.parts.append(Gaussianized(transform) if type(transform) is Univariate else transform)
        return True

    def __call__(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return through(self.parts, x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return through([part.inverse for part in reversed(self.parts)], z, context)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        made = tables([part.bias for part in self.parts if type(part) is Gaussianized], z.shape[-1])
        for part in reversed(self.parts):
            z = part.generate(z, made.pop()) if type(part) is Gaussianized else part.generate(z)
        return z


def _free(transform: Transform, like: Univariate | None = None) -> TypeGuard[Univariate]:
    """Whether this is a Gaussianization with free parameters for each feature, as many as ``like`` has."""
    if type(transform) is not Univariate or type(transform.scalar) is not Gaussianization:
        return False
    net = transform.net
    free = net.context_weight is None and len(net.weights) == 1 and type(net) is MLP and not watched(net)
    return free and (like is None or transform.scalar.num_params == like.scalar.num_params)


class Gaussianized(NamedTuple):
    """A Gaussianization of each feature, with free parameters."""

    transform: Univariate

    @property
    def bias(self) -> Tensor:
        return self.transform.net.biases[0]

    def __call__(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_odds = LogOdds.apply if torch.is_grad_enabled() else evaluate
        t, log_slope, *_ = log_odds(planes(x), self.bias, self.transform.net.weights[0])
        z, more = sigmoidal.quantile(t, near=within(t, sigmoidal.FAR_ODDS))
        return unplanes(z, x.shape[:-1]), (log_slope + more).sum(0).view(x.shape[:-1])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, (table,) = planes(z), tables([self.bias], z.shape[-1])
        mixture, (t, log_slope) = self._mixture(y), sigmoidal.quantile_inverse(y)
        x = sigmoidal.log_odds_solve(t, mixture, drawn(y, table)[0])
        log_slope = log_slope - sigmoidal.log_odds(x, mixture)[1]
        return unplanes(x, z.shape[:-1]), log_slope.sum(0).view(z.shape[:-1])

    def generate(self, z: Tensor, table: InverseTable) -> Tensor:
        y = planes(z)
        x, found = drawn(y, table)
        if not found or torch.is_grad_enabled():
            x = sigmoidal.log_odds_solve(sigmoidal.quantile_inverse(y)[0], self._mixture(y), x)
        return unplanes(x, z.shape[:-1])

    def _mixture(self, y: Tensor) -> LogisticMixture:
        if torch.is_grad_enabled():  # the graph includes the network's weights, which are empty
            return sigmoidal.normal(self.transform.net(y.new_zeros(0)).unsqueeze(-1))
        return mixture_of(self.bias, len(y))


class InverseTable(NamedTuple):
    """A mixture, features first: weights and weights times slopes, ``(features, 1, K)``; slopes and places,
    ``(features, K, 1)``; the steepest slope, ``(features, 1, 1)``; and x as a cubic polynomial of t in each bucket's
    cell: the first t of the cell, its height, and the coefficients, ``(features, 6, BUCKETS)``."""

    weight: Tensor
    steep: Tensor
    slope: Tensor
    place: Tensor
    steepest: Tensor
    cells: Tensor

    def start(self, z: Tensor, t: Tensor) -> Tensor:
        """An approximate x at normal quantiles z, whose log-odds are t."""
        bucket = (z + ENDS).mul_(BUCKETS / (2 * ENDS)).long().clamp_(0, BUCKETS - 1)
        t0, height, x, a, b, c = self.cells.gather(-1, bucket.expand(-1, 6, -1)).chunk(6, 1)
        u = ((t - t0) / height).clamp_(-BEYOND, 1 + BEYOND)
        return torch.addcmul(x, u, torch.addcmul(a, u, torch.addcmul(b, u, c)))


@torch.no_grad()
def tables(biases: list[Tensor], features: int) -> list[InverseTable]:
    """The tables of several mixtures at once, with as many operators as for one."""
    weight, slope, place = (part.transpose(0, 1) for part in mixture_of(torch.cat(biases), len(biases) * features))
    mixture = weight.mT, (weight * slope).mT * (1 - LEAK), slope, place
    spread, shares = REACH / slope, torch.linspace(0, 1, KNOTS, dtype=slope.dtype, device=slope.device)
    x = torch.lerp((place - spread).amin(1, keepdim=True), (place + spread).amax(1, keepdim=True), shares)
    t, t_slope = _log_odds(x, *mixture)
    parts = *mixture, slope.amax(1, keepdim=True), _buckets(t, _cells(x, t, t_slope.reciprocal_()))
    return [InverseTable(*of) for of in zip(*(part.split(features) for part in parts), strict=True)]


def _cells(x: Tensor, t: Tensor, slope: Tensor) -> Tensor:
    """Cubic Hermite cells: x as a cubic in u from 0 to 1, with dx/dt given at both ends."""
    width, height = x.diff(), t.diff()
    first, last = slope[..., :-1] * height, slope[..., 1:] * height
    bend = first + last - 2 * width
    return torch.cat([t[..., :-1], height, x[..., :-1], first, width - first - bend, bend], 1)


def _buckets(t: Tensor, cells: Tensor) -> Tensor:
    """The cell at the middle of each bucket, for knots at log-odds t."""
    last = ENDS * (1 - 1 / BUCKETS)
    middle = sigmoidal.near_odds(torch.linspace(-last, last, BUCKETS, dtype=t.dtype, device=t.device))
    cell = torch.searchsorted(t[..., 1:-1].contiguous(), middle.expand(len(t), 1, -1).contiguous())
    return cells.gather(-1, cell.expand(-1, 6, -1))


def _log_odds(x: Tensor, weight: Tensor, steep: Tensor, slope: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """t and dt/dx by matrix products; NaN or infinite where a probability underflows."""
    c = (x - place).mul_(slope)
    p, q = c.sigmoid(), c.neg_().sigmoid_()
    above, below = weight.bmm(p), weight.bmm(q)
    t_slope = steep.bmm(p.mul_(q)).div_(above).div_(below).add_(LEAK)
    return torch.lerp(above.div_(below).log_(), x, LEAK), t_slope


@torch.no_grad()
def drawn(z: Tensor, table: InverseTable) -> tuple[Tensor, bool]:
    r"""The x of normal quantiles z ``(features, n)`` by Newton steps from a table, and whether all are exact to
    rounding; if some z are far out, x is only a starting point for a search.

    With a the steepest slope of a mixture, :math:`|d \log t' / dx| \le 2 a`: a step s from a point with residual r
    leaves a residual of at most :math:`a |r s|`, up to higher-order terms.
    """
    near, z = not z.is_meta and roots.within(z, sigmoidal.FAR), z.unsqueeze(1)
    t = sigmoidal.near_odds(z) if near else sigmoidal.quantile_inverse(z)[0]
    x = table.start(z, t)
    for _ in range(STEPS if near else 0):
        value, slope = _log_odds(x, *table[:4])
        residual = value.sub_(t)
        step = residual / slope
        x = x - step
        if float(residual.mul_(step).mul_(table.steepest).amax()) <= torch.finfo(t.dtype).eps:
            return x.squeeze(1), True
    return x.squeeze(1), False
