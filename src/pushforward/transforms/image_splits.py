"""How image couplings divide an event (C, H, W): over the squares of a checkerboard, or over the channels."""

from __future__ import annotations

import torch
from torch import Tensor

from ..numerics.layout import by_channel
from .coupling import Split


class Channel(Split):
    """The first half of the channels is kept, the second moved; ``swap`` exchanges the roles. This splits.

    Args:
        channels: Channels of the image, at least 2.
        swap: Keep the second half instead.

    Raises:
        ValueError: there are fewer than 2 channels.

    Reference:
        Lecture: "RealNVP", image partitioning.
    """

    event_dim = 3

    def __init__(self, channels: int, swap: bool = False) -> None:
        super().__init__()
        if channels < 2:
            raise ValueError(
                f"channels must be at least 2 to be split, got channels={channels}: squeeze the image first"
            )
        self.cut, self.swap = channels // 2, swap
        self.moved = self.cut if swap else channels - self.cut
        self.kept = channels - self.moved

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.split((self.cut, x.shape[-3] - self.cut), -3)
        return (second, first) if self.swap else (first, second)

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        parts = [moved, kept] if self.swap else [kept, moved]
        if not by_channel(kept):
            return torch.cat(parts, -3)
        return torch.cat([part.movedim(-3, 0) for part in parts]).movedim(0, -3)


class Checkerboard(Split):
    """The black squares of a checkerboard are kept, the white moved; ``swap`` exchanges the roles. This masks.

    Both parts have the size of the whole image, with zeros in the other's squares. So the network must give zero
    parameters, which is the identity, wherever ``mask`` is 1: then zeros stay zeros and add nothing to the
    log-determinant. Any height and width will do, odd ones too.

    Args:
        height: H of the image.
        width: W of the image.
        swap: Keep the white squares instead.

    Raises:
        ValueError: the image has fewer than 2 pixels.

    Reference:
        Lecture: "RealNVP", image partitioning.
    """

    event_dim = 3
    mask: Tensor

    def __init__(self, height: int, width: int, swap: bool = False) -> None:
        super().__init__()
        if height * width < 2 or height < 1:
            raise ValueError(f"a checkerboard needs at least 2 pixels, got an image of {height} x {width}")
        squares = (torch.arange(height)[:, None] + torch.arange(width)) % 2
        self.register_buffer("mask", (squares == int(swap)).float(), persistent=False)  # 1 where x is kept

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept = x * self.mask
        return kept, x - kept

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        return kept + moved
