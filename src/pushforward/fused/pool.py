"""Memory that is leased to one call at a time and reused, because mapping megabytes anew costs more than computing in
them.

One pool serves all threads of the process, including autograd's own. A lease is an object with all the views of its
memory that a call needs; it is returned when the call is done, and one that is never returned only forgoes reuse. The
pool keeps at most ``PUSHFORWARD_POOL`` MiB (256 if unset), and of each kind of object those of the last few batch
sizes; :func:`free_memory` empties it.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Protocol, TypeVar

import torch
from torch import Tensor

BATCH_SIZES = 4  # kept for each kind of object

# As the room is first used, one large block is allocated and freed, untouched. From then on glibc keeps freed blocks of
# up to that size, which is just below the largest that it can adapt to, instead of returning them to the system and
# mapping them anew, page by page, at every operator.
torch.empty(31 << 20, dtype=torch.uint8)


class Leased(Protocol):
    nbytes: int


Thing = TypeVar("Thing", bound=Leased)


class Pool:
    """Objects by kind and batch size; the least recently used are evicted first.

    Args:
        limit: Total bytes that idle objects may hold.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.nbytes = limit, 0
        self._idle: OrderedDict[tuple[Hashable, int], list[Leased]] = OrderedDict()
        self._sizes: dict[Hashable, list[int]] = {}
        self._lock = threading.Lock()

    def lease(self, kind: Hashable, batch: int, make: Callable[[], Thing]) -> Thing:
        """An object of this kind for this batch size: a returned one, or a new one."""
        with self._lock:
            things = self._idle.get((kind, batch))
            if things:
                thing = things.pop()
                self.nbytes -= thing.nbytes
                return thing  # type: ignore[return-value]
        with torch.inference_mode(False), torch.no_grad():  # memory made in inference mode cannot be written outside it
            return make()

    def give_back(self, kind: Hashable, batch: int, thing: Leased) -> None:
        """Takes an object back; it must not be used until it is leased again."""
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
        """Drops everything idle."""
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


POOL = Pool(int(os.environ.get("PUSHFORWARD_POOL", "256")) << 20)


def where(like: Tensor) -> tuple[Hashable, ...]:
    """What must match for the memory of one tensor to serve another: dtype, device and, on a GPU, the stream."""
    if like.device.type != "cuda":
        return like.dtype, like.device
    return like.dtype, like.device, torch.cuda.current_stream(like.device).cuda_stream
