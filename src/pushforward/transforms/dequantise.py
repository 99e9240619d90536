r"""From whole numbers to densities: dequantisation inside the model, and the logit that maps to the real line.

A density p of images in [0, 1) defines a probability of discrete images with K levels,

.. math:: \log P(x) = \log \int_{[0,1)^D} p\left(\tfrac{x + u}{K}\right) K^{-D}\, du
          \ge \mathbb{E}_{q(u \mid x)} \left[ \log p\left(\tfrac{x + u}{K}\right) - D \log K - \log q(u \mid x) \right]

and the right-hand side, with one draw of u, is the ``log_prob`` of a flow that begins with one of these transforms.

Reference:
    Theis, van den Oord, Bethge (2016), arXiv:1511.01844; Ho et al. (2019), Flow++, arXiv:1902.00275.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from ..errors import positive
from ..nets.conv import ConvNet
from .base import Transform, sum_event
from .elementwise import Elementwise


class FromLevels(Transform):
    """From whole numbers to numbers with a density. Forward draws new noise at each call, from the global generator;
    the inverse gives the level whose cell contains z.

    Args:
        levels: x holds whole numbers from 0 to levels - 1, of any dtype, such as uint8; None for real numbers, where
            these may be.
        event_dim: Trailing dimensions of one event.
    """

    like: Tensor
    or_real: ClassVar[bool] = False  # whether x may be real numbers

    def __init__(self, levels: Any, event_dim: int) -> None:
        super().__init__()
        if not self.or_real if levels is None else levels < 2:
            raise ValueError(f"levels must be at least 2, got levels={levels}")
        self.levels, self.event_dim = levels, event_dim
        self.register_buffer("like", torch.zeros(()), persistent=False)  # carries the working dtype

    @property
    def domain(self) -> constraints.Constraint:
        return constraints.real if self.levels is None else constraints.integer_interval(0, self.levels - 1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The level of z; the log-determinant leaves out the noise, which cannot be recovered from z."""
        return (z * self.levels).floor().clamp(0, self.levels - 1), self._logdet(z, 1.0)

    def _logdet(self, x: Tensor, sign: float) -> Tensor:
        batch, event = x.shape[: x.dim() - self.event_dim], x.shape[x.dim() - self.event_dim :]
        return x.new_full(batch, sign * event.numel() * math.log(self.levels))


class Dequantise(FromLevels):
    """z = (x + u) / levels with uniform noise u, drawn anew at each call; x may have any dtype, such as uint8.

    Args:
        levels: x holds whole numbers from 0 to levels - 1.
        event_dim: Trailing dimensions of one event.

    Raises:
        ValueError: ``levels`` is below 2.
    """

    def __init__(self, levels: int = 256, event_dim: int = 3) -> None:
        super().__init__(levels, event_dim)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = x.to(self.like.dtype)
        return (x + torch.rand_like(x)) / self.levels, self._logdet(x, -1.0)


class VariationalDequantise(FromLevels):
    r"""Like :class:`Dequantise`, with noise whose distribution given x is learnt, for a tighter bound.

    .. math:: u = \mathrm{sigmoid}(\mu(x) + e^{s(x)} \epsilon),\quad \epsilon \sim N(0, I)

    with mu and s from a convolutional network; initially close to uniform.

    Args:
        shape: (C, H, W) of the images.
        levels: x holds whole numbers from 0 to levels - 1.
        hidden: Channels of the network's hidden layers.

    Raises:
        ValueError: ``levels`` is below 2.
    """

    def __init__(self, shape: Sequence[int], levels: int = 256, hidden: int = 32) -> None:
        super().__init__(levels, 3)
        self.net = ConvNet(shape[0], shape[0], 2, hidden=(hidden, hidden))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = x.to(self.like.dtype)
        noise = torch.randn_like(x)
        mean, s = self.net(2 * x / (self.levels - 1) - 1)
        log_scale = s.clamp(-5.0, 5.0) + math.log(1.7)  # a normal 1.7 times as wide is close to a logistic
        v = mean + log_scale.exp() * noise
        log_q = -0.5 * (noise.square() + math.log(2 * math.pi)) - log_scale - F.logsigmoid(v) - F.logsigmoid(-v)
        return (x + v.sigmoid()) / self.levels, -sum_event(log_q + math.log(self.levels), 3)


