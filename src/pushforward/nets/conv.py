"""Convolutional parameter networks of image couplings: size-preserving, parameters first, initially zero.

Weights and activations are channels-last in memory, which kernels prefer; shapes are the usual (*batch, C, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import at_least_one, one_of
from ..saving.config import Configurable
from .mlp import ACTIVATIONS, has_context, of_context


class ConvNet(Configurable):
    r"""3x3, then 1x1, then 3x3 convolutions, as in Glow: ``(*batch, inputs, H, W)`` to
    ``(num_params, *batch, outputs, H, W)``.

    The context enters the first layer through separate weights, the same at every pixel. Starts at exactly zero.

    Args:
        inputs: Input channels.
        outputs: Channels that get parameters.
        num_params: Parameters for each number of them.
        context: Features of the context.
        hidden: Channels of the hidden layers; if empty, a single 3x3 convolution remains.
        activation: As for :class:`~pushforward.nets.MLP`.

    Raises:
        ValueError: a width is below 1, or ``activation`` is unknown.

    Reference:
        Kingma, Dhariwal (2018), Glow, arXiv:1807.03039.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        num_params: int,
        *,
        context: int = 0,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
    ) -> None:
        super().__init__()
        widths = [inputs, *hidden, outputs * num_params]
        at_least_one(channels=widths)
        one_of(ACTIVATIONS, activation=activation)
        last = len(widths) - 2
        self.num_params, self.activation = num_params, activation
        self.layers = nn.ModuleList(
            conv(a, b, 3 if layer in (0, last) else 1, zero=layer == last)
            for layer, (a, b) in enumerate(pairwise(widths))
        )
        self.context = ContextBias(context, widths[1], zero=last == 0) if has_context(context) else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        batch, h = x.shape[:-3], as_images(x)
        h = self.layers[0](h)
        if self.context is not None:
            h = h + self.context(context, batch)
        for layer in self.layers[1:]:
            h = layer(activated_(h, self.activation))
        return params_first(h, batch, self.num_params)


class ResidualConvNet(Configurable):
    r"""Residual blocks h + conv(σ(conv(σ(h)))) of 3x3 convolutions, and a zero-initialised output layer, as in RealNVP.

    Shapes and context as for :class:`ConvNet`.

    Args:
        inputs: Input channels.
        outputs: Channels that get parameters.
        num_params: Parameters for each number of them.
        context: Features of the context.
        hidden: The width of the trunk, repeated once per residual block.
        moved: Mask of shape (H, W); where it is 0, parameters are set to zero, which is the identity.
        activation: σ, as for :class:`~pushforward.nets.MLP`.

    Raises:
        ValueError: a width is below 1, the blocks differ in width, or ``activation`` is unknown.

    Reference:
        Dinh, Sohl-Dickstein, Bengio (2017), arXiv:1605.08803. He et al. (2016), arXiv:1603.05027.
    """

    moved: Tensor | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        num_params: int,
        *,
        context: int = 0,
        hidden: Sequence[int] = (64, 64),
        moved: Tensor | None = None,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        at_least_one(channels=[inputs, *hidden, outputs * num_params])
        one_of(ACTIVATIONS, activation=activation)
        if len(set(hidden)) != 1:
            raise ValueError(f"hidden must name one width, once per residual block, got hidden={tuple(hidden)}")
        width = hidden[0]
        self.num_params, self.activation = num_params, activation
        self.entry = conv(inputs, width, 3)
        self.blocks: Any = nn.ModuleList(nn.ModuleList([conv(width, width, 3), conv(width, width, 3)]) for _ in hidden)
        self.exit = conv(width, outputs * num_params, 3, zero=True)
        self.context = ContextBias(context, width) if has_context(context) else None
        self.register_buffer("moved", moved, persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        batch, h, sigma = x.shape[:-3], as_images(x), ACTIVATIONS[self.activation]
        h = self.entry(h)
        if self.context is not None:
            h = h + self.context(context, batch)
        for first, second in self.blocks:
            h = h + second(activated_(first(sigma(h)), self.activation))
        h = self.exit(sigma(h))
        return params_first(h if self.moved is None else h * self.moved, batch, self.num_params)


class ContextBias(Configurable):
    """A per-channel bias from the context, ``(*batch or broadcastable, context)`` to ``(n, channels, 1, 1)``.

    Args:
        context: Features of the context.
        channels: Channels of the image to which it is added.
        zero: Initialise to zero instead of PyTorch's default.
    """

    def __init__(self, context: int, channels: int, *, zero: bool = False) -> None:
        super().__init__()
        weight = nn.Linear(context, channels, bias=False).weight
        self.weight = nn.Parameter(torch.zeros_like(weight)) if zero else weight

    def forward(self, context: Tensor | None, batch: Sequence[int]) -> Tensor:
        bias = of_context(context, self.weight)
        return as_images(bias.expand(*batch, -1)[..., None, None])


def conv(inputs: int, outputs: int, kernel: int, *, zero: bool = False) -> nn.Conv2d:
    """A convolution that keeps the size of the image; ``zero`` starts it at exactly zero."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    if zero:
        nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def activated_(h: Tensor, name: str) -> Tensor:
    """σ(h), in place if possible: hidden activations dominate the memory of an image flow."""
    return F.relu(h, inplace=True) if name == "relu" else ACTIVATIONS[name](h)


def as_images(x: Tensor) -> Tensor:
    """(*batch, C, H, W) to (n, C, H, W)."""
    return x if x.dim() == 4 else x.unsqueeze(0).flatten(0, -4)


def params_first(h: Tensor, batch: Sequence[int], num_params: int) -> Tensor:
    """(n, num_params · C, H, W) to (num_params, *batch, C, H, W)."""
    h = h.unflatten(1, (num_params, -1)).movedim(1, 0)
    return h if len(batch) == 1 else h.reshape(num_params, *batch, *h.shape[2:])
