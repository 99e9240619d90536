"""Tables larger than memory: a first pass for what columns hold, then training rows in a new order every epoch.

Every row gets a number in [0, 1) from a hash of its position and the seed: the lowest are held out, the next are for
early stopping, the next are the sample that columns are learnt from. Rows that decide how a column is treated join the
sample: those with its extremes, its first non-integer value, and the first of every category. So supports, whole
numbers and categories are right for all rows; grids, atoms, scales and first transforms are as good as the sample.

In an epoch, chunks of 16,384 rows are read alternately from eight randomly ordered row groups, and shuffled in a
buffer. A batch thus has rows from eight places in the table, even if the files are sorted. The order depends only on
the seed and the epoch, and can be entered anywhere: the first pass counts the training rows of every chunk.
"""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ..errors import InputError
from ..numerics.hashed import signed, splitmix64, unit
from .io.parquet import ParquetRows
from .io.table import Piece
from .schema.kinds.named import MOST as MAX_CATEGORIES
from .schema.numbers import (
    as_numbers,
    is_text,
    missing,
    refuse_gaps,
    refuse_text,
    require_columns,
    row_weights,
    usable_rows,
)
from .schema.reading import HOLDS_TEXT
from .schema.schema import Schema

CHUNK = 16_384  # rows that are shuffled as a unit
SAMPLE = 200_000  # training rows from which the columns are learnt
LANES = 8  # row groups that are read alternately
BUFFER_CELLS = 2**24  # numbers in the buffer: 128 MiB
EMITTED = 65_536  # rows that leave the buffer at once


@dataclass(frozen=True)
class LongTable:
    """The rows of Parquet files, and which of them are held out, by their numbers alone."""

    source: ParquetRows
    seed: int  # decides which are held out, and the order of the others
    share: float  # the share of rows that is held out for figures, and of as many for early stopping
    complete: bool = False  # whether rows with missing values are left out
    weights: str | None = None  # the column that holds the weight of each row; None for equal weights

    def read(self, names: Sequence[str]) -> list[str]:
        """Columns to read, and that of the weights."""
        return [*names, *([] if self.weights is None else [self.weights])]

    def parts(self, start: int, count: int) -> np.ndarray:
        """For rows from ``start`` on: 0 held out, 1 early stopping, 2 training and sample, 3 training."""
        places = torch.arange(start, start + count)
        u = unit(splitmix64(splitmix64(places) ^ splitmix64(torch.tensor(signed(self.seed)))))
        sampled = min(1.0, 2 * self.share + SAMPLE / self.source.rows)
        return np.searchsorted([self.share, 2 * self.share, sampled], u.numpy(), side="right")


@dataclass
class Survey:
    """The results of the first pass."""

    # training rows; like all others here, without those of weight 0
    sample: pl.DataFrame = field(default_factory=pl.DataFrame)
    witnesses: pl.DataFrame = field(default_factory=pl.DataFrame)  # rows that decide how a column is treated
    val: pl.DataFrame = field(default_factory=pl.DataFrame)  # rows for early stopping
    test: pl.DataFrame = field(default_factory=pl.DataFrame)  # held-out rows
    test_numbers: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))  # their numbers, from 0
    # for every chunk of every row group, the number of training rows
    kept: list[np.ndarray] = field(default_factory=list)
    unusable: int = 0  # rows with missing or infinite values
    weight: float = 0.0  # total weight of all training rows; their number if all are weighted equally


