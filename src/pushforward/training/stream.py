"""Mini-batches of rows that do not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch

from ..distributions.base import Density
from .batches import RowBatches, Rows
from .distributed import World


@runtime_checkable
class Stream(Protocol):
    """Training rows that are read anew in every epoch, each time in a different order.

    Attributes:
        rows: Number of rows in an epoch.
    """

    rows: int

    def read(self, epoch: int, start: int) -> Iterator[tuple[Any, ...]]:
        """The rows of an epoch in its order, from row ``start`` on, in pieces, and their context or None; with unequal
        weights, also these as a third item, in units of their mean.

        The order depends only on the epoch, so that a resumed run sees the same rows as an uninterrupted one.
        """
        ...

    def identity(self) -> int:
        """A number that identifies these rows in this order."""
        ...


class StreamBatches(RowBatches):
    """Mini-batches of a stream, with the interface of :class:`~pushforward.training.batches.Batches`.

    Every process reads the whole stream and keeps its share of every batch, so that several processes train on the same
    batches as a single one.
    """

    def __init__(self, stream: Stream, flow: Density, held_out: Rows | None, *, batch_size: int, world: World) -> None:
        super().__init__(stream.rows, held_out, batch_size, world)
        self.stream, self.flow = stream, flow
        self._next = -1
        self._pieces: Iterator[tuple[Any, ...]] = iter(())
        self._piece, self._used = Rows(torch.empty(0)), 0

    def batch(self, step: int) -> tuple[Any, ...]:
        """The inputs of the objective for a step, on this process."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if step != self._next or place == 0:
            self._pieces = self.stream.read(epoch, place * self.size)
            self._piece, self._used = Rows(torch.empty(0)), 0
        self._next = step + 1
        joint = self._take(self.size)
        count = self.world.count
        return tuple(None if part is None else part[self.world.rank :: count][: self.size // count] for part in joint)

    def first(self, rows: int) -> tuple[Any, ...]:
        """The inputs of the first steps, on this process, until they comprise this many rows."""
        batches = [self.batch(step) for step in range(min(max(-(-rows // self.size), 1), self.steps_per_epoch))]
        return tuple(None if parts[0] is None else torch.cat(parts) for parts in zip(*batches, strict=True))

    def _take(self, rows: int) -> list[Any]:
        """The next rows of the stream."""
        parts: list[tuple[Any, ...]] = []
        while rows:
            if self._used == len(self._piece):
                self._piece, self._used = Rows(*next(self._pieces)).to_flow(self.flow), 0
            end = min(self._used + rows, len(self._piece))
            parts.append(self._piece[self._used : end].parts)
            rows, self._used = rows - (end - self._used), end
        return [part[0] if len(part) == 1 or part[0] is None else torch.cat(part) for part in zip(*parts, strict=True)]

    def identity(self) -> dict[str, int]:
        """What a checkpoint must match to be resumed on these rows."""
        return {"rows": self.stream.rows, "batch": self.size, "checksum": self.stream.identity()}
