"""Scores of files: of one that is larger than memory by all processes of torchrun, in pieces from which a stopped run
goes on."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from tqdm import tqdm

from ...errors import InputError, counted
from ...models.console import Console, aligned
from ...saving.bundle import read_config
from ...saving.files import remove_directory, write_file
from ...training.distributed import join
from ..io.formats import IN_PIECES
from ..io.place import Location, is_many
from ..io.read import local_file, open_large
from ..io.table import Piece, RowsInPieces
from ..io.write import check_output, delivered, write_table
from ..model import TableModel
from ..schema.notes import Note, together
from ..schema.numbers import require_columns
from .score import Scoring, note_columns, refuse_scores_name, score_table
from .score_figures import score_figures

SIZE = 100_000  # rows in a piece
PLAN = "plan.json"

Figures = tuple[dict[str, Any], pl.DataFrame]  # what scores amount to, and the least likely rows


def score_file(
    model: TableModel,
    data: Location,
    output: Location,
    console: Console,
    *,
    keep: Sequence[str] = (),
    samples: int | None = None,
    seed: int = 0,
    drop_missing: bool = False,
    explain_below: float | None = None,
    given: Sequence[str] = (),
) -> dict[str, Any]:
    """Scores a table; returns a summary."""
    scoring = Scoring(model, samples or model.samples, seed, drop_missing, explain_below, given)
    with delivered(output, numbered=True) as path:
        if path.suffix:
            check_output(path)
        refuse_scores_name(keep)
        large = open_large(data, model.read_options)
        if large is not None:
            found = score_large(scoring, large, path, console, keep)  # only by the first process of torchrun
            return {} if found is None else _conclude(scoring, found, large.path.name, str(output), console)
        check_output(path)
        table = model.read_file(data).held_out()
        require_columns(table.frame.columns, keep, str(table.path), "keep")
        scores = score_table(scoring, table, console)
        figures = _figures(scores.lazy(), table.path, console)
        write_table(scores.select(*table.frame.select(keep), pl.all()), path)
        return _conclude(scoring, figures, table.path.name, str(output), console)


def _figures(scores: pl.LazyFrame, source: Location, console: Console) -> Figures:
    """What scores amount to, if there are any; says how many rows have none."""
    figures, worst = score_figures(scores)
    if not figures["scored"]:
        raise InputError(f"{source}: no row has a value in every column of the model")
    if missing := figures["rows"] - figures["scored"]:
        what = f"{counted(missing, 'row')} with missing or infinite values, or given what no training row had"
        console.note(f"{source}: no score for {what}")
    return figures, worst


def _conclude(scoring: Scoring, found: Figures, name: str, output: str, console: Console) -> dict[str, Any]:
    """Reports the results and where they were saved; returns the summary."""
    summary = found[0] | {"cell_samples": scoring.samples if scoring.model.schema.has_cells else None}
    summary["percentiles_among"] = scoring.model.others
    console.say(*_describe(summary, found[1], name), f"saved {output}")
    return {**summary, "output": output}


def _describe(summary: dict[str, Any], worst: pl.DataFrame, name: str) -> list[str]:
    """The summary and the least likely rows, in human-readable form."""
    mean, se, below = (summary[name] for name in ("log_likelihood", "standard_error", "below_1_percent"))
    spread = "" if math.isnan(se) else f" ± {se:.4f}"
    lines = [
        f"{name}: {summary['scored']:,} rows",
        f"log-density: median {summary['median']:.4f}, mean {mean:.4f}{spread} nats",
    ]
    if below is not None:
        lines.append(f"{below:.1%} of the rows are below the first percentile of {summary['percentiles_among']}")
    if points := summary["cell_samples"]:
        lines.append(f"each row's cell is averaged over {points} points (standard_error says how well)")
    if summary["impossible"]:
        rows = counted(summary["impossible"], "row")
        lines.append(f"log_density is -inf, as the model has no density there, in {rows}")
    shown = [c for c in ("row", "log_density", "percentile", "unlikely_because", "would_fit") if c in worst.columns]
    return [*lines, "", "the least likely rows", *aligned([shown, *worst.select(shown).rows()]), ""]


def score_large(
    scoring: Scoring, source: RowsInPieces, output: Path, console: Console, keep: Sequence[str]
) -> Figures | None:
    """Scores a long table, each process its share; the first one returns the figures. The output is a file, or a folder
    (a name without an ending) in which the pieces are left."""
    model = scoring.model
    scoring.check(source.columns)
    _check_output(output, source)
    unused = {*model.schema.extra_names(source.columns)}.difference(keep)
    columns = [name for name in (*source.columns, *model.schema.lacks(source.columns)) if name not in unused]
    first = next(source.read(0, 1, columns), Piece(pl.DataFrame(), str(source.path), 0))
    require_columns(first.frame.columns, keep, first.source, "keep")
    source.refuse_unequal(columns)
    scoring.query(first)  # which refuses, before any work, what the model cannot score
    note_columns(model, source.columns, str(source.path), console)
    files = {"model": read_config(Path(model.called)).get("sha256"), "files": source.identity(), "keep": list(keep)}
    asked = {name: getattr(scoring, name) for name in ("samples", "seed", "drop_missing", "explain_below", "given")}
    world, pieces = join(model.device), ScorePieces(output, source.rows, {**files, **asked})
    if world.rank == 0 and pieces.start():
        console.note(f"{pieces.folder}: held the parts of another run, which were removed")
    world.wait()
    share = range(pieces.count * world.rank // world.count, pieces.count * (world.rank + 1) // world.count)
    todo = pieces.missing(share)
    if len(todo) < len(share):
        console.note(f"{pieces.folder}: {len(share) - len(todo)} of {len(share)} parts are there already")
    total = sum(map(pieces.height, todo))
    bar = tqdm(total=total, unit="row", unit_scale=True, disable=None if console.talks else True)
    try:
        _write(pieces, _rows_of(source, columns, todo), scoring, keep, bar)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; the parts so far are in {pieces.folder}; the same command goes on") from None
    world.wait()
    return None if world.rank else _finish(pieces, source, console)


def _check_output(output: Path, source: RowsInPieces) -> None:
    """Refuses an output that could not be written, that would become input of the next run, or a folder that holds
    anything other than pieces of scores."""
    folder, place = local_file(source.path).resolve(), output.absolute().resolve()
    if output.suffix:
        check_output(output, IN_PIECES)
    elif not output.absolute().parent.is_dir():
        raise InputError(f"{output}: the folder {output.parent} does not exist; create it first")
    elif output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file; without an ending the scores are a folder; choose another name")
    elif output.is_dir() and any(not (e.match("part-*") or e.name == PLAN) for e in output.iterdir()):
        raise InputError(f"{output}: is a folder with other files in it; choose another name, or remove it")
    if is_many(source.path) and (folder in (place, *place.parents) or place.match(str(folder))):
        raise InputError(f"{output}: lies in {source.path}, which is read; write the scores elsewhere")


def _write(
    pieces: ScorePieces, rows: Iterator[tuple[int, Piece]], scoring: Scoring, keep: Sequence[str], bar: Any
) -> None:
    """Scores the rows and writes each piece once it is complete."""
    with bar:
        for piece, parts in itertools.groupby(rows, lambda pair: pair[0]):
            scores, notes = list[pl.DataFrame](), list[Note]()
            for _, part in parts:
                query = scoring.query(part)
                scores.append(scoring.scores(query).select(*part.frame.select(keep), pl.all()))
                notes += scoring.noticed(query, part)
                bar.update(part.frame.height)
            write_file(pieces.aside(piece), json.dumps([note.parts for note in together(notes)]).encode())
            write_table(pl.concat(scores), pieces.file(piece))


def _finish(pieces: ScorePieces, source: RowsInPieces, console: Console) -> Figures:
    """Computes the figures of all pieces; then moves the output into place."""
    if todo := pieces.missing(range(pieces.count)):
        raise InputError(f"{pieces.folder}: part {todo[0]} is missing; all processes have to see the same folder")
    figures = _figures(pieces.scores(), source.path, console)
    asides = (json.loads(pieces.aside(k).read_bytes()) for k in range(pieces.count))
    console.note(*together(Note.of_parts(*parts) for aside in asides for parts in aside))
    pieces.finish()
    return figures


def _rows_of(source: RowsInPieces, names: list[str], pieces: list[int]) -> Iterator[tuple[int, Piece]]:
    """Rows of some pieces with the piece's number, each run of pieces in one pass."""
    for _, run in itertools.groupby(enumerate(pieces), lambda pair: pair[1] - pair[0]):
        chosen = [piece for _, piece in run]
        row = chosen[0] * SIZE
        for part in source.read(row, min((chosen[-1] + 1) * SIZE, source.rows), names):
            done = 0
            while done < part.frame.height:
                take = min(SIZE - row % SIZE, part.frame.height - done)
                yield row // SIZE, Piece(part.frame.slice(done, take), part.source, part.first + done)
                done, row = done + take, row + take


@dataclass(frozen=True)
class ScorePieces:
    """The pieces of one run, in a folder next to its output, ``SCORES.parts/part-00000.parquet`` and so on;
    ``identity`` distinguishes it from others, by the model, the files and the options."""

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

    def aside(self, piece: int) -> Path:  # what is to be said of its rows
        return self.file(piece).with_suffix(".json")

    def scores(self) -> pl.LazyFrame:
        """The scores of all rows, in order."""
        return pl.scan_parquet([self.file(piece) for piece in range(self.count)])

    def start(self) -> bool:
        """Prepares the folder; returns whether it held pieces of another run, which are then removed."""
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
            rows = pl.scan_parquet(self.file(piece)).select(pl.len()).collect().item()
            return rows == self.height(piece) and self.aside(piece).is_file()
        except (OSError, pl.exceptions.PolarsError):
            return False

    def finish(self) -> None:
        """Moves the output into place in one step, and removes the folder of pieces."""
        if self.output.suffix:
            write_table(self.scores(), self.output)
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        if self.output.exists():
            remove_directory(self.output)
        self.folder.rename(self.output)
        for aside in self.output.glob("*.json"):
            aside.unlink()
