"""Rows scored as they come: one JSON line in, one out, at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import polars as pl

from ...errors import InputError, in_shell
from ...saving.jsonable import jsonable
from ..io.json_rows import EXPECTED
from ..io.table import Piece
from ..io.values import series
from ..model import TableModel
from .score import Scoring, refuse_scores_name


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

    Raises:
        InputError: a column to keep is called as a score, or is named twice.
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
            answer |= scoring.piece(Piece(frame, "standard input", number - 1)).row(0, named=True)
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
