r"""Mixtures of logistics with the same parameters for all rows, as one node of a graph with its gradient written out.

With the parts A and B of the components in the probabilities y below x and 1 - y above, with
:math:`r_k = w_k\, p_k\, q_k / (y (1 - y))`, where :math:`p_k = \sigma(c_k),\, q_k = \sigma(-c_k)`, and with the
log-odds T and their slope D (:mod:`pushforward.numerics.sigmoidal`, without the part of the identity),

.. math:: \frac{\partial T}{\partial c_k} = r_k,\quad
    \frac{\partial D}{\partial c_k} = r_k \left(a_k (q_k - p_k) + D \tanh(T / 2)\right),\quad
    \frac{\partial T}{\partial \log w_k} = A_k - B_k,\quad
    \frac{\partial D}{\partial \log w_k} = a_k r_k - D (A_k + B_k)

where logarithms of weights are meant as they stand in a mixture whose weights need not add up to one.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..nets.mlp import MLP
from ..numerics import roots, sigmoidal
from ..numerics.sigmoidal import LEAK, Mixture
from ..numerics.torch_internals import saved_tensors_hooked
from ..transforms.base import Transform
from ..transforms.scalar_monotone import Gaussianization
from ..transforms.univariate import Univariate
from .compiling import watched
from .maps import within
from .rows import planes, unplanes

KNOTS = 128  # of a table of a mixture: cubic interpolation in it mostly leaves one step of Newton's
STEPS = 4  # at most, before a search begins


class Gaussianized(NamedTuple):
    """A Gaussianization of every feature, by parameters that are free."""

    transform: Univariate

    @classmethod
    def make(cls, transform: Transform, like: Tensor) -> Gaussianized | None:
        if type(transform) is not Univariate or type(transform.scalar) is not Gaussianization:
            return None
        net = transform.net
        free = net.context_weight is None and len(net.weights) == 1 and type(net) is MLP and not watched(net)
        return cls(transform) if free else None

    def __call__(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        (weight,), (bias,) = self.transform.net.weights, self.transform.net.biases
        log_odds = LogOdds.apply if torch.is_grad_enabled() else evaluate
        t, log_slope, *_ = log_odds(planes(x), bias, weight)
        z, more = sigmoidal.quantile(t, near=within(t, sigmoidal.reach(t.dtype)))
        return unplanes(z, x.shape[:-1]), (log_slope + more).sum(0).view(x.shape[:-1])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = planes(z)
        mixture, (t, log_slope) = self._mixture(y), sigmoidal.quantile_inverse(y)
        x = sigmoidal.log_odds_solve(t, mixture, drawn(y, mixture)[0])
        log_slope = log_slope - sigmoidal.log_odds(x, mixture)[1]
        return unplanes(x, z.shape[:-1]), log_slope.sum(0).view(z.shape[:-1])

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        y = planes(z)
        mixture = self._mixture(y)
        x, found = drawn(y, mixture)
        if not found or torch.is_grad_enabled():
            x = sigmoidal.log_odds_solve(sigmoidal.quantile_inverse(y)[0], mixture, x)
        return unplanes(x, z.shape[:-1])

    def _mixture(self, y: Tensor) -> Mixture:
        net = self.transform.net
        if torch.is_grad_enabled():  # of its weights, too, which are empty
            return sigmoidal.normal(net(y.new_zeros(0)).unsqueeze(-1))
        return _mixture(net.biases[0], y)


class Planes(NamedTuple):
    """Mixtures, features first: weights, and these times slopes, are ``(features, 1, K)``, slopes and places
    ``(features, K, 1)``; events are ``(features, 1, n)``."""

    weight: Tensor
    steep: Tensor
    slope: Tensor
    place: Tensor

    @classmethod
    def of(cls, mixture: Mixture) -> Planes:
        weight, slope, place = mixture
        steep = weight * slope * (1 - LEAK)
        return cls(weight.permute(1, 2, 0), steep.permute(1, 2, 0), slope.transpose(0, 1), place.transpose(0, 1))

    def log_odds(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """t and dt/dx by products of matrices; no numbers where a probability underflows."""
        c = (x - self.place).mul_(self.slope)
        p, q = c.sigmoid(), c.neg_().sigmoid_()
        above, below = self.weight.bmm(p), self.weight.bmm(q)
        slope = self.steep.bmm(p.mul_(q)).div_(above).div_(below).add_(LEAK)
        return torch.lerp(above.div_(below).log_(), x, LEAK), slope

    def start(self, t: Tensor) -> Tensor:
        """Where about the log-odds are t, by cubic interpolation in a table of x."""
        least, most = (self.place + end / self.slope for end in torch.aminmax(t, dim=-1, keepdim=True))
        share = torch.linspace(0, 1, KNOTS, dtype=t.dtype, device=t.device)
        x = torch.lerp(least.amin(1, keepdim=True), most.amax(1, keepdim=True), share)
        value, slope = self.log_odds(x)
        right = torch.searchsorted(value, t).clamp_(1, KNOTS - 1)
        table, left = (x, value, slope.reciprocal_()), right - 1
        (x0, t0, slope0), (x1, t1, slope1) = ([row.gather(-1, side) for row in table] for side in (left, right))
        width, height = x1 - x0, t1 - t0
        u = (t - t0) / height
        first, last = torch.addcmul(x0 - x1, slope0, height), torch.addcmul(width, slope1, height, value=-1)
        return torch.addcmul(torch.lerp(x0, x1, u), torch.addcmul(u, u, u, value=-1), torch.lerp(first, last, u))


@torch.no_grad()
def drawn(z: Tensor, mixture: Mixture) -> tuple[Tensor, bool]:
    r"""The x of normal quantiles z ``(features, n)`` by Newton's steps from a table, and whether that is right to
    rounding everywhere; z itself far out.

    With a the steepest slope of a mixture, :math:`|d \log t' / dx| \le 2 a`: a step s from where the residual is r
    leaves one of :math:`a |r s|` at most, but for terms of higher order.
    """
    if z.is_meta or not roots.within(z, sigmoidal.NEAR):
        return z, False
    t, of = sigmoidal.near_odds(z).unsqueeze(1), Planes.of(mixture)
    steepest, x = of.slope.amax(1, keepdim=True), of.start(t)
    for _ in range(STEPS):
        value, slope = of.log_odds(x)
        residual = value.sub_(t)
        step = residual / slope
        x = x - step
        if float(residual.mul_(step).mul_(steepest).amax()) <= torch.finfo(t.dtype).eps:
            return x.squeeze(1), True
    return x.squeeze(1), False


class Kept(NamedTuple):
    """What the gradient needs: the mixture, and at every component ``(K, features, n)`` or point ``(features, n)``."""

    mixture: Mixture
    c: Tensor
    share: Tensor
    rest: Tensor
    product: Tensor
    down: Tensor
    scale: Tensor  # exp(-high)
    above: Tensor
    below: Tensor
    odds: Tensor  # T
    steep: Tensor  # D


class LogOdds(torch.autograd.Function):
    """:func:`evaluate` as a node of a graph: the values alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        t, log_slope, kept = evaluate(x, bias, weight)
        ctx.save_for_backward(x, bias, weight)
        ctx.kept = None if saved_tensors_hooked() else kept
        return t, log_slope

    @staticmethod
    def backward(ctx: Any, to_value: Tensor, to_slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        x, bias, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is differentiated itself: the plain formula can be
            outputs = sigmoidal.log_odds(x, sigmoidal.normal(_params(bias, x)))
            to_x, to_bias = torch.autograd.grad(outputs, (x, bias), (to_value, to_slope), create_graph=True)
            return to_x, to_bias, torch.zeros_like(weight)
        kept = ctx.kept or evaluate(x, bias, weight)[2]
        to_steep = to_slope * (1 - LEAK) / (kept.steep * (1 - LEAK)).add_(LEAK)
        to_x, to_mixture = _pull_back(to_value * (1 - LEAK), to_steep, kept)
        return to_x.add_(to_value, alpha=LEAK), _to_bias(to_mixture, bias), torch.zeros_like(weight)


def evaluate(x: Tensor, bias: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Kept]:
    """:func:`pushforward.numerics.sigmoidal.log_odds` of planes ``(features, n)``.

    Its parameters are what a network of no inputs has: ``bias`` holds the 3K of the first feature, then those of the
    next; ``weight`` is empty.
    """
    return _evaluate(x, _mixture(bias, x))


def _evaluate(x: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor, Kept]:
    """The formula, in place where that is possible, with the names that things have there."""
    c = (x - mixture.place).mul_(mixture.slope)
    far = -0.45 * math.log(torch.finfo(x.dtype).tiny)
    shift: Any = 0.0
    scale: Any = 1.0
    if within(c, far):
        grown = c.exp()
        down = (1 + grown).reciprocal_()
    else:
        low, high = c.amax(0).clamp_max_(0), c.amin(0).clamp_min_(0)
        shift, scale = low + high, (-high).exp()
        grown = (c - shift).clamp_(-far, far).exp_()
        down = torch.addcmul(scale, grown, low.exp()).reciprocal_()
    rest = mixture.weight * down
    share = grown.mul_(rest)
    product = share * down
    above, below = share.sum(0), rest.sum(0)
    odds = above.log().sub_(below.log()).add_(shift)
    steep = (mixture.slope * product).sum(0).div_(above).div_(below)
    kept = Kept(mixture, c, share, rest, product, down, scale, above, below, odds, steep)
    return torch.lerp(odds, x, LEAK), (steep * (1 - LEAK)).add_(LEAK).log_(), kept


def _params(bias: Tensor, x: Tensor) -> Tensor:
    return bias.view(len(x), -1, 1).transpose(0, 1)


def _mixture(bias: Tensor, x: Tensor) -> Mixture:
    params = _params(bias, x)
    return sigmoidal.mixture(params, _start(len(params) // 3, bias.dtype, bias.device))


@functools.cache
def _start(K: int, dtype: torch.dtype, device: torch.device) -> sigmoidal.Start:
    """A start takes as long as a mixture."""
    with torch.inference_mode(False):
        return sigmoidal.normal_start(K, torch.empty(3 * K, 1, 1, dtype=dtype, device=device))


def _pull_back(to_odds: Tensor, to_steep: Tensor, kept: Kept) -> tuple[Tensor, Mixture]:
    """The gradient of x, and those of log-weights, log-slopes and places."""
    weight, slope, _ = kept.mixture
    through = to_steep * kept.steep
    ends = kept.above * kept.below
    bent = to_steep / ends
    level = torch.addcmul(to_odds, through, (kept.odds / 2).tanh()).div_(ends)
    to_c = (kept.down * (2 * bent * kept.scale)).sub_(bent).mul_(slope).add_(level).mul_(kept.product)
    own = slope * (kept.product * bent).sum(-1, keepdim=True)
    to_slope = (to_c * kept.c).sum(-1, keepdim=True) + own
    rest = kept.rest * ((to_odds + through) / kept.below)
    parts = (kept.share * ((to_odds - through) / kept.above)).sub_(rest)
    to_weight = parts.sum(-1, keepdim=True) + own + weight * through.sum(-1, keepdim=True)
    to_x = to_c.mul_(slope)
    return to_x.sum(0), Mixture(to_weight, to_slope, -to_x.sum(-1, keepdim=True))


def _to_bias(to_mixture: Mixture, bias: Tensor) -> Tensor:
    """Through the soft clamps, whose slopes are 1 / (1 + abs(r) / limit)²."""
    to = torch.cat(to_mixture).squeeze(-1).t()  # (features, 3K)
    limits = _start(to.shape[1] // 3, bias.dtype, bias.device).limits.flatten()
    return to.div_((1 + bias.view_as(to).abs() / limits).square()).reshape(-1)
