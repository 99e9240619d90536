"""Reads tables: a frame or a place, whole or in pieces."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from ...errors import InputError
from .format import Format, ReadOptions, refusing_damage
from .formats import format_of
from .frames import from_frame, is_path, refuse_empty, with_missing
from .parquet import ParquetRows
from .place import Location, Source, is_many, located, naming, refuse_no_file
from .table import RowsInPieces, Table
from .unpack import local_file

LARGE = 50_000_000  # cells from which a table is fitted in pieces: in memory it would take some 2 GiB


def read_table(place: str | os.PathLike[str] | Source, options: ReadOptions | None = None) -> Table:
    """Reads a whole table: a file by its ending, standard input (``-``), or any :class:`Source`."""
    source, options = located(place), options or ReadOptions()
    path = local_file(source)
    with naming(source, path):
        one = _format(source, path)
        refuse_no_file(path)
        with refusing_damage(path, f"read as {path.suffix.lower()[1:]}"):
            table = one.read(path, options.at(source))
        refuse_empty(table.frame, str(path))
    splits = {name: with_missing(frame) for name, frame in table.splits.items()}
    return replace(table, path=source, frame=with_missing(table.frame), splits=splits)


def read_any(table: Any, name: str = "table", *, stream: bool = False, codes: Sequence[str] = ()) -> Table:
    """Reads a frame, a dict of columns, or a place; what is too large for memory in pieces, of which the first is read.

    Args:
        table: The table.
        name: What messages call a frame.
        stream: Whether to read in pieces even what would fit in memory.
        codes: Columns whose numbers are names.
    """
    if not is_path(table):
        frame, kind = from_frame(table, name)
        return Table(Path(name), frame, kind=kind)
    place = located(table)
    if not (is_many(place) or local_file(place).suffix.lower() == ".parquet"):
        if stream:
            raise InputError(f"{place}: only Parquet files are read in pieces")
        return read_table(place, ReadOptions(codes=codes))
    rows = open_parquet(place)
    if stream or rows.rows * len(rows.columns) >= LARGE:
        return Table(place, next(rows.read(0, min(rows.rows, 1000))).frame, pieces=rows)
    frames = [piece.frame for piece in rows.read(0, rows.rows)]
    try:
        return Table(place, pl.concat(frames, how="vertical_relaxed"))
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{place}: its files do not have the same columns: {reason}") from None


def open_parquet(place: Location) -> ParquetRows:
    """The rows of a Parquet file, a folder of them, or a pattern."""
    path = local_file(place)
    with naming(place, path):
        if not is_many(path):
            _format(place, path)
        return ParquetRows(place, _parquet_files(path))


def open_large(place: Location, options: ReadOptions) -> RowsInPieces | None:
    """The rows of a table that is better read in pieces, else None: several files always, one if it is large."""
    if is_many(place):
        return open_parquet(place)
    path = local_file(place)
    if not path.is_file() or not path.stat().st_size:
        return None
    with naming(place, path):
        return _format(place, path).pieces(place, path, options.at(place))


def _format(place: Location, path: Path) -> Format:
    """The format of a place's local file."""
    one = format_of(path)
    for option, what in (("sheet", "an Excel file"), ("decimal", "a CSV file")):
        if isinstance(place, Source) and option in place.options.given and option not in one.options:
            raise InputError(f"applies to {what}, but {path} is not one", option)
    return one


def _parquet_files(path: Path) -> list[Path]:
    """The Parquet files that a file's name, a folder or a pattern stands for, sorted by name.

    Hidden files, and those whose name begins with ``_``, are left out, as Spark and Arrow do.
    """
    if not is_many(path):
        refuse_no_file(path)
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


def _is_data(name: Path) -> bool:
    return name.suffix.lower() == ".parquet" and not any(part.startswith((".", "_")) for part in name.parts)
