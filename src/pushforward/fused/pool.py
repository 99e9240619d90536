"""Memory that is leased to one call at a time and used again, because mapping megabytes anew costs more than computing
in them.

One pool serves the whole process, whichever thread asks, autograd's own included. What is leased is an object with all
the views that a call needs of its memory; it comes back when the call is done, and whoever never gives it back only
loses the reuse. The pool keeps at most ``PUSHFORWARD_POOL`` MiB (256 where it is not set), of each kind of object those
of the last few batch sizes, and :func:`free_memory` empties it.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Protocol, TypeVar

import torch
from torch import Tensor

BATCH_SIZES = 4  # of which one kind of object is kept
_WARM_BYTES = 31 << 20  # just below the largest size up to which glibc learns to keep freed memory


class Leased(Protocol):
    nbytes: int


Thing = TypeVar("Thing", bound=Leased)


class Pool:
    """Objects by what they are for and for which batch size; the least recently used go first.

    Args:
        limit: Bytes that idle objects may hold together.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.nbytes = limit, 0
        self._idle: OrderedDict[tuple[Hashable, int], list[Leased]] = OrderedDict()
        self._sizes: dict[Hashable, list[int]] = {}
        self._lock = threading.Lock()
        self._warm = False

    def lease(self, kind: Hashable, batch: int, make: Callable[[], Thing]) -> Thing:
        """An object of this kind for this batch size: one that came back, or a new one."""
        with self._lock:
            things = self._idle.get((kind, batch))
            if things:
                thing = things.pop()
                self.nbytes -= thing.nbytes
                return thing  # type: ignore[return-value]
        self._warm_up()
        with torch.inference_mode(False), torch.no_grad():  # memory made in inference mode could not be written outside
            return make()

    def give_back(self, kind: Hashable, batch: int, thing: Leased) -> None:
        """Takes an object back; nobody may use it until it is leased again."""
        with self._lock:
            self._idle.setdefault((kind, batch), []).append(thing)
            self._idle.move_to_end((kind, batch))
            self.nbytes += thing.nbytes
            sizes = self._sizes.setdefault(kind, [])
            if not sizes or sizes[-1] != batch:
                if batch in sizes:
                    sizes.remove(batch)
                sizes.append(batch)
                if len(sizes) > BATCH_SIZES:
                    self._drop((kind, sizes[0]))
            while self.nbytes > self.limit and self._idle:
                self._drop(next(iter(self._idle)))

    def clear(self) -> None:
        """Lets go of everything that is idle."""
        with self._lock:
            self._idle.clear()
            self._sizes.clear()
            self.nbytes = 0

    def _drop(self, key: tuple[Hashable, int]) -> None:
        self.nbytes -= sum(thing.nbytes for thing in self._idle.pop(key, ()))
        kind, batch = key
        sizes = self._sizes.get(kind, [])
        if batch in sizes:
            sizes.remove(batch)
        if not sizes:
            self._sizes.pop(kind, None)

    def _warm_up(self) -> None:
        """Once in a process, frees one large block that nobody touched: from then on glibc keeps freed blocks of up to
        that size, where it would give them back to the system and take them anew, page by page, at every operator."""
        if not self._warm:
            self._warm = True
            torch.empty(_WARM_BYTES, dtype=torch.uint8)


POOL = Pool(int(os.environ.get("PUSHFORWARD_POOL", "256")) << 20)


def where(like: Tensor) -> tuple[Hashable, ...]:
    """What has to agree for memory of one tensor to serve another: dtype, device and, on a GPU, the stream."""
    if like.device.type != "cuda":
        return like.dtype, like.device
    return like.dtype, like.device, torch.cuda.current_stream(like.device).cuda_stream
