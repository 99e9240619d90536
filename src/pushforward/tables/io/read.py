"""A frame or a path as the table to be fitted: whole, already split, or in pieces."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...errors import InputError
from ..schema.numbers import require_columns
from .frames import from_frame, is_path
from .large import is_many, open_parquet
from .parquet import ParquetRows
from .source import Location, local_file, located
from .table import Table, read_table

WEIGHTS = "sample_weight"  # the column for weights that are given separately from the table
LARGE = 50_000_000  # cells from which a table is read in pieces: in memory it would take some 2 GiB


@dataclass(frozen=True)
class Read:
    """A table to fit.

    Args:
        table: All its rows, or the first ones of a table that is read in pieces.
        source: The files, if the table is read from them in pieces, else None.
        kind: The type of the original: ``pandas``, ``polars``, …
    """

    table: Table
    source: ParquetRows | None = None
    kind: str = "polars"

    def validated_by(self, other: Any) -> Read:
        """The same rows used for training alone, with those of another table for validation and for the figures.

        Raises:
            InputError: it lacks a column, or the table is read in pieces.
        """
        if self.source is not None:
            raise InputError(f"{self.table.path}: is read in pieces, so validation must be a share of its rows")
        frame = self.table.frame
        held_out = read_any(other, "validation").table.frame
        require_columns(held_out, frame.columns, "validation")
        held_out = held_out.select(frame.columns)
        splits = {"train": frame, "val": held_out, "test": held_out}
        return dataclasses.replace(self, table=dataclasses.replace(self.table, splits=splits))

    def weighted(self, weights: Any) -> Read:
        """The same rows with a column of weights; 1 for those of a validation table.

        Raises:
            InputError: they are not one finite number for each row, not negative and not all 0.
        """
        frame = self.table.frame
        values = np.asarray(weights, dtype=float)
        if self.source is not None or (self.table.splits and "train" not in self.table.splits):
            raise InputError(
                f"{self.table.path}: is read in pieces, whose rows all count alike; leave out sample_weight"
            )
        if values.shape != (frame.height,):
            raise InputError(f"sample_weight has shape {values.shape}, expected ({frame.height},): one for each row")
        if not (np.isfinite(values) & (values >= 0)).all() or not values.any():
            raise InputError("sample_weight must be finite, not negative, and not 0 for all rows")
        if WEIGHTS in frame.columns:
            raise InputError(f"{self.table.path}: has a column {WEIGHTS!r}; rename it, or leave out sample_weight")
        frame = frame.with_columns(pl.Series(WEIGHTS, values))
        splits = {
            name: frame if name == "train" else part.with_columns(pl.lit(1.0).alias(WEIGHTS))
            for name, part in self.table.splits.items()
        }
        return dataclasses.replace(self, table=dataclasses.replace(self.table, frame=frame, splits=splits))


def read_any(table: Any, name: str = "table", *, stream: bool = False) -> Read:
    """Reads a frame, a dict of columns, or the path of a file.

    Raises:
        InputError: it cannot be read, or holds no rows.
        TypeError: it is neither.
    """
    if is_path(table):
        return Read(*read_rows(located(table), stream))
    frame, kind = from_frame(table, name)
    return Read(Table(Path(name), frame), None, kind)


def from_frame_or_file(table: Any, name: str = "table") -> pl.DataFrame:
    """The rows of a frame, a dict of columns or a file; of a file with its own splits, the test rows."""
    return read_table(table).held_out().frame if is_path(table) else from_frame(table, name)[0]


def read_rows(data: Location, stream: bool) -> tuple[Table, ParquetRows | None]:
    """The table; or its first rows and the files, if it is read in pieces.

    Args:
        data: A file, a folder, a pattern, or another place.
        stream: Whether to read in pieces even what would fit in memory.

    Raises:
        InputError: it cannot be read, or not in pieces.
    """
    path = local_file(data)
    if not is_many(data) and path.suffix.lower() != ".parquet":
        if stream:
            raise InputError(f"{data}: only Parquet files are read in pieces")
        return read_table(data), None
    if not is_many(data) and not (path.is_file() and path.stat().st_size):
        return read_table(data), None  # whose error explains why
    source = open_parquet(data)
    if stream or source.rows * len(source.columns) >= LARGE:
        return Table(data, source.head()), source
    if not is_many(data):
        return read_table(data), None
    pieces = list(source.read(0, source.rows))
    try:
        return Table(data, pl.concat([piece.frame for piece in pieces], how="vertical_relaxed")), None
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{data}: its files do not have the same columns: {str(error).splitlines()[0]}") from None
