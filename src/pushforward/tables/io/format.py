"""What a format of files has to do: read a table, and write one; some can do so piece by piece."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import polars as pl

from ...errors import InputError
from .place import Location
from .table import RowsInPieces, Table


@dataclass(frozen=True)
class ReadOptions:
    """What the user, or the model that the rows are for, says about a file."""

    sheet: str | None = None  # the sheet to read
    text: Sequence[str] = ()  # columns that hold text, even where all of it looks like numbers
    # at a fit, those whose numbers are names, and text where zeros stand before them; None at other times
    codes: Sequence[str] | None = None
    decimal: str = ""  # the decimal mark to assume where the file leaves it open

    def at(self, place: Location) -> ReadOptions:
        """The same with what the place says itself."""
        if isinstance(place, Path):
            return self
        return replace(self, sheet=place.options.sheet, decimal=place.options.decimal or self.decimal)


class Format:
    """One format; subclasses are final, and instances stand in the registry, ``formats.py``."""

    endings: ClassVar[tuple[str, ...]]  # the endings of its files, lower case
    written: ClassVar[tuple[str, ...]] = ()  # those that can be written as well
    starts: ClassVar[tuple[bytes, ...]] = ()  # first bytes by which a stream without a name is recognised
    # what a user may say of a file: which sheet, or which decimal mark its numbers have
    options: ClassVar[tuple[str, ...]] = ()
    long: ClassVar[bool] = False  # whether it is written piece by piece, so that a table may be larger than memory

    def read(self, path: Path, options: ReadOptions) -> Table:
        """The whole table."""
        raise NotImplementedError

    def pieces(self, place: Location, path: Path, options: ReadOptions) -> RowsInPieces | None:
        """The rows of a file, which the user calls a place, if they are better read in pieces."""
        return None

    def write(self, rows: pl.LazyFrame, path: Path) -> None:
        """Writes a table."""
        raise NotImplementedError


@contextlib.contextmanager
def refusing_damage(name: object, what: str) -> Iterator[None]:
    """Whatever a reader says about a broken file becomes one sentence: ``name: cannot be <what>: reason``."""
    try:
        yield
    except InputError:
        raise
    except PermissionError:
        raise InputError(f"{name}: may not be read; check its permissions") from None
    except (Exception, pl.exceptions.PanicException) as error:  # readers raise all kinds of errors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{name}: cannot be {what}: {reason}") from None
