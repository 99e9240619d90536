"""Scores of a long table piece by piece, each written whole, so that an interrupted run resumes where it stopped."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ...errors import InputError
from ...saving.files import remove_directory, write_file
from ..io.formats import IN_PIECES
from ..io.table import Piece, RowsInPieces
from ..io.write import check_output, write_table

SIZE = 100_000  # rows in a piece
PLAN = "plan.json"


@dataclass(frozen=True)
class ScorePieces:
    """The pieces of one run, in a folder next to its output: ``SCORES.parts/part-00000.parquet`` and so on.

    Args:
        output: Where the scores go: a file, or a folder for the pieces themselves.
        rows: Number of rows of the table.
        identity: What distinguishes this run from others: the model, the files, the options.
    """

    output: Path
    rows: int
    identity: dict[str, Any]

    @property
    def folder(self) -> Path:
        return self.output.with_name(self.output.name + ".parts")

    @property
    def count(self) -> int:
        return -(-self.rows // SIZE)

    def height(self, piece: int) -> int:
        """Number of rows of a piece."""
        return min(SIZE, self.rows - piece * SIZE)

    def file(self, piece: int) -> Path:
        return self.folder / f"part-{piece:05d}.parquet"

    def scores(self) -> pl.LazyFrame:
        """The scores of all rows, in order."""
        return pl.scan_parquet([self.file(piece) for piece in range(self.count)])

    def start(self) -> bool:
        """Prepares the folder; returns whether it held pieces of another run, which are then removed.

        Raises:
            InputError: there is something else in the way.
        """
        plan = json.dumps({"rows_per_part": SIZE, "rows": self.rows, **self.identity}, sort_keys=True).encode()
        found, existed = self.folder / PLAN, self.folder.exists()
        if existed and not found.is_file():
            raise InputError(f"{self.folder}: is in the way: the scores are gathered there; move or remove it")
        if existed and found.read_bytes() == plan:
            for leftover in self.folder.glob(".*.tmp*"):
                leftover.unlink(missing_ok=True)
            return False
        remove_directory(self.folder) if existed else None
        if self.folder.exists():
            raise InputError(f"{self.folder}: holds the parts of another run and cannot be removed")
        self.folder.mkdir()
        write_file(found, plan)
        return existed

    def missing(self, pieces: Iterable[int]) -> list[int]:
        """Those of the pieces that are still to be written."""
        return [piece for piece in pieces if not self._sound(piece)]

    def _sound(self, piece: int) -> bool:
        try:
            return pl.scan_parquet(self.file(piece)).select(pl.len()).collect().item() == self.height(piece)
        except (OSError, pl.exceptions.PolarsError):
            return False

    def write(self, piece: int, scores: pl.DataFrame) -> None:
        write_table(scores, self.file(piece))

    def finish(self) -> None:
        """Moves the output into place in one step, and removes the folder of pieces."""
        if self.output.suffix:
            write_table(self.scores(), self.output)
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        if self.output.exists():
            remove_directory(self.output)
        self.folder.rename(self.output)
        (self.output / PLAN).unlink()


def check_scores_output(output: Path) -> None:
    """Refuses an output that could not be written, or a folder that holds anything other than pieces of scores.

    Raises:
        InputError: says what is in the way.
    """
    if output.suffix:
        check_output(output, IN_PIECES)
    elif not output.absolute().parent.is_dir():
        raise InputError(f"{output}: the folder {output.parent} does not exist; create it first")
    elif output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file; without an ending the scores are a folder; choose another name")
    elif output.is_dir() and any(not (e.match("part-*.parquet") or e.name == PLAN) for e in output.iterdir()):
        raise InputError(f"{output}: is a folder with other files in it; choose another name, or remove it")


def rows_of(source: RowsInPieces, columns: list[str], pieces: list[int]) -> Iterator[tuple[int, Piece]]:
    """The rows of some pieces with the piece's number, reading every run of consecutive pieces in one pass."""
    for _, run in itertools.groupby(enumerate(pieces), lambda pair: pair[1] - pair[0]):
        chosen = [piece for _, piece in run]
        row = chosen[0] * SIZE
        for part in source.read(row, min((chosen[-1] + 1) * SIZE, source.rows), columns):
            done = 0
            while done < part.frame.height:
                take = min(SIZE - row % SIZE, part.frame.height - done)
                yield row // SIZE, Piece(part.frame.slice(done, take), part.source, part.first + done)
                done, row = done + take, row + take
