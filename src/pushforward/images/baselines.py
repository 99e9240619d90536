"""The baseline for images: independent pixels."""

from __future__ import annotations

import torch
from torch import Tensor


class IndependentPixels:
    r"""Images without structure: every number follows its own histogram over the training images.

    .. math:: P(x) = \prod_j \frac{n_j(x_j) + 1}{n + K}

    Args:
        images: Training images (n, C, H, W), whole numbers.
        levels: K; numbers run from 0 to K - 1.
    """

    def __init__(self, images: Tensor, levels: int) -> None:
        self.levels = levels
        self.places = levels * torch.arange(images[0].numel())
        counts = torch.ones(len(self.places) * levels)
        for part in images.split(256):
            cells = (self.places + part.flatten(1)).flatten()
            counts += torch.bincount(cells, minlength=len(counts))
        self.log_table = (counts / (len(images) + levels)).log()

    def __call__(self, images: Tensor) -> Tensor:
        """log P of images (n, C, H, W) in nats, of shape (n,), float64."""
        parts = [self.log_table[self.places + part.flatten(1)].double().sum(1) for part in images.split(256)]
        return torch.cat(parts)
