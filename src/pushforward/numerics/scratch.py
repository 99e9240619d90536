"""Scratch memory for values that do not outlive one function.

Hidden units of megabytes that are mapped, used once and unmapped cost more in page faults than in arithmetic (a fifth
of a masked flow's density pass). On the CPU each thread keeps a few such buffers instead; nothing in them survives a
call, and no tensor that leaves a function lies in them.
"""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor

_LARGEST = 1 << 24  # bytes that a thread keeps per buffer; larger requests are allocated afresh


class _Buffers(threading.local):
    def __init__(self) -> None:
        self.of: dict[int, Tensor] = {}


_buffers = _Buffers()


def scratch(slot: int, like: Tensor, *shape: int) -> Tensor:
    """An uninitialised tensor of the dtype and device of ``like``; the next call with this slot overwrites it."""
    size = math.prod(shape) * like.element_size()
    if like.device.type != "cpu" or size > _LARGEST:
        return like.new_empty(shape)
    kept = _buffers.of.get(slot)
    if kept is None or len(kept) < size:
        kept = _buffers.of[slot] = torch.empty(size, dtype=torch.uint8)
    return kept[:size].view(like.dtype).view(shape)
