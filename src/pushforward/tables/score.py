"""The log-density of every row, its percentile, and on request the columns behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ..errors import InputError, listed
from ..models.console import Console, aligned
from . import queries
from .explain import explain, explained_columns
from .io.large import LargeRows, open_large
from .io.parquet import Piece
from .io.source import Location
from .io.table import Table, check_output, read_table, write_table
from .schema.numbers import require_columns
from .streaming.running_totals import Tally
from .streaming.score_large import run as run_large

SCORES = ("row", "log_density", "percentile", "standard_error", "unlikely_because", "would_fit")

if TYPE_CHECKING:
    from .fitted import FittedTable


def score_file(
    model: FittedTable,
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
    given: Sequence[str] = (),
) -> dict[str, Any]:
    """Scores a table; returns a summary.

    Args:
        model: The model.
        data: The table.
        output: The file or folder to write.
        console: Where to print messages.
        keep: Columns of the table to copy to the scores, placed before them.
        called: The final destination of the scores, if it is not ``output``.
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
        return _run_large(
            model, large, output, console, samples, seed, drop_missing, explain_below, keep, called, given
        )
    check_output(output)
    table = read_table(data).held_out()
    require_columns(table.frame, keep, str(table.path), "--keep")
    scores, tally = score_table(model, table, console, samples, seed, drop_missing, explain_below, given)
    write_table(scores.select(*table.frame.select(keep), pl.all()), output)
    median = float(np.median(scores["log_density"].drop_nulls().to_numpy()))
    return conclude(tally, median, model, samples, table.path.name, called or str(output), console)


def refuse_scores_name(keep: Sequence[str]) -> None:
    """Refuses to keep columns with the names of score columns.

    Raises:
        InputError: names the first of them.
    """
    taken = [name for name in keep if name in SCORES or name.startswith("gain_")]
    if taken:
        raise InputError(f"--keep {taken[0]}: the scores have a column of that name; rename the table's")


def _run_large(
    model: FittedTable,
    source: LargeRows,
    output: Path,
    console: Console,
    samples: int,
    seed: int,
    drop_missing: bool,
    explain_below: float | None,
    keep: Sequence[str],
    called: str | None,
    given: Sequence[str],
) -> dict[str, Any]:
    """The same for a table that is read in pieces; only the first process of torchrun returns the summary."""
    note_extra(model, source.columns, str(source.path), console)
    score = partial(
        _score_piece,
        model,
        samples=samples,
        seed=seed,
        drop_missing=drop_missing,
        explain_below=explain_below,
        given=given,
    )
    asked = {"samples": samples, "seed": seed, "explain_below": explain_below, "keep": list(keep)}
    asked["given"] = list(given)
    found = run_large(model, source, output, console, score, asked)
    return {} if found is None else conclude(*found, model, samples, source.path.name, called or str(output), console)


def conclude(
    tally: Tally, median: float, model: FittedTable, samples: int, name: str, output: str, console: Console
) -> dict[str, Any]:
    """Reports the results and where they were saved; returns the summary."""
    summary = tally.summary(median, samples if model.schema.has_cells else None)
    for line in describe(summary, tally.worst, name):
        console.say(line)
    console.say(f"saved {output}")
    return {**summary, "output": output}


def score_table(
    model: FittedTable,
    table: Table,
    console: Console,
    samples: int,
    seed: int,
    drop_missing: bool = False,
    explain_below: float | None = None,
    given: Sequence[str] = (),
) -> tuple[pl.DataFrame, Tally]:
    """One row of scores per row of the table, in its order; without a guide, rows with missing values get none."""
    for note in table.notes:
        console.note(note)
    source, frame = str(table.path), table.frame
    queries.check_asked(model, frame, given)
    if model.guided is None:
        model.schema.check(frame, source)
    note_extra(model, frame.columns, source, console)
    note_absent(model, frame.columns, source, console)
    scores = score_frame(model, Piece(frame, source, 0), samples, seed, drop_missing, explain_below, given)
    tally = Tally()
    tally.add(scores)
    if not tally.scored:
        raise InputError(f"{source}: no row has a value in every column of the model")
    if tally.scored < tally.rows:
        console.note(f"{source}: {tally.rows - tally.scored:,} rows with missing or infinite values get no score")
    whole = all(name in frame.columns for name in model.schema.names)
    if gaps := model.schema.unheard_of(frame) if whole and not drop_missing else []:
        console.note(f"{source}: {listed(gaps)}: missing there but in no training row, so it is integrated out")
    names, numbers = model.schema.unseen(frame) if whole else ([], [])
    if names:
        console.note(f"{source}: {listed(names)}: not among the training values, so log_density is -inf there")
    if numbers:
        console.note(f"{source}: {listed(numbers)}: not among the training values, so it has what its neighbours leave")
    x = queries.encode_partly(model, frame, source).x.numpy() if model.schema.relations else np.empty((0, 0))
    for relation, broken in zip(model.schema.relations, model.schema.broken(frame, x), strict=True):
        if broken.any():
            where = f"{source}: row {int(broken.argmax()) + 1} and {int(broken.sum()) - 1:,} more break this"
            console.note(f"{where}: {relation}; log_density is -inf there")
    return scores, tally


