"""Names of places that readers share, and the refusal of paths at which there is nothing to read."""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError

STANDARD = "-"  # standard input, or output
PACKED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


def refuse_no_file(path: Path) -> None:
    """Refuses a path that leads to no file, or to an empty one.

    Raises:
        InputError: says which.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a file")
    if path.stat().st_size == 0:  # also true of a pipe, which would block
        raise InputError(f"{path}: the file is empty")
