"""The verbs of a fitted table in the form of requests: frames in, frames out."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from ..errors import in_shell, listed, spelled
from ..saving.jsonable import jsonable
from ..tables.fitted import FittedTable
from ..tables.io.table import Piece
from ..tables.queries.score import Scoring
from .columns import Cell, RowType
from .requests import AskRequest, DrawOptions, ImputeOptions, PredictOptions, Refused

PIECE = 512  # rows between checks of the clock
QUANTILES = 9


class Score(NamedTuple):
    """The score of a row; the error is that of an average over cells or draws."""

    log_density: float
    percentile: float | None
    standard_error: float


class Answers:
    """A model's answers.

    Args:
        model: The fitted table.
        seconds: Time limit of a long job.
    """

    def __init__(self, model: FittedTable, seconds: float) -> None:
        self.model, self.seconds, self.cells = model, seconds, RowType(model.schema)
        self.fields = {
            column.name: column.holes.share > 0 for column in model.schema.fields
        }  # and if null is informative
        model.facts = {**model.facts, "frame": "polars"}  # answers are Polars frames whatever was fitted
        if model.path is not None:
            model.path = Path(model.path.absolute().name)  # clients need not know its folder

    def score_batch(self, key: tuple[Any, tuple[str, ...]], rows: Sequence[Mapping[str, Any]]) -> list[Score]:
        """Scores of rows that hold the same columns; the key names the columns, and those given."""
        return [Score(*row) for row in self.score_frame(self.cells.frame(rows), key[1]).iter_rows()]

    def score_frame(self, frame: pl.DataFrame, given: Sequence[str]) -> pl.DataFrame:
        """``log_density``, ``percentile`` and ``standard_error`` of every row."""
        scoring = Scoring(self.model, given=given)
        scoring.check(frame.columns)
        parts, stop = [], time.monotonic() + self.seconds
        for start in range(0, frame.height, PIECE):
            if time.monotonic() > stop:
                raise Refused(503, f"the rows take longer than {self.seconds:g} s; ask for fewer at once")
            parts.append(scoring.piece(Piece(frame[start : start + PIECE], "rows", start)))
        found = pl.concat(parts)
        errors = (
            found["standard_error"] if "standard_error" in found.columns else pl.repeat(0.0, found.height, eager=True)
        )
        return pl.DataFrame([found["log_density"], found["percentile"], errors.alias("standard_error")])

    def sample(self, n: int, given: Mapping[str, Any] | None, options: DrawOptions) -> pl.DataFrame:
        known = {name: value for name, value in (given or {}).items() if value is not None}
        return self.model.sample(n, self.cells.frame([known]) if known else None, _seed(options))

    def impute(self, frame: pl.DataFrame, options: ImputeOptions) -> pl.DataFrame:
        return self.model.impute(frame, options.draws, _seed(options))

    def ask(self, asked: AskRequest) -> dict[str, float]:
        value, error = self.model.probability(asked.where, asked.given, errors=True)
        return {"probability": value, "standard_error": error}

    def predict(self, frame: pl.DataFrame, options: PredictOptions) -> pl.DataFrame:
        found = self.model.predict(frame, options.column, options.kind, options.level)
        return found if isinstance(found, pl.DataFrame) else pl.DataFrame({options.column: found})

    def explain(self, frame: pl.DataFrame) -> pl.DataFrame:
        return self.model.explain(frame)

    def drift(self, frame: pl.DataFrame, by: str | None) -> dict[str, Any]:
        return self.model.drift(frame, by).to_json()

    def check_filled(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Refuses rows that specify none of the modelled columns.

        Raises:
            Refused: names the first such row.
        """
        for number, row in enumerate(rows, 1):
            if not any(row.get(name) is not None or (tells and name in row) for name, tells in self.fields.items()):
                raise Refused(422, f"row {number}: has no value in any column of the model: {', '.join(self.fields)}")

    def check_given(self, given: Sequence[str]) -> None:
        """Refuses to condition on anything that is not a column.

        Raises:
            Refused: names it.
        """
        for name in given:
            if name not in self.cells.cells:
                raise Refused(
                    422, f"given: {name!r} is not a column of the model, which has {listed(self.cells.cells)}"
                )

    def info(self) -> dict[str, Any]:
        """What the model is, for clients and for the page."""
        summary = self.model.facts["summary"]
        told = {name: summary[name] for name in ("flow", "parameters", "training_rows", "verdict") if name in summary}
        return {
            "model": self.model.called,
            "questions": self.model.guided is not None,
            "columns": [_column(cell) for cell in self.cells.cells.values()],
            **told,
            "percentiles_among": self.model.others,
            "held_out": summary.get("held_out"),
            "notes": [spelled(note, in_shell) for note in self.model.schema.notes],
        }


def _seed(options: DrawOptions) -> int:
    return secrets.randbits(63) if options.seed is None else options.seed


def _column(cell: Cell) -> dict[str, Any]:
    """A column for the page: its kind, and the range of its values."""
    column, typical = cell.column, cell.column.kind.typical
    spread = [typical[round(j * (len(typical) - 1) / (QUANTILES - 1))] for j in range(QUANTILES)]
    named = [column.shown(value) for value in spread] if column.contents == "text" else column.kind.labels
    return {
        "name": cell.name,
        "role": cell.role,
        "contents": cell.contents,
        "kind": column.describe().kind,
        "expected": cell.expected,
        "categories": list(named),
        "shares": list(column.kind.fill) if column.classes else [],
        "minimum": column.kind.ends[0],
        "maximum": column.kind.ends[1],
        "step": column.kind.step,
        "integer": column.whole,
        "quantiles": spread,
    }


def score_json(found: Sequence[Score], errors: bool) -> bytes:
    """Scores as the body of an answer."""
    names = Score._fields if errors else Score._fields[:-1]
    columns = zip(names, zip(*found, strict=True), strict=False)
    return json.dumps({name: jsonable(values) for name, values in columns}, allow_nan=False).encode()
