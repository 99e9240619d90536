"""Tables on disk: CSV, Parquet, Arrow and NumPy files in, CSV and Parquet out, written whole or not at all."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..errors import InputError, listed
from .csv_form import csv_form, open_text
from .frames import array_columns, refuse_empty
from .parquet import ParquetRows, checked_frame
from .values import series, with_missing

MISSING = ["", "NA", "N/A", "NULL", "null", "NaN", "nan", "?"]  # what a CSV writes where there is nothing
SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Table:
    """A table as it was read.

    Args:
        path: Where it came from.
        frame: All rows; the training rows where the file divides itself.
        splits: ``train``, ``val``, ``test`` of an ``.npz`` that has them, else empty.
        notes: What the reader should know about how the file was read.
    """

    path: Path
    frame: pl.DataFrame
    splits: dict[str, pl.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def held_out(self) -> Table:
        """The rows that a divided file sets apart for testing; the whole table where it is not divided."""
        if not self.splits:
            return self
        name = "test" if "test" in self.splits else "val"
        note = f"{self.path.name} is divided into {listed(self.splits)}: the rows of {name!r} are used"
        return Table(self.path, self.splits[name], notes=(*self.notes, note))


def read_table(path: str | Path) -> Table:
    """Reads a table by its file's ending.

    Raises:
        InputError: the file is missing, empty, unreadable, or has no table in it.
    """
    path = Path(path)
    read = _READERS.get(_ending(path))
    if read is None:
        raise InputError(f"{path}: cannot tell what it holds from its ending; expected one of {', '.join(_READERS)}")
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a file ({', '.join(_READERS)})")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    try:
        table = read(path)
    except InputError:
        raise
    except PermissionError:
        raise InputError(f"{path}: may not be read; check its permissions") from None
    except (Exception, pl.exceptions.PanicException) as error:  # whatever a reader says about a broken file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: cannot be read as {_ending(path)[1:]}: {reason}") from None
    refuse_empty(table.frame, str(path))
    splits = {name: with_missing(frame) for name, frame in table.splits.items()}
    return replace(table, frame=with_missing(table.frame), splits=splits)


def write_table(frame: pl.DataFrame, path: str | Path) -> None:
    """Writes CSV or Parquet, as the ending says; a reader never sees half a file."""
    path = Path(path)
    write = frame.write_parquet if path.suffix.lower() == ".parquet" else frame.write_csv
    write_atomically(path, write)


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Calls ``write(temporary path)`` and renames the result to ``path``."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_output(path: str | Path, endings: tuple[str, ...] = (".csv", ".parquet")) -> Path:
    """Refuses an output that could not be written, before any work is done for it.

    Raises:
        InputError: the ending is not one of ``endings``, the folder does not exist, or the path is a folder itself.
    """
    path = Path(path)
    if path.suffix.lower() not in endings:
        raise InputError(f"{path}: the ending says the format; expected {' or '.join(endings)}")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a file name")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; create it first")
    return path


def _ending(path: Path) -> str:
    name = path.name.lower()
    return ".csv.gz" if name.endswith(".csv.gz") else Path(name).suffix


def _read_csv(path: Path) -> Table:
    form = csv_form(path)
    options: dict[str, Any] = {
        "separator": form.separator,
        "has_header": not form.headless,
        "decimal_comma": form.decimal_comma,
        "null_values": MISSING,
        "infer_schema_length": None,
    }
    try:
        frame = pl.read_csv(path, **options)
    except pl.exceptions.PolarsError as error:
        raise InputError(_csv_fault(path, len(form.header), form.separator, error)) from None
    frame = frame.rename(dict(zip(frame.columns, form.all_names, strict=True)))
    frame, notes = _without_blank_lines(frame, path)
    return Table(path, frame.select(form.names), notes=(*form.notes(path.name), *notes))


def _without_blank_lines(frame: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, list[str]]:
    """The rows of a file with several columns, where a line with nothing on it is no row."""
    empty = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
    if frame.width < 2 or not empty.any():
        return frame, []
    with open_text(path) as lines:
        blank = sum(not line.strip() for line in lines)
    if blank < empty.sum():  # others hold separators: rows without a value
        return frame, []
    return frame.filter(~empty), [f"{path.name}: {int(empty.sum()):,} blank lines are left out"]


def _csv_fault(path: Path, width: int, separator: str, error: Exception) -> str:
    if "utf-8" in str(error).lower() or "utf8" in str(error).lower():
        return f"{path}: is not UTF-8 text; save it again as UTF-8"
    with open_text(path) as lines:
        if lines.readline().startswith("#"):
            return f"{path}: its first line is a comment; remove it, so that the first line names the columns"
        lines.seek(0)
        for row, cells in enumerate(csv.reader(lines, delimiter=separator)):
            if row and cells and len(cells) > width:
                return (
                    f"{path}: row {row} has {len(cells)} cells, but the first line names {width} columns; mend that row"
                )
    return f"{path}: cannot be read as CSV: {str(error).splitlines()[0]}"


def _read_npy(path: Path) -> Table:
    with path.open("rb") as file:
        return Table(path, _array_frame(path, np.load(file, allow_pickle=False)))


def _read_npz(path: Path) -> Table:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    names = next((arrays.pop(key) for key in ("columns", "names") if key in arrays), None)
    names = None if names is None else [str(name) for name in names]
    if "train" in arrays:
        splits = {SPLITS[k]: _array_frame(path, v, names, k) for k, v in arrays.items() if k in SPLITS}
        for split, frame in splits.items():
            if frame.columns != splits["train"].columns:
                raise InputError(
                    f"{path}: {split!r} has {frame.width} columns, but 'train' has {splits['train'].width}; "
                    "they must be the same"
                )
        return Table(path, splits["train"], splits)
    if len(arrays) != 1:
        raise InputError(
            f"{path}: holds {len(arrays)} arrays ({listed(arrays)}); expected one table, or 'train', 'val' and 'test'"
        )
    ((name, array),) = arrays.items()
    return Table(path, _array_frame(path, array, names, name))


def _array_frame(path: Path, array: np.ndarray, names: list[str] | None = None, key: str = "") -> pl.DataFrame:
    what = f"{path}: the array {key!r}" if key else f"{path}: the array"
    return pl.DataFrame([series(name, values, what) for name, values in array_columns(array, names, what)])


def _read_parquet(path: Path) -> Table:
    rows = ParquetRows(path, [path])
    return Table(path, pl.concat([piece.frame for piece in rows.read(0, rows.rows)]))


def _read_arrow(path: Path) -> Table:
    import pyarrow as pa

    with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
        return Table(path, checked_frame(reader.read_all(), path))


_READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".csv.gz": _read_csv,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
    ".feather": _read_arrow,
    ".ipc": _read_arrow,
    ".npy": _read_npy,
    ".npz": _read_npz,
}
