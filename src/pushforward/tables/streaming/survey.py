"""The first pass over a long table: held-out rows, a sample to learn the columns from, and the number of rows.

Every row gets a number in [0, 1) from a hash of its position and the seed: the lowest are held out, the next are for
early stopping, the next are the sample. Rows that decide how a column is treated join the sample: those with its
extremes, its first non-integer value, and the first of every category. So supports, whole numbers and categories are
right for all rows; grids, atoms, scales and first transforms are as good as the sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import torch

from ...errors import InputError
from ...numerics.hashed import signed, splitmix64, unit
from ..io.parquet import ParquetRows
from ..io.table import Piece
from ..schema.kinds.named import MOST as MAX_CATEGORIES
from ..schema.numbers import (
    as_numbers,
    is_text,
    missing,
    refuse_gaps,
    refuse_text,
    require_columns,
    row_weights,
    usable_rows,
)
from ..schema.reading import HOLDS_TEXT

CHUNK = 16_384  # rows that are shuffled as a unit
SAMPLE = 200_000  # training rows from which the columns are learnt


@dataclass(frozen=True)
class HashedSplits:
    """Which rows are held out, by their row numbers alone: a share for figures, and as many for early stopping."""

    rows: int
    seed: int
    share: float

    def parts(self, start: int, count: int) -> np.ndarray:
        """For rows from ``start`` on: 0 held out, 1 early stopping, 2 training and sample, 3 training."""
        places = torch.arange(start, start + count)
        u = unit(splitmix64(splitmix64(places) ^ splitmix64(torch.tensor(signed(self.seed)))))
        sampled = min(1.0, 2 * self.share + SAMPLE / self.rows)
        return np.searchsorted([self.share, 2 * self.share, sampled], u.numpy(), side="right")


@dataclass
class Survey:
    """The results of the first pass.

    Attributes:
        sample: Training rows; like all others here, without those of weight 0.
        witnesses: Rows that decide how a column is treated.
        val: Rows for early stopping.
        test: Held-out rows.
        test_numbers: Their numbers, from 0.
        kept: For every chunk of every row group, the number of training rows.
        unusable: Rows with missing or infinite values.
        weight: Total weight of all training rows; their number if all are weighted equally.
    """

    sample: pl.DataFrame = field(default_factory=pl.DataFrame)
    witnesses: pl.DataFrame = field(default_factory=pl.DataFrame)
    val: pl.DataFrame = field(default_factory=pl.DataFrame)
    test: pl.DataFrame = field(default_factory=pl.DataFrame)
    test_numbers: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    kept: list[np.ndarray] = field(default_factory=list)
    unusable: int = 0
    weight: float = 0.0


def survey(
    source: ParquetRows,
    splits: HashedSplits,
    names: Sequence[str],
    drop_missing: bool = False,
    strict: bool = False,
    weights: str | None = None,
) -> Survey:
    """Reads every row once, of the columns in use. Rows with missing values are left out if ``drop_missing``, or else
    refused if ``strict``; ``weights`` names the column that holds their weights."""
    found, taken = Survey(), tuple[list[pl.DataFrame], ...](([], [], []))
    test_numbers, kinds = list[np.ndarray](), dict[str, bool]()
    read = [*names, *([] if weights is None else [weights])]
    for group in source.groups:
        kept = np.zeros(-(-group.rows // CHUNK), dtype=np.int64)
        for piece in source.read_group(group, 0, group.rows, read):
            frame = _checked(piece, read, kinds)
            usable = usable_rows(frame, read) if drop_missing else np.ones(frame.height, bool)
            if strict and not drop_missing:
                refuse_gaps(frame, names, piece.source, piece.first)
            row = piece.first - group.first
            parts = splits.parts(group.start + row, frame.height)[usable]
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
    require_columns(frame, names, piece.source)
    for column in frame.select(names):
        if column.null_count() < len(column) and kinds.setdefault(column.name, is_text(column)) != is_text(column):
            refuse_text(frame, [column.name], piece.source)
            raise InputError(f"{piece.source}: column {column.name!r} holds numbers here, but text in other files")
    plain = [pl.col(name).cast(pl.String) if frame[name].dtype in HOLDS_TEXT else pl.col(name) for name in names]
    return frame.select(*plain)
