"""Encoders of series, images and table rows: contexts in which order, location or column matters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import at_least_one
from ..numerics.indicators import indicators
from .encoders import Encoder, dense, present


class SeriesConv(Encoder):
    """A series of any length as features: convolutions over time, then mean and max pooling.

    Args:
        inputs: Numbers per step; a context is ``(steps, inputs)``. Steps containing NaN are padding.
        features: Output features.
        hidden: Channels of the convolutions; each after the first doubles the dilation.
        kernel: Kernel size in steps, odd.

    Raises:
        ValueError: a size is not positive, or ``kernel`` is even.

    Reference:
        Bai, Kolter, Koltun (2018), Convolutional and recurrent networks for sequence modeling, arXiv:1803.01271.
    """

    context_dim, takes_missing = 2, True

    def __init__(self, inputs: int, features: int, *, hidden: Sequence[int] = (32, 32, 32), kernel: int = 5) -> None:
        super().__init__()
        at_least_one(inputs=inputs, features=features, kernel=kernel)
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got kernel={kernel}")
        self.features = features
        widths = [inputs, *hidden]
        self.convolutions: Any = nn.ModuleList(
            nn.Conv1d(a, b, kernel, padding=kernel // 2 * 2**k, dilation=2**k)
            for k, (a, b) in enumerate(itertools.pairwise(widths))
        )
        self.leave = nn.Linear(2 * hidden[-1], features)

    def forward(self, context: Tensor) -> Tensor:
        steps, there = (part.transpose(1, 2) for part in present(context))  # (n, inputs or 1, steps)
        h = steps
        for convolution in self.convolutions:
            h = nn.functional.silu(convolution(h)) * there
        mean = h.sum(-1) / there.sum(-1).clamp_min(1)
        largest = h.masked_fill(there == 0, -1.0).amax(-1)  # SiLU is never below -1
        return self.leave(torch.cat([mean, largest], -1))  # type: ignore[no-any-return]


class Recurrent(Encoder):
    """A series of any length as features: the state of a gated recurrent unit after the last step.

    Args:
        inputs: Numbers per step; a context is ``(steps, inputs)``. Steps containing NaN are padding and change nothing.
        features: Output features.
        width: Size of the state.

    Reference:
        Cho et al. (2014), Learning phrase representations using RNN encoder-decoder, arXiv:1406.1078.
    """

    context_dim, takes_missing = 2, True

    def __init__(self, inputs: int, features: int, *, width: int = 64) -> None:
        super().__init__()
        at_least_one(inputs=inputs, features=features, width=width)
        self.features = features
        self.cell, self.leave = nn.GRUCell(inputs, width), nn.Linear(width, features)

    def forward(self, context: Tensor) -> Tensor:
        steps, there = present(context)
        h = steps.new_zeros(len(steps), self.cell.hidden_size)
        for step, seen in zip(steps.unbind(1), there.unbind(1), strict=True):
            h = torch.where(seen > 0, self.cell(step, h), h)
        return self.leave(h)  # type: ignore[no-any-return]


class ImageEncoder(Encoder):
    """An image of any size as features: convolutions that halve it, then the mean over all pixels.

    Args:
        channels: Channels of the image; a context is ``(channels, height, width)``.
        features: Output features.
        hidden: Channels of the convolutions.
    """

    context_dim = 3

    def __init__(self, channels: int, features: int, *, hidden: Sequence[int] = (32, 64, 64)) -> None:
        super().__init__()
        at_least_one(channels=channels, features=features)
        self.features = features
        layers: list[nn.Module] = []
        for inputs, outputs in zip([channels, *hidden[:-1]], hidden, strict=True):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.SiLU()]
        self.layers = nn.Sequential(*layers)
        self.leave = nn.Linear(hidden[-1], features)

    def forward(self, context: Tensor) -> Tensor:
        return self.leave(self.layers(context).mean((-2, -1)))  # type: ignore[no-any-return]


class MixedRow(Encoder):
    """A row of numbers and categories as features; NaN, or a code outside a column's range, counts as missing.

    Args:
        classes: For every column its number of categories, coded from 0, or None for numbers.
        features: Output features.
        hidden: Widths of the hidden layers.

    Raises:
        ValueError: there are no columns, or a size is not positive.
    """

    context_dim, takes_missing = 1, True

    def __init__(self, classes: Sequence[int | None], features: int, *, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        at_least_one(columns=len(classes), features=features, classes=min((c or 1 for c in classes), default=0))
        self.features, self.classes = features, tuple(size or 0 for size in classes)
        widths = [size or 2 for size in self.classes]  # a number comes with a presence indicator
        self.layers = dense([sum(widths), *hidden, features])

    def forward(self, context: Tensor) -> Tensor:
        parts: list[Tensor] = []
        for column, size in zip(context.unbind(-1), self.classes, strict=True):
            if size:
                parts.append(indicators(column[:, None].nan_to_num(-1.0), [size], context.dtype))
            else:
                parts += [column.nan_to_num(0.0)[:, None], column.isnan().to(context.dtype)[:, None]]
        return self.layers(torch.cat(parts, -1))  # type: ignore[no-any-return]
