"""Where a table comes from or goes to: a file, or standard input, a database, an archive.

The text of a :class:`Source`, which messages, models and reports quote, holds no credentials.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from urllib.parse import parse_qs

from cyclopts import Parameter

from ...errors import InputError

STANDARD = "-"  # standard input, or output
PACKED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
DATABASES = {".sqlite": "sqlite", ".sqlite3": "sqlite", ".db": "sqlite", ".duckdb": "duckdb"}
SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql", "sqlite": "sqlite", "duckdb": "duckdb"}
SCHEME = "[a-zA-Z][a-zA-Z0-9+.-]+:/{1,2}"  # of a URL; Path keeps only one of its slashes


@Parameter(name="*", group="Where rows come from")
@dataclass(frozen=True)
class SourceOptions:
    """What of a database, an archive or a workbook is read.

    Args:
        query: The query to run if DATA is a database, as in 'SELECT * FROM orders'.
        table: The table to read from a database, or the file from a .zip.
        sheet: The sheet of an Excel file [default: the first with rows].
        decimal: The decimal mark of a CSV file whose cells leave it open, a comma or a point [default: the one of the
            file that was fitted, or by what separates its columns].
    """

    query: str | None = None
    table: str | None = None
    sheet: str | None = None
    decimal: str | None = None

    @property
    def given(self) -> dict[str, str]:
        """Those that are given."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(eq=False)
class Source:
    """A place other than a plain file; rows that are read from it are copied to a local file first."""

    address: str = field(repr=False)  # a file's path, ``-``, or the URL of a database, with its credentials
    database: str  # ``postgresql``, ``sqlite``, ``duckdb``; empty if it is not a database
    options: SourceOptions  # what of it is read or, of a database, which table is written
    writing: bool = False  # whether rows are written there
    spreadsheet_safe: bool = False  # whether texts that spreadsheets take for formulas are guarded in what is written
    local: Path | None = field(default=None, init=False)  # the local file, once it was made

    def __str__(self) -> str:
        if self.address == STANDARD:
            return "standard output" if self.writing else "standard input"
        part = self.options.table or self.options.sheet
        return without_credentials(self.address) + (f" ({part})" if part else "")

    @property
    def name(self) -> str:
        """The last part of its name, for headings."""
        return str(self).rpartition("/")[2] or str(self)

    @property
    def words(self) -> list[str]:
        """Its name as shell words, without credentials."""
        chosen = [word for name, value in self.options.given.items() for word in (f"--{name}", value)]
        return [without_credentials(self.address), *chosen]

    @property
    def is_file(self) -> bool:
        """Whether it is neither a database nor standard input or output."""
        return not self.database and self.address != STANDARD

    @property
    def path(self) -> Path:
        """Its file, if it is one."""
        return Path(re.sub(r"^(sqlite|duckdb)://", "", self.address))

    @cached_property
    def folder(self) -> Path:
        """A folder for the local file, removed with this object."""
        folder = tempfile.mkdtemp(prefix="pushforward-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)


Location = Path | Source


def located(
    data: str | os.PathLike[str] | Source,
    options: SourceOptions = SourceOptions(),
    *,
    writing: bool = False,
    spreadsheet_safe: bool = False,
) -> Location:
    """Resolves a user's name for a table.

    Args:
        data: A path, a pattern, ``-``, or a database: ``postgresql://user@host/base``, ``shop.sqlite``, ``x.duckdb``;
            behind a database, ``?table=NAME`` says which of its tables.
        options, writing, spreadsheet_safe: As for a :class:`Source`.
    """
    if isinstance(data, Source):
        return data
    data = STANDARD if data == "./-" else data
    text = re.sub(r"^([a-z][a-z0-9+]+):/(?=[^/])", r"\1://", os.fspath(data))
    if not text:
        raise InputError("an empty name is no table; expected a file, a folder, a database, or - for standard input")
    if "\0" in text or text != text.encode(errors="ignore").decode():
        raise InputError(f"{text!r}: the name is no text in UTF-8; rename it")
    database, text, inner = _database(text)
    options = replace(options, table=options.table or inner)
    packed = "" if database else Path(text).suffix.lower()
    if options.query is not None and not database:
        raise InputError(f"applies to a database, but {text} is not one", "query")
    if options.table is not None and not (database or packed == ".zip"):
        raise InputError(f"applies to a database or a .zip file, but {text} is not one", "table")
    if options.query and options.table:
        raise InputError("give no `table=` as well; a query names its tables itself", "query")
    if options.decimal not in (None, ",", "."):
        raise InputError("expected a comma or a point", "decimal", options.decimal)
    images = re.search(r"idx\d-ubyte", text)  # MNIST's files are also packed, but are not tables
    archive = packed in (".zip", *PACKED) and not images
    if database or archive or options.given or text == STANDARD or spreadsheet_safe:
        return Source(text, database, options, writing, spreadsheet_safe)
    return Path(text)


def without_credentials(text: str) -> str:
    """A text in which the addresses of databases, and any others with ``://``, are stripped of users and passwords."""
    address = re.match(rf"(--?[\w-]+=)?{SCHEME}", text)  # whose password may contain blanks
    text = re.sub(rf"({SCHEME}){'(?s:.)' if address else '[^ ]'}*@", r"\1", text)
    return re.sub(rf"({SCHEME}[^\s?]*)\?\S*", _kept_options, text)


def _kept_options(match: re.Match[str]) -> str:
    """The table, of all options in an address."""
    table = re.search(r"[?&](table=[^\s'\"&]*)", match[0])
    return match[1] + (f"?{table[1]}" if table else "")


def is_many(place: Location) -> bool:
    """Whether a name stands for several files: a folder, or a pattern such as ``2024/*.parquet``."""
    marked = any(mark in str(place) for mark in "*?[")
    return isinstance(place, Path) and (place.is_dir() or (marked and not place.exists()))


def refuse_no_file(path: Path) -> None:
    """Refuses a path that leads to no file, or to an empty one."""
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a file")
    if path.stat().st_size == 0:  # also true of a pipe, which would block
        raise InputError(f"{path}: the file is empty")


def refuse_many_processes(source: Source) -> None:
    """Refuses a source whose rows each process of torchrun would see in a different order, or not at all."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            f"{source}: processes of torchrun can share files, such as Parquet, but not queries or streams"
        )


@contextlib.contextmanager
def naming(place: Location, path: Path) -> Iterator[None]:
    """Errors about the local file of a place name the place instead."""
    try:
        yield
    except InputError as error:
        said = error.sentence.replace(str(path), str(place))
        raise InputError(said, error.argument, error.value) from None


def _database(text: str) -> tuple[str, str, str | None]:
    """Which kind of database a name stands for, the name without ``?table=``, and that table."""
    scheme, found, _ = text.partition("://")
    plain, _, options = text.partition("?")
    kind = SCHEMES.get(scheme, "") if found else DATABASES.get(Path(plain).suffix.lower(), "")
    if found and not kind:
        raise InputError(
            f"{without_credentials(text)}: no database is known by {scheme}; expected postgresql://USER@HOST/BASE, or "
            f"a file ({', '.join(DATABASES)}, …)"
        )
    if not kind or not options:
        return kind, text, None
    others = "&".join(option for option in options.split("&") if not option.startswith("table="))
    kept = f"{plain}?{others}" if others else plain
    return kind, kept, parse_qs(options).get("table", [None])[0]
