"""Tables in storage: files of every format and databases, read and written; outputs are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...errors import InputError, listed
from ...saving.files import check_file, write_atomically
from .csv_form import MISSING
from .csv_table import read_csv
from .excel import read_sheet
from .frames import array_columns, refuse_empty
from .json_rows import read_json_rows
from .parquet import ParquetRows, checked_frame
from .places import PACKED, STANDARD, refuse_no_file
from .source import DATABASES, EXCEL, Location, Source, located, naming, refuse_many_processes
from .values import series, with_missing

SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Table:
    """A table as it was read.

    Args:
        path: Where it came from: a file, or any other :class:`Source`.
        frame: All rows; the training rows if the file has its own splits.
        splits: ``train``, ``val``, ``test`` of an ``.npz`` that has them, else empty.
        notes: Notes on how the file was read.
    """

    path: Location
    frame: pl.DataFrame
    splits: dict[str, pl.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """Where it came from, as shell words."""
        return self.path.words if isinstance(self.path, Source) else [str(self.path)]

    def held_out(self) -> Table:
        """The test rows of a file with its own splits; otherwise the whole table."""
        if not self.splits:
            return self
        name = "test" if "test" in self.splits else "val"
        note = f"{self.path.name} is divided into {listed(self.splits)}: the rows of {name!r} are used"
        return Table(self.path, self.splits[name], notes=(*self.notes, note))


def read_table(place: str | os.PathLike[str] | Source) -> Table:
    """Reads a table: a file by its ending, standard input (``-``), or any :class:`Source`.

    Raises:
        InputError: it is missing, empty, unreadable, or has no table in it.
    """
    source = located(place)
    path = source if isinstance(source, Path) else source.local
    with naming(source, path):
        read = _READERS.get(path.suffix.lower())
        if read is None:
            raise InputError(
                f"{path}: cannot tell what it holds from its ending; expected one of {', '.join(READABLE)}, or a "
                f"database ({', '.join(DATABASES)}, postgresql://…)"
            )
        refuse_no_file(path)
        try:
            table = _read_sheet(path, source) if path.suffix.lower() in EXCEL else read(path)
        except InputError:
            raise
        except PermissionError:
            raise InputError(f"{path}: may not be read; check its permissions") from None
        except (Exception, pl.exceptions.PanicException) as error:  # readers raise all kinds of errors on a broken file
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{path}: cannot be read as {path.suffix.lower()[1:]}: {reason}") from None
        refuse_empty(table.frame, str(path))
    splits = {name: with_missing(frame) for name, frame in table.splits.items()}
    return replace(table, path=source, frame=with_missing(table.frame), splits=splits)


def write_table(frame: pl.DataFrame, place: str | os.PathLike[str] | Source) -> None:
    """Writes to a file in the format of its ending, so that a reader never sees half of it; to a new table of a
    database; or as CSV to standard output (``-``).
    """
    source = located(place)
    if isinstance(source, Path):
        write_atomically(source, lambda path: WRITERS[source.suffix.lower()](frame, path))
    else:
        send([frame], source)


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
        frames = (
            piece.frame.with_row_index("row", piece.first + 1) if numbered and place.database else piece.frame
            for piece in rows.read(0, rows.rows)
        )
        send(frames, place)


def send(frames: Iterable[pl.DataFrame], place: Source) -> None:
    """Writes rows to a new table of a database, or as CSV to standard output."""
    if place.database:
        from .database import write_rows

        write_rows(frames, place)
        return
    for part, frame in enumerate(frames):
        frame.write_csv(sys.stdout.buffer, include_header=part == 0)
    sys.stdout.flush()


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
    if isinstance(path, Source):
        if path.database:
            from .database import check_new_table

            check_new_table(path)
        elif path.address != STANDARD:
            raise InputError(f"{path}: the ending says the format; expected {' or '.join(WRITERS)}")
        return path
    check_file(path, endings or WRITERS)
    return path


def _read_csv(path: Path) -> Table:
    frame, notes = read_csv(path)
    return Table(path, frame, notes=tuple(notes))


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

    with pa.OSFile(str(path)) as file:
        as_file = file.read(6) == b"ARROW1"
        file.seek(0)
        with (pa.ipc.open_file if as_file else pa.ipc.open_stream)(file) as reader:
            return Table(path, checked_frame(reader.read_all(), path))


def _read_json(path: Path) -> Table:
    return Table(path, read_json_rows(path))


def _read_sheet(path: Path, source: Location | None = None) -> Table:
    frame, notes = read_sheet(path, source.sheet if isinstance(source, Source) else None, MISSING)
    return Table(path, frame, notes=tuple(notes))


def _write_excel(frame: pl.DataFrame, path: Path) -> None:
    try:
        frame.write_excel(path)
    except ImportError:
        raise InputError(
            "writing Excel files needs xlsxwriter; install it with: pip install 'pushforward[excel]'"
        ) from None


_READERS: dict[str, Callable[[Path], Table]] = {
    **dict.fromkeys((".csv", ".tsv", ".txt", ".data", ".dat"), _read_csv),
    ".parquet": _read_parquet,
    **dict.fromkeys((".arrow", ".feather", ".ipc"), _read_arrow),
    ".npy": _read_npy,
    ".npz": _read_npz,
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), _read_json),
    **dict.fromkeys(EXCEL, _read_sheet),
}
READABLE = (*_READERS, ".zip", *PACKED)
WRITERS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    ".csv": lambda frame, path: frame.write_csv(path),
    ".parquet": lambda frame, path: frame.write_parquet(path),
    **dict.fromkeys((".tsv", ".txt"), lambda frame, path: frame.write_csv(path, separator="\t")),
    **dict.fromkeys((".jsonl", ".ndjson"), lambda frame, path: frame.write_ndjson(path)),
    **dict.fromkeys((".arrow", ".feather", ".ipc"), lambda frame, path: frame.write_ipc(path)),
    ".xlsx": _write_excel,
}
