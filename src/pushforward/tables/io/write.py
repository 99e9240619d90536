"""Writes tables: to files of every format, each whole or not at all; to new tables of databases; to standard output."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from ...errors import InputError, listed
from ...saving.files import check_file, write_atomically
from .database import check_new_table, write_rows
from .formats import BY_ENDING, WRITABLE
from .parquet import ParquetRows
from .place import Location, Source, located, refuse_many_processes
from .values import NAMES

SPREADSHEETS = (".csv", ".tsv", ".txt")  # what they open
FORMULA = r"^[=+\-@\t\r]"
NUMBER = r"^[-+]?[\d.,]+(?:[eE][-+]?\d+)?\s*%?$"


def write_table(rows: pl.DataFrame | pl.LazyFrame, place: str | os.PathLike[str] | Source) -> None:
    """Writes to a file in the format of its ending, so that a reader never sees half of it; to a new table of a
    database; or as CSV to standard output (``-``). Texts that spreadsheets take for formulas are told of, or guarded.
    """
    target, rows = located(place), rows.lazy()
    if isinstance(target, Source) and not target.is_file:
        _send([rows.collect()], target)
        return
    path = target if isinstance(target, Path) else target.path
    one = BY_ENDING[path.suffix.lower()]
    rows = _guarded(rows, target) if path.suffix.lower() in SPREADSHEETS else rows
    write_atomically(path, lambda temporary: one.write(rows, temporary))


@contextlib.contextmanager
def delivered(place: Location, *, numbered: bool = False) -> Iterator[Path]:
    """A file to write to. If the place is not a plain file, a temporary one whose rows are sent there at the end.

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
        if place.is_file:
            write_table(pl.scan_parquet(path), place)
            return
        rows = ParquetRows(path, [path])
        pieces = ((piece.frame, piece.first + 1) for piece in rows.read(0, rows.rows))
        named = numbered and place.database
        _send((frame.with_row_index("row", first) if named else frame for frame, first in pieces), place)


def check_output(place: str | os.PathLike[str] | Source, endings: Sequence[str] = ()) -> Location:
    """Refuses an output that could not be written, before any work is done.

    Args:
        place: A file; or a new table of a database or standard output, if ``endings`` is empty.
        endings: What the file's name may end with [default: the formats of tables].
    """
    target = Path(str(place)) if endings else located(place)
    if isinstance(target, Source) and target.database:
        check_new_table(target)
    elif isinstance(target, Path):
        check_file(target, endings or WRITABLE)
    elif target.is_file:
        check_file(target.path, WRITABLE)
        if target.path.suffix.lower() not in SPREADSHEETS:
            raise InputError(f"applies to {' and '.join(SPREADSHEETS)}, but {target} is none", "spreadsheet_safe")
    return target


def _guarded(rows: pl.LazyFrame, place: Location) -> pl.LazyFrame:
    """Rows for CSV: an apostrophe keeps texts from being run as formulas, if asked for; otherwise they are told of."""
    if isinstance(place, Source) and place.spreadsheet_safe:
        return _with_apostrophes(rows)
    if found := _formula_columns(rows):
        what = f"texts in {listed(map(repr, found))} begin with =, +, - or @, which spreadsheets run as formulas"
        warnings.warn(f"{place}: {what}; `spreadsheet_safe=True` puts an apostrophe before them", stacklevel=3)
    return rows


def _formula_columns(rows: pl.LazyFrame) -> list[str]:
    """The columns of text in which some value, or whose name, would be run."""
    names = _texts(rows)
    found = rows.select(_runs(name).any() for name in names).collect(engine="streaming").row(0) if names else ()
    return [name for name, runs in zip(names, found, strict=True) if runs]


def _with_apostrophes(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The rows with an apostrophe before such texts and names, by which spreadsheets know text."""
    names = _texts(rows)
    rows = rows.with_columns(pl.col(name).cast(pl.String) for name in names)
    rows = rows.with_columns(pl.when(_runs(k)).then("'" + pl.col(k)).otherwise(k).alias(k) for k in names)
    return rows.rename({name: f"'{name}" for name in rows.collect_schema() if name[:1] in tuple("=+-@\t\r")})


def _texts(rows: pl.LazyFrame) -> list[str]:
    return [name for name, dtype in rows.collect_schema().items() if dtype in NAMES]


def _runs(name: str) -> pl.Expr:
    text = pl.col(name).cast(pl.String)
    return text.str.contains(FORMULA) & ~text.str.contains(NUMBER)


def _send(frames: Iterable[pl.DataFrame], place: Source) -> None:
    """Writes rows to a new table of a database, or as CSV to standard output."""
    if place.database:
        write_rows(frames, place)
        return
    for number, frame in enumerate(frames):
        rows = _guarded(frame.lazy(), place).collect()
        left = memoryview(rows.write_csv(include_header=number == 0).encode())
        while left:  # an unbuffered stream may take a part, after which it says that it was closed
            left = left[sys.stdout.buffer.write(left) :]
    sys.stdout.flush()
