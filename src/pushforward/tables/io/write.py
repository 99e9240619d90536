"""Writes tables: to files of every format, each whole or not at all; to new tables of databases; to standard output."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from ...saving.files import check_file, write_atomically
from .database import check_new_table, write_rows
from .formats import BY_ENDING, WRITABLE
from .parquet import ParquetRows
from .place import STANDARD, Location, Source, located, refuse_many_processes


def write_table(rows: pl.DataFrame | pl.LazyFrame, place: str | os.PathLike[str] | Source) -> None:
    """Writes to a file in the format of its ending, so that a reader never sees half of it; to a new table of a
    database; or as CSV to standard output (``-``)."""
    target = located(place)
    if isinstance(target, Path):
        one = BY_ENDING[target.suffix.lower()]
        write_atomically(target, lambda path: one.write(rows.lazy(), path))
    else:
        _send([rows.lazy().collect()], target)


@contextlib.contextmanager
def delivered(place: Location, *, numbered: bool = False) -> Iterator[Path]:
    """A file to write to. If the place is not a file, a temporary one whose rows are sent there at the end.

    Args:
        place: A file, a new table of a database, or standard output.
        numbered: Whether rows written to a database get a first column ``row``, as they have no order there.
    """
    if isinstance(place, Path):
        yield place
        return
    check_output(place)
    refuse_many_processes(place)
    with tempfile.TemporaryDirectory(prefix="pushforward-") as folder:
        path = Path(folder) / "rows.parquet"
        yield path
        rows = ParquetRows(path, [path])
        _send(
            (
                piece.frame.with_row_index("row", piece.first + 1) if numbered and place.database else piece.frame
                for piece in rows.read(0, rows.rows)
            ),
            place,
        )


def check_output(place: str | os.PathLike[str] | Source, endings: Sequence[str] = ()) -> Location:
    """Refuses an output that could not be written, before any work is done.

    Args:
        place: A file; or a new table of a database or standard output, if ``endings`` is empty.
        endings: What the file's name may end with [default: the formats of tables].

    Raises:
        InputError: the ending is not one of ``endings``, the folder does not exist, the path is a folder itself, the
            table exists, or its database cannot be reached.
    """
    path = Path(str(place)) if endings else located(place)
    if isinstance(path, Source) and path.database:
        check_new_table(path)
        return path
    if isinstance(path, Source) and path.address == STANDARD:
        return path
    check_file(path if isinstance(path, Path) else path.path, endings or WRITABLE)
    return path


def _send(frames: Iterable[pl.DataFrame], place: Source) -> None:
    """Writes rows to a new table of a database, or as CSV to standard output."""
    if place.database:
        write_rows(frames, place)
        return
    for number, frame in enumerate(frames):
        frame.write_csv(sys.stdout.buffer, include_header=number == 0)
    sys.stdout.flush()
