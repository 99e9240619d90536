"""Feature-first memory: a batch of rows as contiguous planes ``(features, n)``.

Rows keep the shape ``(*batch, features)`` everywhere; couplings and autoregressive transforms hand each other tensors
whose memory is feature-first, so that every feature is contiguous over the batch and taking some features is a view.
"""

from __future__ import annotations

from torch import Size, Tensor


def planes(x: Tensor) -> Tensor:
    """``(*batch, features)`` as contiguous ``(features, n)``; free where the memory is feature-first already."""
    return x.movedim(-1, 0).reshape(x.shape[-1], -1).contiguous()


def unplanes(x: Tensor, batch: Size) -> Tensor:
    """The inverse of :func:`planes`; always a view."""
    return x.view(x.shape[0], *batch).movedim(0, -1)
