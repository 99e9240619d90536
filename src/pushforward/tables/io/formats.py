"""The registry of formats: a format of one's own is a class in its own file, and its name in this list."""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError
from .csv_rows import Csv
from .excel import Excel
from .format import Format
from .json_rows import JsonRows
from .numpy_files import Npy, Npz
from .parquet import Arrow, Parquet
from .place import DATABASES, PACKED

FORMATS: tuple[Format, ...] = (Csv(), Parquet(), Arrow(), Npy(), Npz(), JsonRows(), Excel())
BY_ENDING = {ending: one for one in FORMATS for ending in one.endings}
WRITABLE = tuple(ending for one in FORMATS for ending in one.written)
IN_PIECES = tuple(ending for one in FORMATS if one.long for ending in one.written)


def format_of(path: Path) -> Format:
    """The format of a file, by its ending."""
    found = BY_ENDING.get(path.suffix.lower())
    if found is None:
        known = ", ".join([*BY_ENDING, ".zip", *PACKED])
        raise InputError(
            f"{path}: cannot tell what it holds from its ending; expected one of {known}, or a database "
            f"({', '.join(DATABASES)}, postgresql://…)"
        )
    return found


def ending_of(start: bytes) -> str | None:
    """The ending that fits the first bytes of a file, of which text may begin with blanks; None if none does."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    fits = (one for one in FORMATS if start.startswith(one.starts) or text.startswith(one.starts))
    return next((one.endings[0] for one in fits), None)
