"""How couplings divide an event into a part that is kept and a part that is moved: vectors, and images (C, H, W)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import at_least_one
from ..saving.config import Configurable


class Split(Configurable):
    """Divides an event into a part that is kept and a part that is moved, and joins them again."""

    event_dim: int = 1

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The kept and the moved part."""
        raise NotImplementedError

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        """The event of these parts."""
        raise NotImplementedError


class InTwo(Split):
    """The first half along a dimension is kept, the second moved; ``swap`` exchanges the roles."""

    dim = -1

    def __init__(self, size: int, swap: bool) -> None:
        super().__init__()
        self.cut, self.swap = size // 2, swap and size > 1
        self.moved = self.cut if self.swap else size - self.cut
        self.kept = size - self.moved

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.tensor_split((self.cut,), self.dim)
        return (second, first) if self.swap else (first, second)

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([moved, kept] if self.swap else [kept, moved], self.dim)


class Half(InTwo):
    """The first half of a vector is kept, the second moved; ``swap`` exchanges the roles. A single feature is moved.

    Args:
        features: Features of an event.
        swap: Keep the second part instead.
    """

    def __init__(self, features: int, swap: bool = False) -> None:
        at_least_one(features=features)
        super().__init__(features, swap)


class Alternate(Split):
    """Every other feature of a vector is kept: the even ones, or with ``swap`` the odd ones. A single feature is moved.

    Args:
        features: Features of an event.
        swap: Keep the odd positions instead.
    """

    back: Tensor

    def __init__(self, features: int, swap: bool = False) -> None:
        super().__init__()
        at_least_one(features=features)
        self.start = 1 if swap or features == 1 else 0
        kept = torch.arange(self.start, features, 2)
        moved = torch.arange(1 - self.start, features, 2)
        self.kept, self.moved = len(kept), len(moved)
        self.register_buffer("back", torch.argsort(torch.cat([kept, moved])), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[..., self.start :: 2], x[..., 1 - self.start :: 2]

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([kept, moved], -1).index_select(-1, self.back)


class Channel(InTwo):
    """The first half of the channels is kept, the second moved; ``swap`` exchanges the roles. Splits the image.

    Args:
        channels: Channels of the image, at least 2.
        swap: Keep the second half instead.

    Raises:
        ValueError: there are fewer than 2 channels.

    Reference:
        Lecture: "RealNVP", image partitioning.
    """

    event_dim, dim = 3, -3

    def __init__(self, channels: int, swap: bool = False) -> None:
        if channels < 2:
            raise ValueError(
                f"channels must be at least 2 to be split, got channels={channels}: squeeze the image first"
            )
        super().__init__(channels, swap)


class Checkerboard(Split):
    """The black squares of a checkerboard are kept, the white moved; ``swap`` exchanges the roles. Masks the image.

    Both parts have the size of the whole image, with zeros in the other's squares. So the network must give zero
    parameters (the identity) wherever ``mask`` is 1: then zeros stay zeros and add nothing to the log-determinant.
    Height and width may be odd.

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
