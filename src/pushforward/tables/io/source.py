"""Where a table comes from or goes to, if that is not a plain file: standard input, a database, an archive.

A :class:`Source` copies its rows to a local file once, however often and by whatever they are read. Its text, which
messages, models and reports quote, holds no credentials.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import parse_qs

from ...errors import InputError
from .places import PACKED, STANDARD

EXCEL = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
DATABASES = {".sqlite": "sqlite", ".sqlite3": "sqlite", ".db": "sqlite", ".duckdb": "duckdb"}
SCHEME = "[a-zA-Z][a-zA-Z0-9+.-]+:/{1,2}"  # of a URL; Path keeps only one of its slashes
SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql", "sqlite": "sqlite", "duckdb": "duckdb"}


@dataclass(frozen=True)
class Source:
    """A place that rows are read from or written to.

    Args:
        address: A file's path, ``-``, or the URL of a database, with its credentials.
        database: ``postgresql``, ``sqlite``, ``duckdb``; empty if it is not a database.
        query: The query to send to the database.
        table: A table of a database, or a file of an archive.
        sheet: A sheet of an Excel file.
        writing: Whether rows are written there.
    """

    address: str = field(repr=False)
    database: str = ""
    query: str | None = None
    table: str | None = None
    sheet: str | None = None
    writing: bool = False

    def __str__(self) -> str:
        if self.address == STANDARD:
            return "standard output" if self.writing else "standard input"
        part = self.table or self.sheet
        return without_credentials(self.address) + (f" ({part})" if part else "")

    @property
    def name(self) -> str:
        """The last part of its name, for headings."""
        return str(self).rpartition("/")[2] or str(self)

    @property
    def words(self) -> list[str]:
        """Its name as shell words, without credentials."""
        options = {"query": self.query, "table": self.table, "sheet": self.sheet}
        chosen = [word for name, value in options.items() if value is not None for word in (f"--{name}", value)]
        return [without_credentials(self.address), *chosen]

    @property
    def path(self) -> Path:
        """Its file, if it is one."""
        return Path(re.sub(r"^(sqlite|duckdb)://", "", self.address))

    @cached_property
    def local(self) -> Path:
        """A local file with its rows, and an ending that tells its format; it is removed with this object.

        Raises:
            InputError: there is nothing to read, or it cannot be read.
        """
        from .database import fetch
        from .unpack import unpack

        if self.database or self.address == STANDARD:
            refuse_many_processes(self)
        folder = tempfile.mkdtemp(prefix="pushforward-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return (fetch if self.database else unpack)(self, Path(folder))


Location = Path | Source


def located(
    data: str | os.PathLike[str] | Source,
    query: str | None = None,
    table: str | None = None,
    sheet: str | None = None,
    *,
    writing: bool = False,
) -> Location:
    """Resolves a user's name for a table.

    Args:
        data: A path, a pattern, ``-``, or a database: ``postgresql://user@host/base``, ``shop.sqlite``, ``x.duckdb``;
            behind a database, ``?table=NAME`` says which of its tables.
        query: The query to send to the database.
        table: The table of the database, or the file of the archive.
        sheet: The sheet of the Excel file.
        writing: Whether rows are written there.

    Raises:
        InputError: an option belongs to another kind of place, or no such database is known.
    """
    if isinstance(data, Source):
        return data
    data = STANDARD if data == "./-" else data
    text = re.sub(r"^([a-z][a-z0-9+]+):/(?=[^/])", r"\1://", os.fspath(data))
    database, text, inner = _database(text)
    table = table or inner
    ending = "" if database else _endings(text)[-1]
    for name, value, fits, what in (
        ("query", query, bool(database), "a database"),
        ("table", table, bool(database) or ending == ".zip", "a database or a .zip file"),
        ("sheet", sheet, ending in EXCEL, "an Excel file"),
    ):
        if value is not None and not fits:
            raise InputError(f"applies to {what}, but {text} is not one", name)
    if query and table:
        raise InputError("give no `table=` as well; a query names its tables itself", "query")
    images = re.search(r"idx\d-ubyte", text)  # MNIST's files are also packed, but are not tables
    if database or text == STANDARD or (ending in (".zip", *PACKED) and not images) or sheet:
        return Source(text, database, query, table, sheet, writing)
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


def refuse_many_processes(source: Source) -> None:
    """Refuses a source whose rows each process of torchrun would see in a different order, or not at all.

    Raises:
        InputError: there are several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            f"{source}: processes of torchrun can share files, such as Parquet, but not queries or streams"
        )


def local_file(place: Location) -> Path:
    """The file that a place's rows are read from."""
    return place if isinstance(place, Path) else place.local


@contextlib.contextmanager
def naming(source: Location, path: Path) -> Iterator[None]:
    """Errors about the local file of a source name the source instead."""
    try:
        yield
    except InputError as error:
        sentence = error.sentence.replace(str(path), str(source))
        raise InputError(sentence, error.argument, error.value) from None


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


def _endings(text: str) -> list[str]:
    return [ending.lower() for ending in Path(text).suffixes] or [""]
