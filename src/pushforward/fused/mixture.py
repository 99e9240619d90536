r"""Mixtures of logistics whose parameters are shared by the batch, as one autograd node with a hand-written gradient.

With A and B the shares of the components in the probabilities y below x and 1 - y above, with
:math:`r_k = w_k\, p_k\, q_k / (y (1 - y))`, where :math:`p_k = \sigma(c_k),\, q_k = \sigma(-c_k)`, and with the
log-odds T and their slope D (:mod:`pushforward.numerics.sigmoidal`, without the identity term),

.. math:: \frac{\partial T}{\partial c_k} = r_k,\quad
    \frac{\partial D}{\partial c_k} = r_k \left(a_k (q_k - p_k) + D \tanh(T / 2)\right),\quad
    \frac{\partial T}{\partial \log w_k} = A_k - B_k,\quad
    \frac{\partial D}{\partial \log w_k} = a_k r_k - D (A_k + B_k)

where the log-weights are those of a mixture whose weights need not add up to one.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..numerics import sigmoidal
from ..numerics.sigmoidal import LEAK, LogisticMixture
from ..numerics.torch_internals import saved_tensors_hooked
from .maps import within


class KeptMixture(NamedTuple):
    """KeptMixture for the gradient: the mixture, and values per component ``(K, features, n)`` or per point
    ``(features, n)``."""

    mixture: LogisticMixture
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
    """:func:`evaluate` as an autograd node: the values alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        t, log_slope, kept = evaluate(x, bias, weight)
        ctx.save_for_backward(x, bias, weight)
        ctx.kept = None if saved_tensors_hooked() else kept
        return t, log_slope

    @staticmethod
    def backward(ctx: Any, to_value: Tensor, to_slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        x, bias, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # double backward: only the plain formula is differentiable
            outputs = sigmoidal.log_odds(x, sigmoidal.normal(_params(bias, len(x))))
            to_x, to_bias = torch.autograd.grad(outputs, (x, bias), (to_value, to_slope), create_graph=True)
            return to_x, to_bias, torch.zeros_like(weight)
        kept = ctx.kept or evaluate(x, bias, weight)[2]
        to_steep = to_slope * (1 - LEAK) / (kept.steep * (1 - LEAK)).add_(LEAK)
        to_x, to_mixture = _vjp(to_value * (1 - LEAK), to_steep, kept)
        return to_x.add_(to_value, alpha=LEAK), _to_bias(to_mixture, bias), torch.zeros_like(weight)


def evaluate(x: Tensor, bias: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, KeptMixture]:
    """:func:`pushforward.numerics.sigmoidal.log_odds` of planes ``(features, n)``.

    The parameters are those of a network without inputs: ``bias`` holds the 3K of the first feature, then those of the
    next; ``weight`` is empty. The formula runs in place where possible, with the same variable names as there.
    """
    mixture = mixture_of(bias, len(x))
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
    kept = KeptMixture(mixture, c, share, rest, product, down, scale, above, below, odds, steep)
    return torch.lerp(odds, x, LEAK), (steep * (1 - LEAK)).add_(LEAK).log_(), kept


def _params(bias: Tensor, features: int) -> Tensor:
    return bias.view(features, -1, 1).transpose(0, 1)


def mixture_of(bias: Tensor, features: int) -> LogisticMixture:
    params = _params(bias, features)
    return sigmoidal.mixture(params, _start(len(params) // 3, bias.dtype, bias.device))


@functools.cache
def _start(K: int, dtype: torch.dtype, device: torch.device) -> sigmoidal.Start:
    """Cached: a start takes as long as a mixture."""
    with torch.inference_mode(False):
        return sigmoidal.normal_start(K, torch.empty(3 * K, 1, 1, dtype=dtype, device=device))


def _vjp(to_odds: Tensor, to_steep: Tensor, kept: KeptMixture) -> tuple[Tensor, LogisticMixture]:
    """The gradients of x, and of the log-weights, log-slopes and places."""
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
    return to_x.sum(0), LogisticMixture(to_weight, to_slope, -to_x.sum(-1, keepdim=True))


def _to_bias(to_mixture: LogisticMixture, bias: Tensor) -> Tensor:
    """The gradient through the soft clamps, whose slopes are 1 / (1 + abs(r) / limit)²."""
    to = torch.cat(to_mixture).squeeze(-1).t()  # (features, 3K)
    limits = _start(to.shape[1] // 3, bias.dtype, bias.device).limits.flatten()
    return to.div_((1 + bias.view_as(to).abs() / limits).square()).reshape(-1)
