"""Reads tables: a frame or a place, whole or in pieces; standard input, packed files and databases by local copies."""

from __future__ import annotations

import glob
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from ...errors import InputError, listed
from .database import fetch
from .format import Format, ReadOptions, refusing_damage
from .formats import ending_of, format_of
from .frames import from_frame, is_path, refuse_empty, with_missing
from .parquet import ParquetRows
from .place import PACKED, STANDARD, Location, Source, is_many, located, naming, refuse_many_processes, refuse_no_file
from .table import RowsInPieces, Table

LARGE = 50_000_000  # cells from which a table is fitted in pieces: in memory it would take some 2 GiB
STARTS = {b"PK\x03\x04": ".zip", b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"BZh": ".bz2"}


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
    return replace(table, path=source).mapped(with_missing)


def read_any(table: Any, name: str = "table", *, stream: bool = False, codes: Sequence[str] = ()) -> Table:
    """Reads a frame, a dict of columns, or a place; what is too large for memory in pieces, of which the first is read.

    Args:
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
        files = [file for file in found if _is_parquet(file.relative_to(path))]
    else:
        files = [Path(name) for name in glob.glob(str(path), recursive=True) if _is_parquet(Path(Path(name).name))]
    if not files:
        folder = f"{path}: is a folder, expected a file, or a folder with .parquet files or pictures in it"
        raise InputError(folder if path.is_dir() else f"{path}: matches no file")
    return sorted(files)


def _is_parquet(name: Path) -> bool:
    return name.suffix.lower() == ".parquet" and not any(part.startswith((".", "_")) for part in name.parts)


def local_file(place: Location) -> Path:
    """A file with the place's rows, and an ending that tells its format; made once."""
    if isinstance(place, Path):
        return place
    if place.local is None:
        if place.database or place.address == STANDARD:
            refuse_many_processes(place)
        place.local = fetch(place, place.folder) if place.database else _unpacked(place)
    return place.local


def _unpacked(source: Source) -> Path:
    path = source.path
    if source.address == STANDARD:
        path = source.folder / "standard input"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        if not path.stat().st_size:
            raise InputError(f"{source}: is empty")
    refuse_no_file(path)
    with refusing_damage(source, "unpacked"):
        while True:  # one layer after another, as for t.csv.zip
            ending = path.suffix.lower() or _sniffed(path)
            if ending == ".zip":
                path = _from_zip(source, path)
            elif ending in PACKED:
                path = _decompressed(source, path, PACKED[ending])
            else:
                return path if path.suffix else path.rename(path.with_name(path.name + ending))


def _from_zip(source: Source, path: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir() and _is_data(info.filename)]
        if source.options.table is not None and source.options.table not in names:
            raise InputError(f"{path}: has no file {source.options.table!r}; it holds {listed(names) or 'none'}")
        if source.options.table is None and len(names) != 1:
            several = f"holds {len(names)} files ({listed(names)}); choose one with `table=`"
            raise InputError(f"{path}: {several if names else 'holds no file of data'}")
        name = source.options.table or names[0]
        with archive.open(name) as packed:
            return _copied(packed, source, Path(name).name)


def _decompressed(source: Source, path: Path, compression: str) -> Path:
    import pyarrow as pa

    with pa.input_stream(str(path), compression=compression) as packed:
        return _copied(packed, source, path.stem)


def _copied(packed: Any, source: Source, name: str) -> Path:
    path, buffer = Path(tempfile.mkdtemp(dir=source.folder)) / name, memoryview(bytearray(2**20))
    with path.open("wb") as file:
        while size := packed.readinto(buffer):  # PyArrow never frees what `read` allocates for bytes that are damaged
            file.write(buffer[:size])
    return path


def _is_data(name: str) -> bool:
    """Whether a file in an archive is data, not a by-product of the program that made the archive."""
    return not any(part.startswith((".", "__MACOSX")) for part in Path(name).parts)


def _sniffed(path: Path) -> str:
    """The file ending that fits the contents of a file."""
    with path.open("rb") as file:
        start = file.read(4096)
    packed = next((ending for magic, ending in STARTS.items() if start.startswith(magic)), None)
    if packed == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.startswith("xl/") for name in names):
            return ".xlsx"
        return ".npz" if names and all(name.endswith(".npy") for name in names) else ".zip"
    return packed or ending_of(start) or ".csv"
