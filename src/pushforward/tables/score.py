"""The log-density of every row, its percentile, and on request the columns behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ..models.console import Console, aligned
from ..models.train import Rows
from . import score_stream
from .errors import InputError, listed
from .explain import explain, explained_columns
from .formats.parquet import Piece
from .formats.source import Location
from .formats.table import Table, check_output, read_table, write_table
from .schema.numbers import require_columns
from .stream.large import LargeRows, open_large
from .tally import Tally

SCORES = ("row", "log_density", "percentile", "standard_error", "unlikely_because", "would_fit")

if TYPE_CHECKING:
    from .density import TableDensity


def score_file(
    model: TableDensity,
    data: Location,
    output: Path,
    console: Console,
    *,
    keep: Sequence[str] = (),
    called: str | None = None,
    samples: int | None = None,
    seed: int = 0,
    drop_missing: bool = False,
    explain_below: float | None = None,
) -> dict[str, Any]:
    """Scores a table; returns a summary.

    Args:
        model: The model.
        data: The table.
        output: The file or folder to write.
        console: Where to talk.
        keep: Columns of the table that are copied to the scores, before them.
        called: Where the scores go in the end, where that is not ``output``.
        samples, seed, drop_missing, explain_below: As in the shell's help.

    Raises:
        InputError: the table or the output cannot be used; says why.
    """
    if output.suffix:
        check_output(output)
    refuse_scores_name(keep)
    large = open_large(data, [*model.schema.text_names, *keep])
    samples = samples or model.samples
    if large is not None:
        return _run_large(model, large, output, console, samples, seed, drop_missing, explain_below, keep, called)
    check_output(output)
    table = read_table(data).held_out()
    require_columns(table.frame, keep, str(table.path), "--keep")
    scores, tally = score_table(model, table, console, samples, seed, drop_missing, explain_below)
    write_table(scores.select(*table.frame.select(keep), pl.all()), output)
    median = float(np.median(scores["log_density"].drop_nulls().to_numpy()))
    return conclude(tally, median, model, samples, table.path.name, called or str(output), console)


def refuse_scores_name(keep: Sequence[str]) -> None:
    """Refuses to keep columns that are called as those of the scores are.

    Raises:
        InputError: names the first of them.
    """
    taken = [name for name in keep if name in SCORES or name.startswith("gain_")]
    if taken:
        raise InputError(f"--keep {taken[0]}: the scores have a column of that name; rename the table's")


def _run_large(
    model: TableDensity,
    source: LargeRows,
    output: Path,
    console: Console,
    samples: int,
    seed: int,
    drop_missing: bool,
    explain_below: float | None,
    keep: Sequence[str],
    called: str | None,
) -> dict[str, Any]:
    """The same for a table that is read in pieces; the first process of torchrun returns the summary."""
    note_extra(model, source.columns, str(source.path), console)
    score = partial(
        score_frame, model, samples=samples, seed=seed, drop_missing=drop_missing, explain_below=explain_below
    )
    asked = {"samples": samples, "seed": seed, "explain_below": explain_below, "keep": list(keep)}
    found = score_stream.run(model, source, output, console, score, asked)
    return {} if found is None else conclude(*found, model, samples, source.path.name, called or str(output), console)


def conclude(
    tally: Tally, median: float, model: TableDensity, samples: int, name: str, output: str, console: Console
) -> dict[str, Any]:
    """Says what was found and where it was saved; returns the summary."""
    summary = tally.summary(median, samples if model.schema.has_cells else None)
    for line in describe(summary, tally.worst, name):
        console.say(line)
    console.say(f"saved {output}")
    return {**summary, "output": output}


def score_table(
    model: TableDensity,
    table: Table,
    console: Console,
    samples: int,
    seed: int,
    drop_missing: bool = False,
    explain_below: float | None = None,
) -> tuple[pl.DataFrame, Tally]:
    """One row of scores per row of the table, in its order; rows with missing values get none."""
    for note in table.notes:
        console.note(note)
    source, frame = str(table.path), table.frame
    model.schema.check(frame, source)
    note_extra(model, frame.columns, source, console)
    scores = score_frame(model, Piece(frame, source, 0), samples, seed, drop_missing, explain_below)
    tally = Tally()
    tally.add(scores)
    if not tally.scored:
        raise InputError(f"{source}: no row has a value in every column of the model")
    if tally.scored < tally.rows:
        console.note(f"{source}: {tally.rows - tally.scored:,} rows with missing or infinite values get no score")
    if gaps := [] if drop_missing else model.schema.unheard_of(frame):
        console.note(f"{source}: {listed(gaps)}: no training row misses it, so it is integrated out")
    if unseen := model.schema.unseen(frame):
        console.note(f"{source}: no training row has such a {listed(unseen)}: log_density is -inf there")
    x = model.schema.encode(frame, source)[0].numpy() if model.schema.relations else np.empty((0, 0))
    for relation, broken in zip(model.schema.relations, model.schema.broken(frame, x), strict=True):
        if broken.any():
            where = f"{source}: row {int(broken.argmax()) + 1} and {int(broken.sum()) - 1:,} more break this"
            console.note(f"{where}: {relation}; log_density is -inf there")
    return scores, tally


def note_extra(model: TableDensity, columns: Sequence[str], source: str, console: Console) -> None:
    """Says which columns of a table the model does not use."""
    extra = model.schema.extra_names(columns)
    if extra:
        console.note(f"{source}: the model does not use {listed(extra)}")


def score_frame(
    model: TableDensity, piece: Piece, samples: int, seed: int, drop_missing: bool, explain_below: float | None
) -> pl.DataFrame:
    """The scores of some rows, in their order: log-density, percentile, and what else was asked for.

    Raises:
        InputError: a value is missing and ``drop_missing`` is not set, or is not one that the model knows.
    """
    usable = model.schema.usable(piece.frame) if drop_missing else np.ones(piece.frame.height, bool)
    frame = piece.frame if usable.all() else piece.frame.filter(usable)
    if not len(frame):
        return pl.DataFrame(schema=_columns(model, explain_below)).clear(piece.frame.height)
    x, context = model.schema.encode(frame, piece.source, piece.first)
    value, error = model.log_density(Rows(x, context), samples=samples, seed=seed)
    for broken in model.schema.broken(frame, x.numpy()):
        value, error = np.where(broken, -np.inf, value), np.where(broken, 0.0, error)
    columns = {"log_density": value, "percentile": model.percentile(value)}
    if model.schema.has_cells:
        columns["standard_error"] = error
    scores = pl.DataFrame(columns)  # the columns of _columns
    if explain_below is not None:
        rows = np.flatnonzero(columns["percentile"] <= explain_below)
        scores = scores.hstack(explain(model, x, context, rows, seed=seed))
    return _with_gaps(scores, usable)


def _columns(model: TableDensity, explain_below: float | None) -> dict[str, Any]:
    """Names and kinds of the columns of scores."""
    names = ["log_density", "percentile", *(["standard_error"] if model.schema.has_cells else [])]
    explained = {} if explain_below is None else explained_columns(model.schema)
    return {**dict.fromkeys(names, pl.Float64), **explained}


def _with_gaps(scores: pl.DataFrame, usable: np.ndarray) -> pl.DataFrame:
    """The scores at their rows' places, null elsewhere."""
    if usable.all():
        return scores
    places = pl.DataFrame({"row": np.flatnonzero(usable)}).hstack(scores)
    return (
        pl.DataFrame({"row": np.arange(len(usable))})
        .join(places, on="row", how="left", maintain_order="left")
        .drop("row")
    )


def describe(summary: dict[str, Any], worst: pl.DataFrame, name: str) -> list[str]:
    """The summary, and the least likely rows, for people."""
    mean, se = summary["log_likelihood"], summary["standard_error"]
    spread = "" if math.isnan(se) else f" ± {se:.4f}"
    lines = [
        f"{name}: {summary['scored']:,} rows",
        f"log-density: median {summary['median']:.4f}, mean {mean:.4f}{spread} nats",
        f"{summary['below_1_percent']:.1%} of the rows are below the first percentile of the training rows",
    ]
    if summary["cell_samples"]:
        lines.append(
            f"each row's cell is averaged over {summary['cell_samples']} points (standard_error says how well)"
        )
    if summary["impossible"]:
        lines.append(f"{summary['impossible']:,} rows lie where the model has no density (log_density is -inf)")
    shown = [c for c in ("row", "log_density", "percentile", "unlikely_because", "would_fit") if c in worst.columns]
    values = [tuple(shown)] + [tuple(_short(v) for v in row) for row in worst.select(shown).iter_rows()]
    return [*lines, "", "the least likely rows", *aligned(values), ""]


def _short(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
