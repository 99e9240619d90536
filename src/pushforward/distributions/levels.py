"""Conditionals of one number with the levels 0 … K-1, given parameters of shape ``(num_params, *x.shape)``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import at_least_one
from .conditional import Conditional


class Levels(Conditional):
    """Of 0 … levels - 1; x and draws are int64, and all-zero parameters are the initial state."""

    levels: int

    def entropy(self, params: Tensor) -> Tensor:
        """:math:`-\\sum_k P(k) \\log P(k)` in nats, of shape ``params.shape[1:]``."""
        total = torch.zeros_like(params[0])
        for level in range(self.levels):
            log_p = self.log_prob(torch.full_like(params[0], level, dtype=torch.long), params)
            total = total - log_p.exp() * log_p.clamp_min(-1e30)  # 0 log 0 = 0
        return total


class CategoricalLevels(Levels):
    """One logit per level; starts uniform. ``temperature`` divides the logits.

    Args:
        levels: K, from 2 to 256.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = self.num_params = levels

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        logits = params.movedim(0, 2).flatten(0, 1)  # (n · C, K, H, W): a view, if params is the network's output
        return -F.cross_entropy(logits, x.flatten(0, 1), reduction="none").view(x.shape)

    def sample(self, params: Tensor, generator: torch.Generator | None, temperature: float) -> Tensor:
        return _draw(params, generator, temperature)

    def entropy(self, params: Tensor) -> Tensor:
        log_p = params.log_softmax(0)
        return -(log_p.exp() * log_p).sum(0)


class LogisticLevels(Levels):
    r"""A mixture of logistic distributions cut into K bins; the outermost bins include the tails. The number of
    parameters does not grow with K, and neighbouring levels have similar probabilities.

    .. math:: P(x) = \sum_k w_k \left[ \sigma\!\left(\tfrac{x^+ - \mu_k}{s_k}\right) -
              \sigma\!\left(\tfrac{x^- - \mu_k}{s_k}\right) \right]

    with 0 … K-1 scaled to [-1, 1], where :math:`x^\pm` are the edges of the bin of x. Initially the components are
    evenly spread.

    Args:
        levels: K, from 2 to 256.
        mixtures: Components.

    Reference:
        Salimans, Karpathy, Chen, Kingma (2017), PixelCNN++, arXiv:1701.05517.
    """

    centres: Tensor

    def __init__(self, levels: int, mixtures: int = 10) -> None:
        super().__init__()
        at_least_one(mixtures=mixtures)
        self.levels, self.num_params = levels, 3 * mixtures
        self.register_buffer("centres", torch.linspace(-1, 1, mixtures + 2)[1:-1], persistent=False)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        log_weights, mean, log_scale = self._components(params)
        centred = x * (2 / (self.levels - 1)) - 1 - mean
        half, precision = 1 / (self.levels - 1), (-log_scale).exp()
        upper, lower = (centred + half) * precision, (centred - half) * precision
        inside = _log_difference(upper, lower)
        log_bin = torch.where(
            x == 0, F.logsigmoid(upper), torch.where(x == self.levels - 1, F.logsigmoid(-lower), inside)
        )
        return torch.logsumexp(log_weights + log_bin, 0)

    def sample(self, params: Tensor, generator: torch.Generator | None, temperature: float) -> Tensor:
        log_weights, mean, log_scale = self._components(params)
        which = _draw(log_weights, generator, temperature)[None]
        mean, log_scale = mean.gather(0, which)[0], log_scale.gather(0, which)[0]
        u = torch.rand(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device).clamp(1e-5, 1 - 1e-5)
        x = mean + temperature * log_scale.exp() * u.logit()
        return ((x + 1) * ((self.levels - 1) / 2)).round().clamp(0, self.levels - 1).long()

    def _components(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weights, mean, log_scale = params.chunk(3)
        centres = self.centres.view(-1, *[1] * (params.dim() - 1))
        return weights.log_softmax(0), mean + centres, (log_scale - 1).clamp(-7.0, 3.0)


def _log_difference(upper: Tensor, lower: Tensor) -> Tensor:
    """log(sigmoid(u) - sigmoid(l)) for u > l, as a product, to avoid cancellation."""
    return F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(lower - upper))


def _draw(logits: Tensor, generator: torch.Generator | None, temperature: float) -> Tensor:
    probabilities = (logits / temperature).softmax(0).movedim(0, -1)
    return torch.multinomial(probabilities.flatten(0, -2), 1, generator=generator).view(logits.shape[1:])
