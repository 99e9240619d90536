"""Memory on the CPU that is used again, because mapping megabytes anew costs more than computing in them.

Page faults were a fifth of a masked flow's density pass and of its training step. So each thread keeps a few buffers:
``scratch`` for values that do not outlive one function, ``recycled`` for values that do, whose memory is used again
once nothing refers to it any more.

What operators allocate themselves, convolutions foremost, comes from the C library. glibc gives freed blocks back to
the system, and takes them anew page by page, until it has seen a large one freed: from then on it keeps blocks of up to
that size, and up to twice as much free memory. So one block of just under its bound of 32 MiB, which nobody ever
touches, is freed when this module is imported. On a Zen 4 a quarter of a pass through a Glow were 6,000 page faults.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from torch import Tensor

_LARGEST = 1 << 22  # numbers in one buffer; larger requests are allocated afresh
_SMALLEST = 1 << 14  # numbers below which the allocator does well enough
_MOST = 32  # scratch buffers that a thread keeps
_MOST_THINGS = 64  # that a thread keeps
_MOST_NUMBERS = 1 << 25  # in the memory of these things
_MOST_BYTES = 1 << 27  # in recycled buffers of a thread


class _Buffers(threading.local):
    def __init__(self) -> None:
        self.of: dict[Hashable, Tensor] = {}
        self.recycled: dict[tuple[int, torch.dtype], list[np.ndarray]] = {}
        self.bytes = 0
        self.kept: dict[Hashable, list[tuple[Any, int]]] = {}
        self.numbers = self.things = 0


_buffers = _Buffers()


def scratch(slot: Hashable, like: Tensor, *shape: int) -> Tensor:
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


def recycled(like: Tensor, *shape: int) -> Tensor:
    """An uninitialised tensor that may go anywhere and stay, in memory that no tensor refers to any more.

    Every buffer is an array that a tensor's storage holds a reference to as long as it lives, whoever has it: a graph,
    a gradient, a view. An array with no reference but ours is free.
    """
    size = math.prod(shape)
    if not _SMALLEST <= size <= _LARGEST or like.device.type != "cpu" or like.dtype not in _RECYCLABLE:
        return like.new_empty(shape)
    arrays = _buffers.recycled.setdefault((size, like.dtype), [])
    for array in arrays:
        if sys.getrefcount(array) == _UNUSED:
            return torch.from_numpy(array).view(shape)
    if _buffers.bytes + size * like.itemsize > _MOST_BYTES:
        _buffers.recycled.clear()  # what is still in use lives on without us
        _buffers.bytes = 0
        arrays = _buffers.recycled.setdefault((size, like.dtype), [])
    arrays.append(torch.empty(size, dtype=like.dtype).numpy())
    _buffers.bytes += size * like.itemsize
    return torch.from_numpy(arrays[-1]).view(shape)


def on(like: Tensor) -> tuple[Hashable, ...]:
    """What has to agree for memory of one tensor to serve another: dtype, device and, on a GPU, the stream."""
    if like.device.type != "cuda":
        return like.dtype, like.device
    return like.dtype, like.device, torch.cuda.current_stream(like.device).cuda_stream


def keep(key: Hashable, thing: Any, numbers: int) -> None:
    """Keeps a thing that was costly to prepare until the same thread takes it, or has kept many others since.

    Args:
        key: What to :func:`take` it by; several things may have one key.
        thing: What is kept.
        numbers: How many numbers lie in its memory; where there are too many it is not kept.
    """
    if numbers > _MOST_NUMBERS // 2:
        return
    kept = _buffers.kept
    things = kept.pop(key, [])  # what was used last goes last
    things.append((thing, numbers))
    kept[key] = things
    _buffers.numbers += numbers
    _buffers.things += 1
    while _buffers.numbers > _MOST_NUMBERS or _buffers.things > _MOST_THINGS:
        take(next(iter(kept)))


def take(key: Hashable) -> Any:
    """What this thread kept under the key, or None; nobody else gets it meanwhile."""
    things = _buffers.kept.get(key)
    if things is None:
        return None
    thing, numbers = things.pop()
    if not things:
        del _buffers.kept[key]
    _buffers.numbers -= numbers
    _buffers.things -= 1
    return thing


def _unused() -> int:
    """The references that the loop above counts of an array that only the list holds."""
    for array in [np.empty(1)]:
        return sys.getrefcount(array)
    raise AssertionError


_UNUSED = _unused()
torch.empty(31 << 20, dtype=torch.uint8)  # see above
_RECYCLABLE = (torch.float32, torch.float64)
