"""Scores of tables larger than memory: in pieces, resumable, distributed over the processes of torchrun."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from tqdm import tqdm

from ...errors import InputError
from ...models.console import Console
from ...saving.bundle import read_config
from ...training.distributed import join
from ..io.table import Piece, RowsInPieces
from ..io.unpack import local_file
from ..model import TableModel
from ..schema.numbers import require_columns
from .score_figures import ScoreFigures, score_figures
from .score_pieces import ScorePieces, check_scores_output, rows_of

Score = Callable[[Piece], pl.DataFrame]


def score_large(
    model: TableModel,
    source: RowsInPieces,
    output: Path,
    console: Console,
    score: Score,
    asked: dict[str, Any],
) -> ScoreFigures | None:
    """Scores a long table, each process its share; the first one returns the figures.

    Args:
        model: The model.
        source: The rows.
        output: A file, or a folder (a name without an ending) in which the pieces are left.
        console: Where to print messages.
        score: Maps some rows to their scores.
        asked: Everything besides the model and the rows that affects the scores, to recognise the pieces of this run.

    Raises:
        InputError: the table or the output cannot be used; the pieces so far are kept.
    """
    check_large_output(output, source)
    keep = asked["keep"]
    follow = [name for name in model.schema.follow_names if name in source.columns]
    columns = list(dict.fromkeys([*model.schema.names, *follow, *model.schema.given_names, *keep]))
    first = next(source.read(0, 1, columns), Piece(pl.DataFrame(), str(source.path), 0))
    model.schema.check(first.frame, first.source)
    require_columns(first.frame, keep, first.source, "keep")
    world = join(model.device)
    identity = {"model": read_config(Path(model.called)).get("sha256"), "files": source.identity(), **asked}
    pieces = ScorePieces(output, source.rows, identity)
    if world.rank == 0 and pieces.start():
        console.note(f"{pieces.folder}: held the parts of another run, which were removed")
    world.wait()
    share = range(pieces.count * world.rank // world.count, pieces.count * (world.rank + 1) // world.count)
    todo = pieces.missing(share)
    if len(todo) < len(share):
        console.note(f"{pieces.folder}: {len(share) - len(todo)} of {len(share)} parts are there already")
    try:
        _write(pieces, todo, rows_of(source, columns, todo), console, score, keep)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; the parts so far are in {pieces.folder}; the same command goes on") from None
    world.wait()
    return None if world.rank else _finish(pieces, source, console)


def check_large_output(output: Path, source: RowsInPieces) -> None:
    """Refuses an output that could not be written, or that would become input of the next run."""
    check_scores_output(output)
    folder = local_file(source.path).resolve()
    if folder.is_dir() and folder in (output.absolute().resolve(), *output.absolute().resolve().parents):
        raise InputError(f"{output}: lies in {source.path}, the folder that is read; write the scores elsewhere")


def _write(
    pieces: ScorePieces,
    todo: list[int],
    rows: Iterator[tuple[int, Piece]],
    console: Console,
    score: Score,
    keep: Sequence[str],
) -> None:
    """Scores the rows and writes each piece once it is complete."""
    total = sum(map(pieces.height, todo))
    with tqdm(total=total, unit="row", unit_scale=True, disable=None if console.talks else True) as bar:
        for piece, parts in itertools.groupby(rows, lambda pair: pair[0]):
            scores = []
            for _, part in parts:
                scores.append(score(part).select(*part.frame.select(keep), pl.all()))
                bar.update(part.frame.height)
            pieces.write(piece, pl.concat(scores))


def _finish(pieces: ScorePieces, source: RowsInPieces, console: Console) -> ScoreFigures:
    """Computes the figures of all pieces; then moves the output into place."""
    if todo := pieces.missing(range(pieces.count)):
        raise InputError(f"{pieces.folder}: part {todo[0]} is missing; all processes have to see the same folder")
    figures = score_figures(pieces.scores())
    if not figures.scored:
        raise InputError(f"{source.path}: no row has a value in every column of the model")
    if figures.scored < figures.rows:
        missing = figures.rows - figures.scored
        console.note(f"{source.path}: {missing:,} rows with missing or infinite values get no score")
    pieces.finish()
    return figures
