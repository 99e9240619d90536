"""Which tables are read in pieces: folders and patterns of Parquet files always, single files if they are large."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from ...errors import InputError
from .csv_rows import CsvRows
from .parquet import ParquetRows, Piece
from .source import Location, local_file, naming

LARGE_CSV = 2**28  # bytes
LARGE_PARQUET = 10_000_000  # cells


class LargeRows(Protocol):
    """The rows of a table, numbered from 0, that are read in pieces."""

    path: Location
    rows: int
    columns: list[str]
    sizes: list[tuple[str, int, int]]  # name, bytes and modification time of every file

    def read(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[Piece]:
        """Rows ``start`` to ``stop`` (exclusive) in pieces, with those of the named columns that are present."""
        ...


def is_many(path: Location) -> bool:
    """Whether a name stands for several files: a folder, or a pattern such as ``2024/*.parquet``."""
    marked = any(mark in str(path) for mark in "*?[")
    return isinstance(path, Path) and (path.is_dir() or (marked and not path.exists()))


def parquet_files(path: Path) -> list[Path]:
    """The Parquet files that a file's name, a folder or a pattern stands for, sorted by name.

    Hidden files, and those whose name begins with ``_``, are left out, as Spark and Arrow do.

    Raises:
        InputError: there is none.
    """
    if not is_many(path):
        return [path]
    if path.is_dir():
        found = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
        files = [file for file in found if _is_data(file.relative_to(path))]
    else:
        files = [Path(name) for name in glob.glob(str(path), recursive=True) if _is_data(Path(Path(name).name))]
    if not files:
        folder = f"{path}: is a folder, expected a file, or a folder with .parquet files or pictures in it"
        raise InputError(folder if path.is_dir() else f"{path}: matches no file")
    return sorted(files)


def open_parquet(path: Location) -> ParquetRows:
    """The rows of a Parquet file, a folder of them, or a pattern.

    Raises:
        InputError: there is none, or one of them cannot be read.
    """
    with naming(path, local_file(path)):
        return ParquetRows(path, parquet_files(local_file(path)))


def open_large(place: Location, text: Sequence[str] = ()) -> LargeRows | None:
    """The rows of a table that is better read in pieces, else None.

    Args:
        place: A file, a folder, a pattern, or another place.
        text: Columns that hold text, if the file itself does not say so.

    Raises:
        InputError: it is large and cannot be read.
    """
    if is_many(place):
        return open_parquet(place)
    path = local_file(place)
    ending = path.suffix.lower()
    if ending in (".csv", ".tsv") and path.is_file() and path.stat().st_size >= LARGE_CSV:
        return CsvRows(place, text)
    if ending == ".parquet" and path.is_file() and path.stat().st_size:
        rows = open_parquet(place)
        return rows if rows.rows * len(rows.columns) >= LARGE_PARQUET else None
    return None


def _is_data(name: Path) -> bool:
    return name.suffix.lower() == ".parquet" and not any(part.startswith((".", "_")) for part in name.parts)
