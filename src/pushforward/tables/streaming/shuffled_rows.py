"""The rows of Parquet files in a new order every epoch, with memory use independent of the files' size.

Chunks of 16,384 rows are read alternately from eight randomly ordered row groups, and shuffled in a buffer. A batch
thus has rows from eight places in the table, even if the files are sorted. The order depends only on the seed and the
epoch, and can be entered anywhere: the first pass counts the training rows of every chunk.
"""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ...errors import InputError
from ..io.parquet import ParquetRows
from ..schema.numbers import row_weights
from ..schema.schema import Schema
from .survey import CHUNK, HashedSplits

LANES = 8  # row groups that are read alternately
BUFFER_CELLS = 2**24  # numbers in the buffer: 128 MiB
EMITTED = 65_536  # rows that leave the buffer at once


class ShuffledRows:
    """Encoded training rows, read from disk in every epoch.

    Args:
        kept: For every chunk of every row group, the number of training rows.
        complete: Whether rows with missing values are left out.
        weights: The column that holds the weight of each row; None for equal weights.
        weight: Total weight of all training rows: weights are returned in units of their mean.
    """

    def __init__(
        self,
        source: ParquetRows,
        schema: Schema,
        splits: HashedSplits,
        kept: list[np.ndarray],
        seed: int,
        complete: bool = False,
        weights: str | None = None,
        weight: float = 0.0,
    ) -> None:
        self.source, self.schema, self.splits, self.kept, self.seed = source, schema, splits, kept, seed
        self.complete, self.weights = complete, weights
        self.rows = int(sum(int(counts.sum()) for counts in kept))
        self.mean = weight / max(self.rows, 1)
        self.buffer = max(BUFFER_CELLS // (len(schema.columns) + schema.context_features), CHUNK)

    def encoded_by(self, schema: Schema) -> ShuffledRows:
        """The same rows under another schema of the same table."""
        rows = copy.copy(self)
        rows.schema = schema
        return rows

    def read(self, epoch: int, start: int) -> Iterator[tuple[Tensor | None, ...]]:
        """The rows of an epoch in its order, from row ``start`` on, in batches: x in float64, the context, and the
        weights if there are any."""
        lanes: dict[int, tuple[int, Iterator[Any]]] = {}
        for number, chunks in enumerate(self._buffers(epoch)):
            rows = sum(int(self.kept[group][chunk]) for group, chunk in chunks)
            if start >= rows:
                start -= rows
                continue
            parts = [self._chunk(lanes, group, chunk) for group, chunk in chunks]
            whole = [None if part[0] is None else torch.cat(part) for part in zip(*parts, strict=True)]
            del parts
            order = torch.from_numpy(np.random.default_rng((self.seed % 2**64, epoch, number, 1)).permutation(rows))
            for index in order[start:].split(EMITTED):
                yield tuple(None if part is None else part[index] for part in whole)
            start = 0

    def identity(self) -> int:
        """A number that identifies these rows in this order."""
        weights = [] if self.weights is None else [self.weights]
        text = json.dumps(
            [self.source.identity(), self.schema.to_json(), self.rows, self.buffer, LANES, CHUNK, *weights]
        )
        return zlib.crc32(text.encode())

    def _buffers(self, epoch: int) -> Iterator[list[tuple[int, int]]]:
        """The chunks of an epoch as (row group, chunk), in reading order, as many as fill the buffer."""
        chunks: list[tuple[int, int]] = []
        rows = 0
        for group, chunk in self._order(epoch):
            chunks.append((group, chunk))
            rows += int(self.kept[group][chunk])
            if rows >= self.buffer:
                yield chunks
                chunks, rows = [], 0
        if chunks:
            yield chunks

    def _order(self, epoch: int) -> Iterator[tuple[int, int]]:
        """All chunks: in order within a row group, alternating between row groups."""
        waiting = np.random.default_rng((self.seed % 2**64, epoch, 0)).permutation(len(self.kept)).tolist()[::-1]
        lanes: list[Iterator[tuple[int, int]]] = []
        while lanes or waiting:
            while waiting and len(lanes) < LANES:
                group = waiting.pop()
                lanes.append(iter([(group, chunk) for chunk in range(len(self.kept[group]))]))
            for lane in list(lanes):
                step = next(lane, None)
                if step is None:
                    lanes.remove(lane)
                else:
                    yield step

    def _chunk(self, lanes: dict[int, tuple[int, Iterator[Any]]], group: int, chunk: int) -> tuple[Any, ...]:
        """The encoded training rows of a chunk, from the current read of its row group, or a new one."""
        schema = self.schema
        found, names = self.source.groups[group], [*schema.names, *schema.follow_names, *schema.given_names]
        names += [] if self.weights is None else [self.weights]
        place, pieces = lanes.pop(group, (-1, iter(())))
        if place != chunk:
            pieces = self.source.read_group(found, chunk * CHUNK, found.rows, names, size=CHUNK)
        piece = next(pieces)
        if (chunk + 1) * CHUNK < found.rows:
            lanes[group] = chunk + 1, pieces
        frame = piece.frame
        parts = self.splits.parts(found.start + chunk * CHUNK, frame.height)
        chosen = frame.filter((parts > 1) & (self.schema.usable(frame) if self.complete else True))
        chosen = chosen if self.weights is None else chosen.filter(pl.col(self.weights) > 0)
        if len(chosen) != self.kept[group][chunk]:
            raise InputError(f"{piece.source}: was changed while it was read")
        rows = schema.encode(chosen, piece.source, piece.first)
        if rows.notes:
            raise InputError(rows.notes[0])
        if self.weights is None:
            return rows.x, rows.context
        weights = row_weights(chosen, self.weights, piece.source, piece.first)
        return rows.x, rows.context, torch.from_numpy(weights / self.mean)
