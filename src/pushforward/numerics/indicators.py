"""Category codes as indicators: how a network or a linear model reads a category."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def indicators(codes: Tensor, classes: Sequence[int], dtype: torch.dtype = torch.float64) -> Tensor:
    """One-hot features, one after another: ``(*batch, columns)`` to ``(*batch, sum of classes)``.

    A code outside 0 … classes - 1 has no indicator: its features are all 0.
    """
    places = [torch.arange(size, device=codes.device) for size in classes]
    parts = [code[..., None] == place for code, place in zip(codes.unbind(-1), places, strict=True)]
    return torch.cat(parts, -1).to(dtype) if parts else codes.new_zeros(*codes.shape[:-1], 0, dtype=dtype)
