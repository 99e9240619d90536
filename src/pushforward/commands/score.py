"""``pushforward score``: the log-density of every row, its percentile, and on request the columns behind it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..data.errors import InputError, listed
from ..data.table import Table, check_output, read_table, write_table
from .console import Console, aligned, mean_and_error
from .explain import explain
from .model import TableModel

SHOWN = 5  # least likely rows on the screen


def run(
    model_path: Path,
    data: Path,
    output: Path,
    console: Console,
    *,
    samples: int | None = None,
    seed: int = 0,
    drop_missing: bool = False,
    explain_below: float | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Scores a table; returns a summary.

    Raises:
        InputError: the model or the table cannot be used; says why.
    """
    check_output(output)
    if samples is not None and samples < 1:
        raise InputError(f"--samples {samples}: expected at least 1")
    model = TableModel.load(model_path, device)
    table = read_table(data).held_out()
    samples = samples or int(model.facts.get("samples", 16))
    scores, summary = score_table(model, table, console, samples, seed, drop_missing, explain_below)
    write_table(scores, output)
    for line in describe(scores, summary, table):
        console.say(line)
    console.say(f"saved {output}")
    return {**summary, "output": str(output)}


def score_table(
    model: TableModel,
    table: Table,
    console: Console,
    samples: int,
    seed: int,
    drop_missing: bool = False,
    explain_below: float | None = None,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """One row of scores per row of the table, in its order; rows with missing values get none."""
    for note in table.notes:
        console.note(note)
    source, frame = str(table.path), table.frame
    model.schema.check(frame, source)
    extra = model.schema.extra_names(frame)
    if extra:
        console.note(f"{source}: the model does not use {listed(extra)}")
    usable = model.schema.usable(frame) if drop_missing else np.ones(frame.height, bool)
    if not usable.any():
        raise InputError(f"{source}: no row has a value in every column of the model")
    if not usable.all():
        console.note(f"{source}: {int((~usable).sum()):,} rows with missing or infinite values get no score")
    x, context = model.schema.encode(frame.filter(usable), source)
    value, error = model.log_density(x, context, samples=samples, seed=seed)
    columns = {"log_density": value, "percentile": model.percentile(value)}
    if model.schema.has_cells:
        columns["standard_error"] = error
    scores = pl.DataFrame(columns)
    if explain_below is not None:
        rows = np.flatnonzero(columns["percentile"] <= explain_below)
        scores = scores.hstack(explain(model, x, context, rows, seed=seed))
    mean, se = mean_and_error(value)
    summary = {
        "rows": frame.height,
        "scored": len(x),
        "log_likelihood": mean,
        "standard_error": se,
        "median": float(np.median(value)),
        "below_1_percent": float((columns["percentile"] < 1).mean()),
        "impossible": int(np.isneginf(value).sum()),
        "cell_samples": samples if model.schema.has_cells else None,
    }
    return _with_gaps(scores, usable), summary


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


def describe(scores: pl.DataFrame, summary: dict[str, Any], table: Table) -> list[str]:
    """The summary, and the least likely rows, for people."""
    mean, se = summary["log_likelihood"], summary["standard_error"]
    spread = "" if math.isnan(se) else f" ± {se:.4f}"
    lines = [
        f"{table.path.name}: {summary['scored']:,} rows",
        f"log-density: median {summary['median']:.4f}, mean {mean:.4f}{spread} nats",
        f"{summary['below_1_percent']:.1%} of the rows are below the first percentile of the training rows",
    ]
    if summary["cell_samples"]:
        lines.append(
            f"each row's cell is averaged over {summary['cell_samples']} points (standard_error says how well)"
        )
    if summary["impossible"]:
        lines.append(f"{summary['impossible']:,} rows lie where the model has no density (log_density is -inf)")
    worst = scores.with_row_index("row", offset=1).drop_nulls("log_density").sort("log_density").head(SHOWN)
    shown = [c for c in ("row", "log_density", "percentile", "unlikely_because", "would_fit") if c in worst.columns]
    values = [tuple(shown)] + [tuple(_short(v) for v in row) for row in worst.select(shown).iter_rows()]
    return [*lines, "", "the least likely rows", *aligned(values), ""]


def _short(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
