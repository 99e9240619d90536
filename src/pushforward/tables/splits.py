"""The rows of a table, encoded once, and which of them a model is trained on, validated by and judged by."""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ..errors import InputError
from ..models.train import Rows
from ..numerics.hashed import row_keys
from .io.table import Table
from .long_tables import ShuffledRows
from .schema.cells import Cells
from .schema.schema import Schema

MIN_ROWS = 10
HELD_OUT = 0.1  # of the rows for early stopping, and as many again for the reported figures
MOST_HELD_OUT = 20_000  # rows; a standard error of 1/140 of their spread
RECOGNISED = 20_000  # training rows, at most, of which each is recognised

Split = tuple[np.ndarray, np.ndarray, np.ndarray]  # indices, from 0, of the training, validation and test rows


@dataclass(frozen=True)
class TableSplits:
    """Encoded rows, indices of the training, validation and test rows among them, and the schema that encoded them."""

    schema: Schema
    rows: Rows  # every usable row; of a stream, a sample of the training rows, and all held-out rows
    split: Split  # which of them are training, validation and test rows
    test_numbers: np.ndarray  # positions of the test rows in their file, from 0
    complete: bool = True  # whether ``rows`` are those of one file in its order, rather than of splits or a sample
    stream: ShuffledRows | None = None  # the rows to train on, where they do not fit in memory
    earlier: int = 0  # how many rows are draws, held-out and saved ones, in the place of those of an earlier fit

    @functools.cached_property
    def train(self) -> Rows:
        return self.rows[self.split[0]]

    @functools.cached_property
    def val(self) -> Rows:
        return self.rows[self.split[1]]

    @functools.cached_property
    def test(self) -> Rows:
        return self.rows[self.split[2]]

    @property
    def together(self) -> Rows:
        """The training rows, followed by the validation rows."""
        return self.rows[np.concatenate(self.split[:2])]

    @property
    def held_out(self) -> np.ndarray:
        """Positions of the validation and test rows."""
        return np.concatenate(self.split[1:])

    @property
    def training_rows(self) -> int:
        return len(self.split[0]) if self.stream is None else self.stream.rows

    @property
    def train_source(self) -> Rows | ShuffledRows:
        """The rows to train on."""
        return self.train if self.stream is None else self.stream

    def encoded_by(self, schema: Schema) -> TableSplits:
        """The rows under a schema with fewer features: :meth:`Schema.ignoring`, or :meth:`Schema.following`."""
        rows = replace(self.rows, x=schema.rows_of(self.schema, self.rows.x))
        return replace(self, schema=schema, rows=rows, stream=self.stream and self.stream.encoded_by(schema))


def divide(table: Table, seed: int, share: float = HELD_OUT) -> tuple[pl.DataFrame, Split]:
    """All rows, and their split: the file's own, or a random one by the seed; what the file lacks of its own split is
    taken from its training rows."""
    if not table.splits:
        return table.frame, held_out_order(table.frame.height, seed, share)
    ends = np.cumsum([0, *(frame.height for frame in table.splits.values())])
    own = {name: np.arange(*ends[k : k + 2]) for k, name in enumerate(table.splits)}
    frame, train = pl.concat(table.splits.values()), own["train"]
    if "val" in own and "test" in own:
        return frame, (train, own["val"], own["test"])
    if len(own) == 1:
        return frame, held_out_order(len(train), seed, share)
    order = np.random.default_rng(seed).permutation(len(train))
    cut = max(round(share * len(train)), 1)
    return frame, (train[order[cut:]], train[order[:cut]], own["val" if "val" in own else "test"])


def held_out_order(rows: int, seed: int, share: float = HELD_OUT) -> Split:
    """Indices (from 0) of the training, validation and test rows."""
    order = np.random.default_rng(seed).permutation(rows)
    cut = min(max(round(share * rows), 1), MOST_HELD_OUT)
    return np.sort(order[2 * cut :]), np.sort(order[cut : 2 * cut]), np.sort(order[:cut])


def refuse_few_rows(rows: int, source: str) -> None:
    """Refuses a table that is too small to fit and to check a density."""
    if rows < MIN_ROWS:
        raise InputError(f"{source}: has {rows} usable rows, and a density needs at least {MIN_ROWS}")


def spread(rows: Rows, schema: Schema, seed: int) -> Tensor:
    """Each row at one random point of its cell; unchanged if no column has cells."""
    generator = torch.Generator().manual_seed(seed)
    return Cells(schema)(rows.x, torch.rand(rows.x.shape, generator=generator, dtype=rows.x.dtype))


def keys_of(rows: Rows) -> list[int]:
    """A digest of 32 bits of each encoded row, by which an equal one is recognised."""
    x = rows.x if rows.context is None else torch.cat([rows.x, rows.context], 1)
    return (row_keys(torch.where(x.isnan(), math.nan, x), 0) >> 32).tolist()


def fingerprint(rows: Rows) -> str:
    """A digest of encoded rows: recognises the file that a model was fitted to."""
    x = torch.where(rows.x.isnan(), math.nan, rows.x)  # a single NaN, of all bit patterns
    digest = hashlib.sha256(np.ascontiguousarray(x.numpy()).tobytes())
    if rows.context is not None:
        digest.update(np.ascontiguousarray(rows.context.numpy()).tobytes())
    return digest.hexdigest()
