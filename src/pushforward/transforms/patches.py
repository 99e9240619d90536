"""Images as sequences of patches, for autoregressive transforms over positions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from .base import Transform


class Patches(Transform):
    r"""(C, H, W) to a vector: the patches in raster order, each of C · patch² numbers. :math:`\log|\det| = 0`.

    Args:
        shape: (C, H, W) of the images.
        patch: Side of a patch.

    Raises:
        ValueError: ``shape`` is not that of an image, or ``patch`` does not divide its height and width.

    Reference:
        Zhai et al. (2024), Normalizing flows are capable generative models, arXiv:2412.06329.
    """

    event_dim = 3
    out_event_dim = 1

    def __init__(self, shape: Sequence[int], patch: int) -> None:
        super().__init__()
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape must be (channels, height, width), got {tuple(shape)}")
        if patch < 1 or shape[1] % patch or shape[2] % patch:
            raise ValueError(f"patch={patch} does not divide the image's height and width, {shape[1]} x {shape[2]}")
        self.shape = self.event_shape = tuple(shape)
        self.patch = patch

    @property
    def out_event_shape(self) -> Sequence[int]:
        return (math.prod(self.shape),)

    @property
    def positions(self) -> int:
        """Number of patches per image."""
        return self.shape[1] // self.patch * (self.shape[2] // self.patch)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        blocks = x.unflatten(-1, (-1, self.patch)).unflatten(-3, (-1, self.patch))  # (C, h, p, w, p)
        return blocks.movedim((-4, -2), (-5, -4)).flatten(-5), x.new_zeros(x.shape[:-3])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        C, H, W = self.shape
        blocks = z.unflatten(-1, (H // self.patch, W // self.patch, C, self.patch, self.patch))
        return blocks.movedim((-5, -4), (-4, -2)).flatten(-4, -3).flatten(-2), z.new_zeros(z.shape[:-1])
