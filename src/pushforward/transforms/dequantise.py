r"""From whole numbers to densities: dequantisation inside the model, and the logit that maps it to the real line.

A density p of images in [0, 1) defines a probability of discrete images with K levels,

.. math:: \log P(x) = \log \int_{[0,1)^D} p\left(\tfrac{x + u}{K}\right) K^{-D}\, du
          \ge \mathbb{E}_{q(u \mid x)} \left[ \log p\left(\tfrac{x + u}{K}\right) - D \log K - \log q(u \mid x) \right]

and the right-hand side, with one draw of u, is what a flow that begins with one of these transforms calls ``log_prob``.

Reference:
    Theis, van den Oord, Bethge (2016), arXiv:1511.01844; Ho et al. (2019), Flow++, arXiv:1902.00275.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..nets.conv import ConvNet
from .base import Transform, sum_event
from .elementwise import Elementwise


class Dequantise(Transform):
    """z = (x + u) / levels with uniform noise u; back, the level whose cell z lies in.

    Forward draws new noise each time, from the global generator. x may be of any dtype, uint8 for one.

    Args:
        levels: x holds whole numbers from 0 to levels - 1.
        event_dim: Trailing dimensions of one event.

    Raises:
        ValueError: ``levels`` is below 2.
    """

    like: Tensor

    def __init__(self, levels: int = 256, event_dim: int = 3) -> None:
        super().__init__()
        if levels < 2:
            raise ValueError(f"levels must be at least 2, got levels={levels}")
        self.levels, self.event_dim = levels, event_dim
        self.register_buffer("like", torch.zeros(()), persistent=False)  # gives the dtype to work in

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = x.to(self.like.dtype)
        return (x + torch.rand_like(x)) / self.levels, self._logdet(x, -1.0)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _cell(z, self.levels), self._logdet(z, 1.0)

    def _logdet(self, x: Tensor, sign: float) -> Tensor:
        batch, event = x.shape[: x.dim() - self.event_dim], x.shape[x.dim() - self.event_dim :]
        return x.new_full(batch, sign * event.numel() * math.log(self.levels))


class VariationalDequantise(Transform):
    r"""Like :class:`Dequantise`, with noise whose distribution given x is learnt, for a tighter bound.

    .. math:: u = \mathrm{sigmoid}(\mu(x) + e^{s(x)} \epsilon),\quad \epsilon \sim N(0, I)

    with mu and s from a convolutional network; the start is close to uniform.

    Args:
        shape: (C, H, W) of the images.
        levels: x holds whole numbers from 0 to levels - 1.
        hidden: Channels of the network's hidden layers.

    Raises:
        ValueError: ``levels`` is below 2.
    """

    event_dim = 3
    like: Tensor

    def __init__(self, shape: Sequence[int], levels: int = 256, hidden: int = 32) -> None:
        super().__init__()
        if levels < 2:
            raise ValueError(f"levels must be at least 2, got levels={levels}")
        self.levels = levels
        self.net = ConvNet(shape[0], shape[0], 2, hidden=(hidden, hidden))
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = x.to(self.like.dtype)
        noise = torch.randn_like(x)
        mean, s = self.net(2 * x / (self.levels - 1) - 1)
        log_scale = s.clamp(-5.0, 5.0) + math.log(1.7)  # a normal 1.7 times as wide is close to a logistic
        v = mean + log_scale.exp() * noise
        log_q = -0.5 * (noise.square() + math.log(2 * math.pi)) - log_scale - F.logsigmoid(v) - F.logsigmoid(-v)
        return (x + v.sigmoid()) / self.levels, -sum_event(log_q + math.log(self.levels), 3)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The level of z; its log-determinant leaves out the noise, which cannot be recovered from z."""
        x = _cell(z, self.levels)
        return x, x.new_full(x.shape[:-3], x.shape[-3:].numel() * math.log(self.levels))


class UnitLogit(Elementwise):
    r"""z = logit(alpha + (1 - 2 alpha) x), from [0, 1] to a bounded part of the real line.

    Args:
        alpha: Keeps clear of the ends, where the logit is infinite; in (0, 0.5).
        event_dim: Trailing dimensions of one event.

    Raises:
        ValueError: ``alpha`` is not in (0, 0.5).

    Reference:
        Dinh, Sohl-Dickstein, Bengio (2017), arXiv:1605.08803, section 4.1.
    """

    def __init__(self, alpha: float = 0.05, event_dim: int = 3) -> None:
        super().__init__(event_dim)
        if not 0 < alpha < 0.5:
            raise ValueError(f"alpha must be between 0 and 0.5, got alpha={alpha}")
        self.alpha = alpha

    def f(self, x: Tensor) -> Tensor:
        return (self.alpha + (1 - 2 * self.alpha) * x).logit()

    def g(self, z: Tensor) -> Tensor:
        return (z.sigmoid() - self.alpha) / (1 - 2 * self.alpha)

    def log_slope(self, x: Tensor, z: Tensor) -> Tensor:
        return math.log(1 - 2 * self.alpha) - F.logsigmoid(z) - F.logsigmoid(-z)


def _cell(z: Tensor, levels: int) -> Tensor:
    return (z * levels).floor().clamp(0, levels - 1)
