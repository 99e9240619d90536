"""``pushforward score``: the scores of a file's rows in another file, whole or in pieces, or line by line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

import polars as pl

from ...errors import InputError, in_shell
from ...models.console import Console, aligned
from ...saving.jsonable import jsonable
from ..io.json_rows import EXPECTED
from ..io.place import Location
from ..io.read import open_large
from ..io.table import Piece, RowsInPieces
from ..io.values import series
from ..io.write import check_output, delivered, write_table
from ..model import TableModel
from ..schema.numbers import n_rows, require_columns
from ..streaming.score_figures import ScoreFigures, score_figures
from ..streaming.score_large import score_large
from .score import Scoring, note_columns, refuse_scores_name, score_table


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
            found = _score_large(scoring, large, path, console, keep)  # only by the first process of torchrun
            return {} if found is None else _conclude(scoring, found, large.path.name, str(output), console)
        check_output(path)
        table = model.read_file(data).held_out()
        require_columns(table.frame, keep, str(table.path), "keep")
        scores = score_table(scoring, table, console)
        write_table(scores.select(*table.frame.select(keep), pl.all()), path)
        return _conclude(scoring, score_figures(scores.lazy()), table.path.name, str(output), console)


def _score_large(
    scoring: Scoring, source: RowsInPieces, output: Path, console: Console, keep: Sequence[str]
) -> ScoreFigures | None:
    """The same for a table that is read in pieces."""
    note_columns(scoring.model, source.columns, str(source.path), console)

    def score(piece: Piece) -> pl.DataFrame:
        scoring.model.schema.check(piece.frame, piece.source)
        return scoring.piece(piece)

    asked = {name: getattr(scoring, name) for name in ("samples", "seed", "explain_below")}
    return score_large(
        scoring.model, source, output, console, score, {**asked, "keep": list(keep), "given": list(scoring.given)}
    )


def _conclude(scoring: Scoring, figures: ScoreFigures, name: str, output: str, console: Console) -> dict[str, Any]:
    """Reports the results and where they were saved; returns the summary."""
    summary = figures.summary(scoring.samples if scoring.model.schema.has_cells else None)
    summary["percentiles_among"] = scoring.model.others
    console.say(*_describe(summary, figures.worst, name), f"saved {output}")
    return {**summary, "output": output}


def _describe(summary: dict[str, Any], worst: pl.DataFrame, name: str) -> list[str]:
    """The summary and the least likely rows, in human-readable form."""
    mean, se = summary["log_likelihood"], summary["standard_error"]
    spread = "" if math.isnan(se) else f" ± {se:.4f}"
    lines = [
        f"{name}: {summary['scored']:,} rows",
        f"log-density: median {summary['median']:.4f}, mean {mean:.4f}{spread} nats",
        f"{summary['below_1_percent']:.1%} of the rows are below the first percentile of "
        f"{summary['percentiles_among']}",
    ]
    if summary["cell_samples"]:
        lines.append(
            f"each row's cell is averaged over {summary['cell_samples']} points (standard_error says how well)"
        )
    if summary["impossible"]:
        lines.append(f"log_density is -inf, as the model has no density there, in {n_rows(summary['impossible'])}")
    shown = [c for c in ("row", "log_density", "percentile", "unlikely_because", "would_fit") if c in worst.columns]
    return [*lines, "", "the least likely rows", *aligned([shown, *worst.select(shown).rows()]), ""]


def follow(
    model: TableModel,
    lines: Iterable[bytes],
    output: TextIO,
    *,
    keep: Sequence[str] = (),
    samples: int | None = None,
    seed: int = 0,
    explain_below: float | None = None,
    given: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes the scores of every line as a JSON line, with its number, from 1, and the columns to keep; a line that is
    no row, or has a value that cannot be, gets an ``error`` in place of scores. Returns how many there were.
    """
    refuse_scores_name(keep)
    scoring, number = Scoring(model, samples, seed, explain_below=explain_below, given=given), 0
    for number, line in enumerate(lines, 1):
        answer: dict[str, Any] = {"row": number}
        try:
            row = _row(line)
            answer |= {name: row.get(name) for name in keep}
            frame = pl.DataFrame([series(name, [value]) for name, value in row.items()])
            scoring.check(frame.columns)
            asked = scoring.query(Piece(frame, "standard input", number - 1))
            if asked.notes:
                raise InputError(asked.notes[0])  # it is given what cannot be
            answer |= scoring.scores(asked).row(0, named=True)
        except InputError as error:
            answer["error"] = error.spelled(in_shell)
        print(json.dumps(jsonable(answer), allow_nan=False), file=output, flush=True)
    return {"rows": number}


def _row(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON ({str(error)[:80]}); {EXPECTED}") from None
    if not isinstance(row, dict) or not row:
        raise InputError(f"is no row; {EXPECTED}")
    return row