def survey(table: LongTable, names: Sequence[str], strict: bool = False) -> Survey:
    """Reads every row once, of the columns in use. Rows with missing values are left out, or refused if ``strict``."""
    found, taken = Survey(), tuple[list[pl.DataFrame], ...](([], [], []))
    test_numbers, kinds, weights = list[np.ndarray](), dict[str, bool](), table.weights
    read = table.read(names)
    for group in table.source.groups:
        kept = np.zeros(-(-group.rows // CHUNK), dtype=np.int64)
        for piece in table.source.read_group(group, 0, group.rows, read):
            frame = _checked(piece, read, kinds)
            usable = usable_rows(frame, read) if table.complete else np.ones(frame.height, bool)
            if strict and not table.complete:
                refuse_gaps(frame, names, piece.source, piece.first)
            row = piece.first - group.first
            parts = table.parts(group.start + row, frame.height)[usable]
            places, frame = row + np.flatnonzero(usable), frame.filter(usable)
            weight = np.ones(len(frame)) if weights is None else row_weights(frame, weights, piece.source, piece.first)
            counted = weight > 0  # other rows decide nothing
            parts, places, frame, weight = parts[counted], places[counted], frame.filter(counted), weight[counted]
            trained = parts > 1
            found.weight += float(weight[trained].sum())
            found.unusable += int((~usable).sum())
            kept += np.bincount(places[trained] // CHUNK, minlength=len(kept))
            test_numbers.append(group.start + places[parts == 0])
            for part, frames in enumerate(taken):
                frames.append(frame.filter(parts == part))
            found.witnesses = witnesses(pl.concat([found.witnesses, frame], how="diagonal_relaxed"))
        found.kept.append(kept)
    found.test, found.val, found.sample = (pl.concat(frames, how="vertical_relaxed") for frames in taken)
    found.test_numbers = np.concatenate(test_numbers)
    return found


def witnesses(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows that decide how a column is treated: those with the extremes of a numeric column, its first non-integer
    value, its first hole, and the first row of each distinct value, up to a limit.

    Of the witnesses of some rows followed by further rows, they are those of all these rows.
    """
    chosen = set[int]()
    for column in frame if frame.height else []:
        chosen.update(column.arg_unique().sort()[: MAX_CATEGORIES + 2])
        chosen.update(np.flatnonzero(missing(column))[:1])
        if not is_text(column) or column.dtype.is_temporal():
            x = as_numbers(column.to_physical())
            there = np.flatnonzero(~np.isnan(x))
            if len(there):
                chosen |= {int(np.nanargmin(x)), int(np.nanargmax(x))}
            chosen.update(there[x[there] != np.round(x[there])][:1])
    return frame[sorted(map(int, chosen))]


def _checked(piece: Piece, names: Sequence[str], kinds: dict[str, bool]) -> pl.DataFrame:
    """The columns in order, categoricals as text; a column must be text in all files or in none."""
    frame = piece.frame
    require_columns(frame.columns, names, piece.source)
    for column in frame.select(names):
        if column.null_count() < len(column) and kinds.setdefault(column.name, is_text(column)) != is_text(column):
            refuse_text(frame, [column.name], piece.source)
            raise InputError(f"{piece.source}: column {column.name!r} holds numbers here, but text in other files")
    plain = [pl.col(name).cast(pl.String) if frame[name].dtype in HOLDS_TEXT else pl.col(name) for name in names]
    return frame.select(*plain)


class ShuffledRows:
    """Encoded training rows, read from disk in every epoch; weights are in units of their mean.

    Args:
        table: All rows.
        schema: Encodes them.
        found: The results of the first pass.
    """

    def __init__(self, table: LongTable, schema: Schema, found: Survey) -> None:
        self.table, self.schema, self.kept = table, schema, found.kept
        self.rows = int(sum(int(counts.sum()) for counts in found.kept))
        self.mean = found.weight / max(self.rows, 1)
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
            order = torch.from_numpy(
                np.random.default_rng((self.table.seed % 2**64, epoch, number, 1)).permutation(rows)
            )
            for index in order[start:].split(EMITTED):
                yield tuple(None if part is None else part[index] for part in whole)
            start = 0

    def identity(self) -> int:
        """A number that identifies these rows in this order."""
        source = self.table.source.identity()
        told = [source, self.schema.to_json(), self.rows, self.buffer, LANES, CHUNK, *self.table.read(())]
        return zlib.crc32(json.dumps(told).encode())

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
        waiting = np.random.default_rng((self.table.seed % 2**64, epoch, 0)).permutation(len(self.kept)).tolist()[::-1]
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
        schema, table, found = self.schema, self.table, self.table.source.groups[group]
        place, pieces = lanes.pop(group, (-1, iter(())))
        if place != chunk:
            names = table.read([*schema.names, *schema.follow_names, *schema.given_names])
            pieces = table.source.read_group(found, chunk * CHUNK, found.rows, names, size=CHUNK)
        piece = next(pieces)
        if (chunk + 1) * CHUNK < found.rows:
            lanes[group] = chunk + 1, pieces
        frame = piece.frame
        parts = table.parts(found.start + chunk * CHUNK, frame.height)
        chosen = frame.filter((parts > 1) & (schema.usable(frame) if table.complete else True))
        chosen = chosen if table.weights is None else chosen.filter(pl.col(table.weights) > 0)
        if len(chosen) != self.kept[group][chunk]:
            raise InputError(f"{piece.source}: was changed while it was read")
        rows = schema.encode(chosen, piece.source, piece.first)
        if rows.notes:
            raise InputError(rows.notes[0])
        if table.weights is None:
            return rows.x, rows.context
        weights = row_weights(chosen, table.weights, piece.source, piece.first)
        return rows.x, rows.context, torch.from_numpy(weights / self.mean)
