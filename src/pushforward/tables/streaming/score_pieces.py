"""Scores of a long table in parts, each written whole, so that an interrupted run resumes where it stopped."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...errors import InputError
from ...saving.files import remove_directory, write_atomically, write_file
from ..io.large import LargeRows
from ..io.parquet import Piece
from ..io.table import write_table

SIZE = 100_000  # rows in a part
PLAN = "plan.json"


SINKS: dict[str, Callable[[pl.LazyFrame, Path], Any]] = {
    ".csv": lambda rows, path: rows.sink_csv(path),
    ".parquet": lambda rows, path: rows.sink_parquet(path),
    **dict.fromkeys((".tsv", ".txt"), lambda rows, path: rows.sink_csv(path, separator="\t")),
    **dict.fromkeys((".jsonl", ".ndjson"), lambda rows, path: rows.sink_ndjson(path)),
    **dict.fromkeys((".arrow", ".feather", ".ipc"), lambda rows, path: rows.sink_ipc(path)),
}


@dataclass(frozen=True)
class Parts:
    """The parts of one run, in a folder next to its output: ``SCORES.parts/part-00000.parquet`` and so on.

    Args:
        output: Where the scores go: a .csv or .parquet file, or a folder for the parts themselves.
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

    def limits(self, part: int) -> tuple[int, int]:
        """The first row of a part, and that of the next one."""
        return part * SIZE, min((part + 1) * SIZE, self.rows)

    def file(self, part: int) -> Path:
        return self.folder / f"part-{part:05d}.parquet"

    def start(self) -> bool:
        """Prepares the folder; returns whether it held parts of another run, which are then removed.

        Raises:
            InputError: there is something else in the way.
        """
        plan = json.dumps({"rows_per_part": SIZE, "rows": self.rows, **self.identity}, sort_keys=True).encode()
        found = self.folder / PLAN
        if self.folder.exists():
            if not found.is_file():
                raise InputError(f"{self.folder}: is in the way: the scores are gathered there; move or remove it")
            if found.read_bytes() == plan:
                for leftover in self.folder.glob(".*.tmp"):
                    leftover.unlink(missing_ok=True)
                return False
            remove_directory(self.folder)
            if self.folder.exists():
                raise InputError(f"{self.folder}: holds the parts of another run and cannot be removed")
            self._make(plan)
            return True
        self._make(plan)
        return False

    def _make(self, plan: bytes) -> None:
        self.folder.mkdir()
        write_file(self.folder / PLAN, plan)

    def missing(self, parts: Iterable[int]) -> list[int]:
        """Those of the parts that are still to be written."""
        return [part for part in parts if not self._sound(part)]

    def _sound(self, part: int) -> bool:
        start, stop = self.limits(part)
        try:
            return pl.scan_parquet(self.file(part)).select(pl.len()).collect().item() == stop - start
        except (OSError, pl.exceptions.PolarsError):
            return False

    def write(self, part: int, scores: pl.DataFrame) -> None:
        write_table(scores, self.file(part))

    def column(self, name: str) -> Iterator[np.ndarray]:
        """The values of a column, part by part, without rows that have none."""
        for part in range(self.count):
            yield pl.read_parquet(self.file(part), columns=[name])[name].drop_nulls().to_numpy()

    def frames(self) -> Iterator[pl.DataFrame]:
        for part in range(self.count):
            yield pl.read_parquet(self.file(part))

    def finish(self) -> None:
        """Moves the output into place in one step, and removes the folder of parts."""
        if not self.output.suffix:
            if self.output.exists():
                remove_directory(self.output)
            self.folder.rename(self.output)
            (self.output / PLAN).unlink()
            return
        scan = pl.scan_parquet([self.file(part) for part in range(self.count)])
        write_atomically(self.output, lambda path: SINKS[self.output.suffix.lower()](scan, path))
        shutil.rmtree(self.folder, ignore_errors=True)


def check_parts_output(output: Path) -> None:
    """Refuses a folder that holds anything other than parts of scores.

    Raises:
        InputError: says what is in the way.
    """
    if not output.absolute().parent.is_dir():
        raise InputError(f"{output}: the folder {output.parent} does not exist; create it first")
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file; without an ending the scores are a folder; choose another name")
    if output.is_dir() and any(not (e.match("part-*.parquet") or e.name == PLAN) for e in output.iterdir()):
        raise InputError(f"{output}: is a folder with other files in it; choose another name, or remove it")


def pieces_of(source: LargeRows, columns: list[str], parts: list[int]) -> Iterator[tuple[int, Piece]]:
    """The rows of some parts with the part's number, reading every run of consecutive parts in one pass."""
    for _, run in itertools.groupby(enumerate(parts), lambda pair: pair[1] - pair[0]):
        chosen = [part for _, part in run]
        row = chosen[0] * SIZE
        for piece in source.read(row, min((chosen[-1] + 1) * SIZE, source.rows), columns):
            done = 0
            while done < piece.frame.height:
                take = min(SIZE - row % SIZE, piece.frame.height - done)
                yield row // SIZE, Piece(piece.frame.slice(done, take), piece.source, piece.first + done)
                done, row = done + take, row + take
