"""Standard input and packed files: one table each, unpacked into a local file that every reader can open."""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ...errors import InputError, listed
from .places import PACKED, STANDARD, refuse_no_file

if TYPE_CHECKING:
    from .source import Source

STARTS = {
    b"PAR1": ".parquet",
    b"ARROW1": ".arrow",
    b"\xff\xff\xff\xff": ".arrow",  # a stream
    b"\x93NUMPY": ".npy",
    b"PK\x03\x04": ".zip",
    b"\x1f\x8b": ".gz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"BZh": ".bz2",
    b"\xd0\xcf\x11\xe0": ".xls",
}


def unpack(source: Source, folder: Path) -> Path:
    """Writes standard input, or the contents of a packed file, to a file in ``folder`` whose ending gives its format.

    Raises:
        InputError: there is nothing in it, several tables, or it is damaged.
    """
    path = source.path
    if source.address == STANDARD:
        path = folder / "standard input"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        if not path.stat().st_size:
            raise InputError(f"{source}: is empty")
    refuse_no_file(path)
    try:
        return _plain(source, path, folder)
    except InputError:
        raise
    except Exception as error:  # unpackers raise all kinds of errors on a broken file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{source}: cannot be unpacked: {reason}") from None


def _plain(source: Source, path: Path, folder: Path) -> Path:
    """Unpacks one layer after another, as for ``t.csv.zip``."""
    while True:
        ending = path.suffix.lower() or _sniffed(path)
        if ending == ".zip":
            path = _from_zip(source, path, folder)
        elif ending in PACKED:
            path = _decompressed(path, folder, PACKED[ending])
        elif path.suffix:
            return path
        else:
            return path.rename(path.with_name(path.name + ending))


def _from_zip(source: Source, path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir() and _is_data(info.filename)]
        if source.table is not None and source.table not in names:
            raise InputError(f"{path}: has no file {source.table!r}; it holds {listed(names) or 'none'}")
        if source.table is None and len(names) != 1:
            what = f"holds {len(names)} files ({listed(names)}); choose one with `table=`" if names else "is empty"
            raise InputError(f"{path}: {what}")
        name = source.table or names[0]
        with archive.open(name) as packed:
            return _copied(packed, folder, Path(name).name)


def _decompressed(path: Path, folder: Path, compression: str) -> Path:
    import pyarrow as pa

    with pa.input_stream(str(path), compression=compression) as packed:
        return _copied(packed, folder, path.stem)


def _copied(packed: IO[bytes], folder: Path, name: str) -> Path:
    path = Path(tempfile.mkdtemp(dir=folder)) / name
    with path.open("wb") as file:
        shutil.copyfileobj(packed, file, 2**20)
    return path


def _is_data(name: str) -> bool:
    """Whether a file in an archive is data, not a by-product of the program that made the archive."""
    return not any(part.startswith((".", "__MACOSX")) for part in Path(name).parts)


def _sniffed(path: Path) -> str:
    """The file ending that fits the contents of a file."""
    with path.open("rb") as file:
        start = file.read(4096)
    ending = next((ending for magic, ending in STARTS.items() if start.startswith(magic)), None)
    if ending == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.startswith("xl/") for name in names):
            return ".xlsx"
        return ".npz" if names and all(name.endswith(".npy") for name in names) else ".zip"
    if ending is None:
        text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
        return ".jsonl" if text.startswith(b"{") else ".json" if text.startswith(b"[") else ".csv"
    return ending
