"""A table as it was read: whole, already split, or to be read in pieces."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...errors import InputError, listed
from ..schema.numbers import require_columns
from .place import Location, Source

WEIGHTS = "sample_weight"  # the column for weights that are given separately from the table


@dataclass(frozen=True)
class Piece:
    """Some consecutive rows, their file, for error messages, and the number of the first one in it, from 0."""

    frame: pl.DataFrame
    source: str
    first: int = 0


class RowsInPieces(ABC):
    """The rows of a table in files, numbered from 0, a few of which are in memory at a time; messages say the path."""

    path: Location
    files: list[Path]
    rows: int
    columns: list[str]
    notes: tuple[str, ...] = ()
    held: Sequence[tuple[str, Sequence[str]]] = ()  # several files that have rows, and the columns of each

    def refuse_unequal(self, columns: Sequence[str]) -> None:
        """Refuses files of which only some have one of the named columns."""
        held = [(file, [name for name in columns if name in names]) for file, names in self.held]
        for file, names in held:
            require_columns(names, held[0][1], file)
            require_columns(held[0][1], names, held[0][0])

    @abstractmethod
    def read(self, start: int, stop: int, columns: Sequence[str] | None = None) -> Iterator[Piece]:
        """Rows ``start`` to ``stop`` (exclusive) in pieces, with those of the named columns that are present."""

    def identity(self) -> list[tuple[str | int, ...]]:
        """Name, bytes and modification time of every file; of a copy, new each time, what was asked and a checksum."""
        if isinstance(self.path, Source):
            return [(" ".join(self.path.words), zlib.crc32(np.memmap(file, mode="r").data)) for file in self.files]
        states = [(str(file.resolve()), file.stat()) for file in self.files]
        return [(name, state.st_size, state.st_mtime_ns) for name, state in states]


def one_each(weights: Any, rows: int) -> np.ndarray:
    """Weights of so many rows."""
    try:
        values = np.asarray(weights, dtype=float)
    except (TypeError, ValueError):
        raise InputError("expected numbers, one for each row", WEIGHTS) from None
    if values.shape != (rows,):
        raise InputError(f"has shape {values.shape}, expected ({rows},): one each", WEIGHTS)
    if not (np.isfinite(values) & (values >= 0)).all() or not values.any():
        raise InputError("must be finite, not negative, and not 0 for all rows", WEIGHTS)
    return values


@dataclass(frozen=True)
class Table:
    """A table as it was read."""

    path: Location  # where it came from; for a frame, what messages call it
    frame: pl.DataFrame  # all rows; those for training if the file has splits; the first if it is read in pieces
    splits: dict[str, pl.DataFrame] = field(default_factory=dict)  # ``train``, ``val``, ``test`` of a file with them
    notes: tuple[str, ...] = ()  # on how the file was read
    decimal: str = ""  # the decimal mark of its numbers; empty if the file does not say
    pieces: Any = None  # RowsInPieces: all rows, if the table is read in pieces
    kind: str = "polars"  # of frame: ``pandas``, ``polars``, …

    @property
    def words(self) -> list[str]:
        """Where it came from, as shell words."""
        return self.path.words if isinstance(self.path, Source) else [str(self.path)]

    def mapped(self, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Table:
        """The same with a change of its rows."""
        splits = {name: change(part) for name, part in self.splits.items()}
        return replace(self, frame=change(self.frame), splits=splits)

    def held_out(self) -> Table:
        """The test rows of a file with its own splits; otherwise the whole table."""
        if not self.splits:
            return self
        name = "test" if "test" in self.splits else "val"
        note = f"{self.path.name} is divided into {listed(self.splits)}: the rows of {name!r} are used"
        return replace(self, frame=self.splits[name], splits={}, notes=(*self.notes, note))

    def validated_by(self, other: Table) -> Table:
        """The same rows used for training alone, with those of another table for validation and for the figures."""
        if self.pieces is not None:
            raise InputError(f"{self.path}: is read in pieces, so validation must be a share of its rows")
        require_columns(other.frame.columns, self.frame.columns, "validation")
        held_out = other.frame.select(self.frame.columns)
        return replace(self, splits={"train": self.frame, "val": held_out, "test": held_out})

    def weighted(self, weights: Any) -> Table:
        """The same rows with a column of weights; 1 for those of a validation table."""
        if self.pieces is not None or (self.splits and "train" not in self.splits):
            raise InputError(f"{self.path}: is read in pieces, whose rows all count alike; leave out `sample_weight=`")
        values = one_each(weights, self.frame.height)
        if WEIGHTS in self.frame.columns:
            raise InputError(f"{self.path}: has a column {WEIGHTS!r}; rename it, or leave out `sample_weight=`")
        frame = self.frame.with_columns(pl.Series(WEIGHTS, values))
        splits = {name: part.with_columns(pl.lit(1.0).alias(WEIGHTS)) for name, part in self.splits.items()}
        return replace(self, frame=frame, splits={**splits, "train": frame} if splits else {})
