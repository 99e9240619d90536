"""How tensors lie in memory, and when fused functions have to stand back.

Rows keep the shape ``(*batch, features)`` everywhere; couplings and autoregressive transforms hand each other tensors
whose memory is feature-first, so that every feature is contiguous over the batch and taking some features is a view.
Images keep the shape ``(*batch, C, H, W)``, and on the CPU their memory is channel-first for the same reason: taking
half of the channels is a view, and elementwise operations run along the pixels, not along a handful of channels.
Convolutions want the channels last and get a copy, which costs less.
"""

from __future__ import annotations

import torch
from torch import Size, Tensor


def plain_operations() -> bool:
    """Whether something looks into the operations (torch.compile, export, torch.func): fused functions then give way
    to the plain formula, which a compiler fuses itself and which every transformation understands."""
    return torch.compiler.is_compiling() or transformed()


def transformed() -> bool:
    """Whether a transformation of torch.func (vmap, jvp, jacrev, ...) is under way."""
    return torch._C._are_functorch_transforms_active()


def plain_for_ever() -> bool:
    """Whether what looks into the operations can do nothing with operators of our own: torch.func and torch.export,
    whose programs have to run where this package is not."""
    exporting = getattr(torch.compiler, "is_exporting", None)  # since PyTorch 2.7
    return transformed() or exporting is None or exporting()


def feature_first(x: Tensor) -> Tensor:
    """The same tensor with its last dimension outermost in memory; free where it is so already."""
    if x.dim() == 2:  # the common case: fewer views
        return x.t().contiguous().t()
    return x.movedim(-1, 0).contiguous().movedim(0, -1)


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


def by_channel(x: Tensor) -> bool:
    """Whether images are handed on with their channels first in memory. Compilers make what is elementwise part of the
    copies anyway, and on a GPU every copy is a start of a kernel: there the channels are last."""
    return x.device.type == "cpu" and not plain_operations()


def image_layout(x: Tensor) -> Tensor:
    """The same images ``(n, C, H, W)`` as they are handed on; free where their memory is so already."""
    if by_channel(x):
        return x.movedim(1, 0).contiguous().movedim(0, 1)
    return x.contiguous(memory_format=torch.channels_last)