class GaussianNoise(FromLevels):
    r"""z = v(x) + sigma · epsilon with Gaussian noise epsilon; the inverse gives z itself, or the level closest to it.

    For real numbers, v(x) = x and the density is that of noisy events. For whole numbers, v(x) = 2x / (levels - 1) - 1
    lies in [-1, 1], and the log-determinant makes the log-density a lower bound on the log-probability of x, however
    wide the noise: with :math:`P(x \mid z) \propto N(z; v(x), \sigma^2)`,

    .. math:: \log P(x) \ge \mathbb{E} \left[\log p(z) + \log \frac{P(x \mid z)}{q(z \mid x)}\right],\quad
              \log \frac{P(x \mid z)}{q(z \mid x)} = - \sum_j \log \sum_k N(z_j; v(k), \sigma^2)

    Forward draws new noise at each call, from the global generator. A flow that begins with it can remove the noise
    from its samples: ``flow.sample(..., denoise=True)``.

    Args:
        noise: sigma, the standard deviation.
        levels: x holds whole numbers from 0 to levels - 1; None for real numbers.
        event_dim: Trailing dimensions of one event.

    Raises:
        ValueError: ``noise`` is not positive, or ``levels`` is below 2.

    Reference:
        Zhai et al. (2024), arXiv:2412.06329, section 3.2.
    """

    or_real = True

    def __init__(self, noise: float, levels: int | None = None, event_dim: int = 3) -> None:
        super().__init__(levels, event_dim)
        positive(noise=noise)
        self.noise = noise

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        centre = self.centre(x)
        z = centre + self.noise * torch.randn_like(centre)
        if self.levels is None:
            return z, self._zeros(z)
        scale = math.log(self.noise * math.sqrt(2 * math.pi))
        return z, -sum_event(self._log_levels(z) - scale, self.event_dim)

    def centre(self, x: Tensor) -> Tensor:
        """v(x), in the dtype of the weights."""
        x = x.to(self.like.dtype)
        return x if self.levels is None else 2 * x / (self.levels - 1) - 1

    def log_level(self, x: Tensor, z: Tensor) -> Tensor:
        """log P(x | z) for each whole number, in nats, of the shape of z."""
        return -0.5 * ((z - self.centre(x)) / self.noise).square() - self._log_levels(z)

    def _log_levels(self, z: Tensor) -> Tensor:
        r""":math:`\log \sum_k \exp(-(z_j - v(k))^2 / 2 \sigma^2)` for each number."""
        values = torch.linspace(-1, 1, self.levels, dtype=z.dtype, device=z.device)
        likely = torch.zeros_like(z)
        for part in values.split(32):  # all at once would take 256 times the memory of the images
            likely = likely + ((z.unsqueeze(-1) - part) / self.noise).square().mul(-0.5).exp().sum(-1)
        return likely.log()

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The log-determinant is 0: the noise cannot be recovered from z."""
        if self.levels is None:
            return z, self._zeros(z)
        return ((z + 1) * ((self.levels - 1) / 2)).round().clamp(0, self.levels - 1), self._zeros(z)

    def _zeros(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[: x.dim() - self.event_dim])


class UnitLogit(Elementwise):
    r"""z = logit(alpha + (1 - 2 alpha) x), from [0, 1] to a bounded part of the real line.

    Args:
        alpha: Distance from the ends, where the logit is infinite; in (0, 0.5).
        event_dim: Trailing dimensions of one event.

    Raises:
        ValueError: ``alpha`` is not in (0, 0.5).

    Reference:
        Dinh, Sohl-Dickstein, Bengio (2017), arXiv:1605.08803, section 4.1.
    """

    domain = constraints.unit_interval

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
