"""The local file that a place's rows are read from: standard input, packed files and databases are copied into one."""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import IO

from ...errors import InputError, listed
from .database import fetch
from .format import refusing_damage
from .formats import ending_of
from .place import PACKED, STANDARD, Location, Source, refuse_many_processes, refuse_no_file

STARTS = {b"PK\x03\x04": ".zip", b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"BZh": ".bz2"}


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


def _copied(packed: IO[bytes], source: Source, name: str) -> Path:
    path = Path(tempfile.mkdtemp(dir=source.folder)) / name
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
    packed = next((ending for magic, ending in STARTS.items() if start.startswith(magic)), None)
    if packed == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.startswith("xl/") for name in names):
            return ".xlsx"
        return ".npz" if names and all(name.endswith(".npy") for name in names) else ".zip"
    return packed or ending_of(start) or ".csv"
