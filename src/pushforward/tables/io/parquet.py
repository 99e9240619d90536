"""Parquet files as one long table read in pieces: from any row on, with memory use independent of its length.

The rows of all files are numbered consecutively from 0. A read starts at the row group that holds its first row, so
only the earlier rows of that group are decoded in vain. Arrow reads the files, because it reports damage as an error.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ...errors import InputError
from .source import Location, Source
from .values import with_missing

PIECE = 65_536  # rows decoded at once
BUFFER = 2**20  # bytes of a column fetched from disk at once


@dataclass(frozen=True)
class Piece:
    """Some consecutive rows.

    Args:
        frame: The rows.
        source: Their file, for error messages.
        first: The number of the first row in its file, from 0.
    """

    frame: pl.DataFrame
    source: str
    first: int


@dataclass(frozen=True)
class Group:
    """A row group: a point at which reading of a Parquet file can start.

    Args:
        file: Index of its file among the files.
        place: Its index in the file.
        rows: How many rows it has.
        first: The number of its first row in its file.
    """

    file: int
    place: int
    rows: int
    first: int


class ParquetRows:
    """The rows of Parquet files, in the order of the files.

    Args:
        path: What the user called them, for messages; if it is a :class:`Source`, messages name it instead of the file.
        files: The files; all must have the columns that are read.

    Raises:
        InputError: a file is no Parquet file, is cut off, or there is no row in any of them.
    """

    def __init__(self, path: Location, files: Sequence[Path]) -> None:
        self.path, self.files = path, list(files)
        self.groups: list[Group] = []
        self.sizes: list[tuple[str, int, int]] = []  # name, bytes, modification time: to recognise the files
        for place, file in enumerate(self.files):
            self._add(place, file)
        self.starts = list(itertools.accumulate((group.rows for group in self.groups), initial=0))
        self.rows = self.starts.pop()
        if not self.rows:
            raise InputError(f"{path}: has column names but no rows")
        with _reading(self.files[0]) as parquet:
            self.columns = list(parquet.schema_arrow.names)

    def _add(self, place: int, file: Path) -> None:
        with _reading(file) as parquet:
            meta, first = parquet.metadata, 0
            for i in range(meta.num_row_groups):
                rows = meta.row_group(i).num_rows
                self.groups.append(Group(place, i, rows, first))
                first += rows
        status = file.stat()
        local = isinstance(self.path, Source)  # a new temporary file each time
        name, changed = (str(self.path), 0) if local else (str(file.resolve()), status.st_mtime_ns)
        self.sizes.append((name, status.st_size, changed))

    def _called(self, file: Path) -> str:
        return str(self.path if isinstance(self.path, Source) else file)

    def head(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The first rows, to inspect the contents of the columns."""
        return next(self.read(0, min(self.rows, 1000), columns)).frame

    def read(self, start: int, stop: int, columns: Sequence[str] | None = None) -> Iterator[Piece]:
        """Rows ``start`` to ``stop`` (exclusive) in pieces, with those of the named columns that are present."""
        place = bisect.bisect_right(self.starts, start) - 1
        while start < stop and place < len(self.groups):
            before, group = self.starts[place], self.groups[place]
            yield from self.read_group(place, start - before, min(stop - before, group.rows), columns)
            start, place = before + group.rows, place + 1

    def read_group(
        self, place: int, start: int, stop: int, columns: Sequence[str] | None = None, *, size: int = PIECE
    ) -> Iterator[Piece]:
        """Rows ``start`` to ``stop`` of one row group, in pieces that end at multiples of ``size``."""
        group = self.groups[place]
        file = self.files[group.file]
        with _reading(file) as parquet:
            present = None if columns is None else [name for name in columns if name in parquet.schema_arrow.names]
            options: dict[str, Any] = {"row_groups": [group.place], "columns": present, "use_threads": False}
            row = 0
            for batch in parquet.iter_batches(size, **options):
                low, high = max(start - row, 0), min(stop - row, batch.num_rows)
                if low < high:
                    yield Piece(
                        checked_frame(batch.slice(low, high - low), file), self._called(file), group.first + row + low
                    )
                row += batch.num_rows
                if row >= stop:
                    return
        if row < stop:
            raise InputError(f"{file}: is damaged: a row group of {group.rows:,} rows ends after {row:,}")


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[Any]:
    """An open Parquet file; whatever it says about damage is one sentence about the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.is_file():  # a pipe would be waited for
        raise InputError(f"{file}: there is no such file")
    try:
        with pq.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False) as parquet:
            yield parquet
    except InputError:
        raise
    except PermissionError:
        raise InputError(f"{file}: may not be read; check its permissions") from None
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{file}: cannot be read as parquet: {reason}") from None


def checked_frame(batch: Any, file: Path) -> pl.DataFrame:
    """The columns of an Arrow table or batch, once Arrow has found them sound: Polars trusts what it is given."""
    names = batch.schema.names
    if len(set(names)) < len(names):
        raise InputError(f"{file}: two columns have the same name; rename one of them")
    batch.validate(full=True)
    return with_missing(
        pl.DataFrame([pl.Series(name, array) for name, array in zip(names, batch.columns, strict=True)])
    )
