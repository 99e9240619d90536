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

_LARGEST = 1 << 22  # numbers in one buffer; larger requests are allocated afresh
_MOST = 32  # buffers that a thread keeps


class _Buffers(threading.local):
    def __init__(self) -> None:
        self.of: dict[tuple[object, tuple[int, ...], torch.dtype], Tensor] = {}


_buffers = _Buffers()


def fresh(slot: object, like: Tensor, *shape: int) -> Tensor:
    """An uninitialised tensor of its own, for what has to last: the other choice where a function takes either."""
    return like.new_empty(shape)


def scratch(slot: object, like: Tensor, *shape: int) -> Tensor:
    """An uninitialised tensor of the dtype and device of ``like``; the next call with this slot may overwrite it."""
    if like.device.type != "cpu" or math.prod(shape) > _LARGEST:
        return like.new_empty(shape)
    key = (slot, shape, like.dtype)
    kept = _buffers.of.get(key)
    if kept is None:
        if len(_buffers.of) >= _MOST:
            _buffers.of.clear()
        with torch.inference_mode(False):  # a buffer made in inference mode could not be written outside it
            kept = _buffers.of[key] = like.new_empty(shape)
    return kept
