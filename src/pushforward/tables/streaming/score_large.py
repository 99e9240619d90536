"""Scores of tables larger than memory: in parts, resumable, distributed over the processes of torchrun."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from tqdm import tqdm

from ...errors import InputError
from ...models.console import Console
from ...saving.bundle import read_config
from ...training.distributed import join
from ..io.large import LargeRows
from ..io.source import local_file
from ..io.table import check_output
from ..model import TableModel
from ..schema.numbers import require_columns
from .running_totals import Tally, median_of
from .score_pieces import SINKS, Parts, check_parts_output, pieces_of

Score = Callable[..., pl.DataFrame]


def run(
    model: TableModel,
    source: LargeRows,
    output: Path,
    console: Console,
    score: Score,
    asked: dict[str, Any],
) -> tuple[Tally, float] | None:
    """Scores a long table, each process its share; the first one returns the figures and the median.

    Args:
        model: The model.
        source: The rows.
        output: A .csv or .parquet file, or a folder (a name without an ending) in which the parts are left.
        console: Where to print messages.
        score: Maps a piece to its scores.
        asked: Everything besides the model and the rows that affects the scores, to recognise the parts of this run.

    Raises:
        InputError: the table or the output cannot be used; the parts so far are kept.
    """
    check_large_output(output, source)
    keep = asked["keep"]
    follow = [name for name in model.schema.follow_names if name in source.columns]
    columns = list(dict.fromkeys([*model.schema.names, *follow, *model.schema.given_names, *keep]))
    first = next(source.read(0, 1, columns))
    model.schema.check(first.frame, first.source)
    require_columns(first.frame, keep, first.source, "keep")
    world = join(model.device)
    identity = {"model": read_config(Path(model.called)).get("sha256"), "files": source.sizes, **asked}
    parts = Parts(output, source.rows, identity)
    if world.rank == 0 and parts.start():
        console.note(f"{parts.folder}: held the parts of another run, which were removed")
    world.wait()
    share = range(parts.count * world.rank // world.count, parts.count * (world.rank + 1) // world.count)
    todo = parts.missing(share)
    if len(todo) < len(share):
        console.note(f"{parts.folder}: {len(share) - len(todo)} of {len(share)} parts are there already")
    try:
        _make(
            parts,
            todo,
            source,
            columns,
            console,
            lambda piece: score(piece).select(*piece.frame.select(keep), pl.all()),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; the parts so far are in {parts.folder}; the same command goes on") from None
    world.wait()
    return None if world.rank else _finish(parts, source, console)


def _make(parts: Parts, todo: list[int], source: LargeRows, columns: list[str], console: Console, score: Score) -> None:
    """Scores the rows of the parts and writes each part once it is complete."""
    total = sum(stop - start for start, stop in map(parts.limits, todo))
    with tqdm(total=total, unit="row", unit_scale=True, disable=None if console.talks else True) as bar:
        for part, pieces in itertools.groupby(pieces_of(source, columns, todo), lambda pair: pair[0]):
            scores = []
            for _, piece in pieces:
                scores.append(score(piece))
                bar.update(piece.frame.height)
            parts.write(part, pl.concat(scores))


def _finish(parts: Parts, source: LargeRows, console: Console) -> tuple[Tally, float]:
    """Computes the figures of all parts; then moves the output into place."""
    if todo := parts.missing(range(parts.count)):
        raise InputError(f"{parts.folder}: part {todo[0]} is missing; all processes have to see the same folder")
    tally = Tally()
    for frame in parts.frames():
        tally.add(frame)
    if not tally.scored:
        raise InputError(f"{source.path}: no row has a value in every column of the model")
    if tally.scored < tally.rows:
        missing = tally.rows - tally.scored
        console.note(f"{source.path}: {missing:,} rows with missing or infinite values get no score")
    median = median_of(lambda: parts.column("log_density"))
    parts.finish()
    return tally, median


def check_large_output(output: Path, source: LargeRows) -> None:
    """Refuses an output that could not be written, or that would become input of the next run."""
    if output.suffix:
        check_output(output, tuple(SINKS))
    else:
        check_parts_output(output)
    folder = local_file(source.path).resolve()
    if folder.is_dir() and folder in (output.absolute().resolve(), *output.absolute().resolve().parents):
        raise InputError(f"{output}: lies in {source.path}, the folder that is read; write the scores elsewhere")
