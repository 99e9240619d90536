"""Arrow and Parquet files; those of Parquet as one long table that is read from any row on, whatever its length.

Arrow reads them and not Polars, because it reports damage as an error: of files with a few bytes changed, one in some
hundreds ends the whole process if Polars decodes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ...errors import InputError
from .format import Format, ReadOptions, refusing_damage
from .frames import refuse_repeated, with_missing
from .place import Location, Source
from .table import Piece, RowsInPieces, Table

PIECE = 50_000  # rows decoded at once: half of what is scored before it is written
LARGE = 10_000_000  # cells from which a file is better read in pieces
BUFFER = 2**17  # bytes of a column fetched from disk at once


@dataclass(frozen=True)
class Group:
    """A row group: a point at which reading of a Parquet file can start, of index ``place`` in it. Its first row is
    number ``first`` in its file, from 0, and ``start`` among the rows of all files."""

    file: Path
    place: int
    rows: int
    first: int
    start: int


class ParquetRows(RowsInPieces):
    """The rows of Parquet files, in the order of the files.

    Args:
        path: What the user called them, for messages; if it is a :class:`Source`, messages name it instead of the file.
        files: The files; all must have the columns that are read, whose order is that of the first.
    """

    def __init__(self, path: Location, files: Sequence[Path]) -> None:
        self.path, self.files, self.rows = path, list(files), 0
        self.groups, self.held = list[Group](), list[tuple[str, list[str]]]()
        for file in self.files:
            with _reading(file) as parquet:
                first = 0
                if parquet.metadata.num_rows:
                    self.held.append((self._called(file), list(parquet.schema_arrow.names)))
                for place in range(parquet.metadata.num_row_groups):
                    rows = parquet.metadata.row_group(place).num_rows
                    if rows:
                        self.groups.append(Group(file, place, rows, first, self.rows))
                    first, self.rows = first + rows, self.rows + rows
        if not self.rows:
            raise InputError(f"{path}: has column names but no rows")
        self.columns = self.held[0][1]

    def _called(self, file: Path) -> str:
        return str(self.path if isinstance(self.path, Source) else file)

    def read(self, start: int, stop: int, columns: Sequence[str] | None = None) -> Iterator[Piece]:
        for group in self.groups:
            if group.start < stop and start < group.start + group.rows:
                yield from self.read_group(group, start - group.start, stop - group.start, columns)

    def read_group(
        self, group: Group, start: int, stop: int, columns: Sequence[str] | None = None, *, size: int = PIECE
    ) -> Iterator[Piece]:
        """Rows ``start`` to ``stop`` of one row group, in pieces that end at multiples of ``size``; only the earlier
        rows of the group are decoded in vain."""
        row, stop, places = 0, min(stop, group.rows), {name: place for place, name in enumerate(self.columns)}
        with _reading(group.file) as parquet:
            present = None if columns is None else [name for name in columns if name in parquet.schema_arrow.names]
            options: dict[str, Any] = {"row_groups": [group.place], "columns": present, "use_threads": False}
            for batch in parquet.iter_batches(size, **options):
                low, high = max(start - row, 0), min(stop - row, batch.num_rows)
                if low < high:
                    frame = sound_frame(batch.slice(low, high - low), group.file)
                    order = sorted(frame.columns, key=lambda name: places.get(name, len(places)))
                    yield Piece(frame.select(order), self._called(group.file), group.first + row + low)
                row += batch.num_rows
                if row >= stop:
                    return
        raise InputError(f"{group.file}: is damaged: a row group of {group.rows:,} rows ends after {row:,}")


class Arrow(Format):
    endings = written = (".arrow", ".feather", ".ipc")
    starts = (b"ARROW1", b"\xff\xff\xff\xff")  # of a file and of a stream
    long = True

    def read(self, path: Path, options: ReadOptions) -> Table:
        import pyarrow as pa

        with pa.OSFile(str(path)) as file:
            as_file = file.read(6) == b"ARROW1"
            file.seek(0)
            with (pa.ipc.open_file if as_file else pa.ipc.open_stream)(file) as reader:
                return Table(path, sound_frame(reader.read_all(), path))

    def write(self, rows: pl.LazyFrame, path: Path) -> None:
        rows.sink_ipc(path)


class Parquet(Format):
    endings = written = (".parquet",)
    starts = (b"PAR1",)
    long = True

    def read(self, path: Path, options: ReadOptions) -> Table:
        rows = ParquetRows(path, [path])
        return Table(path, pl.concat([piece.frame for piece in rows.read(0, rows.rows)]))

    def pieces(self, place: Location, path: Path, options: ReadOptions) -> ParquetRows | None:
        rows = ParquetRows(place, [path])
        return rows if rows.rows * len(rows.columns) >= LARGE else None

    def write(self, rows: pl.LazyFrame, path: Path) -> None:
        rows.sink_parquet(path)


def sound_frame(batch: Any, file: Path) -> pl.DataFrame:
    """The columns of an Arrow table or batch, once Arrow has found them sound: Polars trusts what it is given."""
    names = batch.schema.names
    refuse_repeated(names, str(file))
    batch.validate(full=True)
    return with_missing(pl.DataFrame([pl.Series(*column) for column in zip(names, batch.columns, strict=True)]))


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[Any]:
    """An open Parquet file."""
    import pyarrow.parquet as pq

    if not file.is_file():  # a pipe would be waited for
        raise InputError(f"{file}: there is no such file")
    with refusing_damage(file, "read as parquet"), pq.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False) as found:
        yield found
