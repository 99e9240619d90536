"""How tensors lie in memory between fused maps.

Events keep the shape ``(*batch, features)`` everywhere; fused maps hand each other tensors whose memory is
feature-first, so that every feature is contiguous over the batch and taking some features is a view. Images keep the
shape ``(*batch, C, H, W)``, and on the CPU their memory is channel-first for the same reason: taking half of the
channels is a view, and elementwise operations run along the pixels, not along a handful of channels.
"""

from __future__ import annotations

from torch import Size, Tensor


def planes(x: Tensor) -> Tensor:
    """``(*batch, features)`` as contiguous ``(features, n)``; free where the memory is feature-first already."""
    if x.dim() == 2:
        return x.t().contiguous()
    return x.movedim(-1, 0).reshape(x.shape[-1], x.shape[:-1].numel()).contiguous()


def unplanes(x: Tensor, batch: Size) -> Tensor:
    """The inverse of :func:`planes`; always a view."""
    if len(batch) == 1:
        return x.t()
    return x.view(x.shape[0], *batch).movedim(0, -1)


def channel_first(x: Tensor) -> Tensor:
    """The same images ``(*, C, H, W)`` with the channels outermost in memory; free where they are so already."""
    return x.movedim(-3, 0).contiguous().movedim(0, -3)