def note_extra(model: FittedTable, columns: Sequence[str], source: str, console: Console) -> None:
    """Reports which columns of a table the model does not use."""
    extra = model.schema.extra_names(columns)
    if extra:
        console.note(f"{source}: the model does not use {listed(extra)}")


def note_absent(model: FittedTable, columns: Sequence[str], source: str, console: Console) -> None:
    """Reports which columns of the model a table lacks."""
    absent = [name for name in model.schema.names if name not in columns]
    if absent:
        console.note(f"{source}: lacks {listed(absent)}: log_density is that of the columns that are there")


def score_frame(
    model: FittedTable,
    piece: Piece,
    samples: int,
    seed: int,
    drop_missing: bool,
    explain_below: float | None,
    given: Sequence[str] = (),
) -> pl.DataFrame:
    """The scores of some rows, in their order: log-density, percentile, and whatever else was requested.

    Raises:
        InputError: a value is missing and ``drop_missing`` is not set, or is not one that the model knows.
    """
    usable = model.schema.usable(piece.frame) if drop_missing else np.ones(piece.frame.height, bool)
    frame = piece.frame if usable.all() else piece.frame.filter(usable)
    if not len(frame):
        return pl.DataFrame(schema=_columns(model, explain_below)).clear(piece.frame.height)
    rows = queries.encode_partly(model, frame, piece.source, piece.first)
    value, error = queries.answer(model, rows, given, samples, seed)
    value, error = queries.with_relations(model, frame, rows, value, error)
    whole = ~model.schema.missingness.unknown(rows.x).any(1).numpy() & (not given)  # others have no percentile
    percentile = pl.Series(np.where(whole, model.percentile(value), np.nan), nan_to_null=True)
    columns = {"log_density": value, "percentile": percentile}
    if has_errors(model):
        columns["standard_error"] = error
    scores = pl.DataFrame(columns)  # the columns of _columns
    if explain_below is not None:
        chosen = np.flatnonzero(percentile.to_numpy() <= explain_below)
        scores = scores.hstack(explain(model, rows.x, rows.context, chosen, seed=seed))
    return _with_gaps(scores, usable)


def has_errors(model: FittedTable) -> bool:
    """Whether scores have standard errors: for averages over cells, or answers by a guide."""
    return model.schema.has_cells or model.guided is not None


def _score_piece(model: FittedTable, piece: Piece, **choices: Any) -> pl.DataFrame:
    """The scores of a piece, which has the same columns as the first one."""
    model.schema.check(piece.frame, piece.source)
    return score_frame(model, piece, **choices)


def _columns(model: FittedTable, explain_below: float | None) -> dict[str, Any]:
    """Names and types of the score columns."""
    names = ["log_density", "percentile", *(["standard_error"] if has_errors(model) else [])]
    explained = {} if explain_below is None else explained_columns(model.schema)
    return {**dict.fromkeys(names, pl.Float64), **explained}


def _with_gaps(scores: pl.DataFrame, usable: np.ndarray) -> pl.DataFrame:
    """The scores at their rows' positions, null elsewhere."""
    if usable.all():
        return scores
    places = pl.DataFrame({"row": np.flatnonzero(usable)}).hstack(scores)
    return (
        pl.DataFrame({"row": np.arange(len(usable))})
        .join(places, on="row", how="left", maintain_order="left")
        .drop("row")
    )


def describe(summary: dict[str, Any], worst: pl.DataFrame, name: str) -> list[str]:
    """The summary and the least likely rows, in human-readable form."""
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
    values = [tuple(shown)] + [tuple(short(v) for v in row) for row in worst.select(shown).iter_rows()]
    return [*lines, "", "the least likely rows", *aligned(values), ""]


def short(value: Any) -> str:
    """A value of a table, shortened for the screen."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
