"""The contents of requests and answers, as pydantic checks and documents them; bad requests in plain sentences."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from .columns import RowType

R = TypeVar("R")
Scalar = str | int | float | bool | None
SHOWN = 20  # problems listed in an answer


class Refused(Exception):
    """A request that is refused.

    Args:
        status: The HTTP status.
        sentence: What is wrong, and how to fix it.
        problems: Bad cells: row (from 1), column, what was expected, what was received.
    """

    def __init__(self, status: int, sentence: str, problems: list[dict[str, Any]] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.problems = status, sentence, problems or []


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class ScoreOptions(_Strict):
    given: list[str] = Field([], description="Condition on these columns: log p(the others | these).")
    errors: bool = Field(False, description="Answer standard errors as well.")


class DrawOptions(_Strict):
    seed: int | None = Field(
        None, ge=0, lt=2**63, description="Seed of the draws, which differ each time if it is null."
    )


class ImputeOptions(DrawOptions):
    draws: int = Field(1, ge=1, description="Filled tables that follow each other in the answer.")


class ExplainOptions(_Strict):
    pass


class DriftOptions(_Strict):
    by: str | None = Field(None, description="A column whose dates or values divide the rows into windows.")


class AskRequest(_Strict):
    where: str | dict[str, Scalar | list[Scalar]] = Field(
        description="A condition: SQL, as in price > 5000 AND cut = 'Ideal', or columns' values; a list is a choice."
    )
    given: str | dict[str, Scalar | list[Scalar]] | None = Field(None, description="What is known, in the same form.")


class PredictOptions(_Strict):
    column: str = Field(description="The column that is predicted; rows' own values of it are not read.")
    kind: Literal["mean", "median", "mode", "proba", "interval"] = Field("mean", description="What is told of it.")
    level: float = Field(0.9, gt=0, lt=1, description="Of an interval: in which share of rows it holds the value.")


class SampleRequest(DrawOptions, Generic[R]):
    n: int = Field(1, ge=1, description="How many rows.")
    given: R | None = Field(None, description="RowType that are known: rows are drawn given them.")


class Scores(BaseModel):
    log_density: list[float | None] = Field(
        description="Nats, in the table's own units; null where the density, and so the percentile, is 0."
    )
    percentile: list[float | None] = Field(
        description="Per cent of unseen rows that are less likely; null for rows with only some of the columns."
    )
    standard_error: list[float | None] | None = Field(
        None, description="Nats; with errors=true; null where the density is 0."
    )


class Probability(BaseModel):
    probability: float | None = Field(description="Null given a category that no training row had.")
    standard_error: float | None = Field(description="0 where the answer is exact.")


class Drifted(BaseModel, extra="allow"):
    verdict: str = Field(description="A sentence.")
    p_value: float = Field(description="At most x with probability x if nothing has changed.")
    effect: float = Field(description="By how many nats a row is less likely than unseen ones.")
    columns: list[str] = Field(description="The columns, the most moved first.")
    measures: list[dict[str, Any]] = Field(description="Their p-values, divergences in nats, and changes in words.")


class RowsAnswer(BaseModel, Generic[R]):
    rows: list[R]


def of(kind: Any, row: Any) -> Any:
    """A kind of request, or of answer, with rows of this type."""
    return kind[row]


def with_rows(row: Any, most: int) -> dict[type[BaseModel], Any]:
    """Requests with one row or more of this type, by their other options."""
    kinds: tuple[type[BaseModel], ...] = (ScoreOptions, ImputeOptions, ExplainOptions, PredictOptions, DriftOptions)
    rows = (list[row], Field(min_length=1, max_length=most))
    return {k: create_model(k.__name__.replace("Options", "Request"), __base__=k, rows=rows) for k in kinds}


class Refusal(BaseModel):
    detail: str = Field(description="What is wrong, and what was expected.")
    problems: list[dict[str, Any]] = Field([], description="Bad cells: row (from 1), column, expected, got.")


def refusal_of(error: ValidationError, cells: RowType) -> Refused:
    """The refusal of a request that pydantic rejected, in sentences."""
    found = error.errors(include_url=False)
    if found[0]["type"] == "json_invalid":
        return Refused(400, f"the body is not JSON: {found[0]['ctx']['error']}")
    if found[0]["type"] == "too_long":
        return too_many(f"{len(found[0]['input']):,} rows", found[0]["ctx"]["max_length"])
    problems = [_problem(one, cells) for one in found[:SHOWN]]
    more = f" (and {len(found) - 1} more problems)" if len(found) > 1 else ""
    return Refused(422, f"{_sentence(problems[0])}{more}", problems)


def too_many(what: str, most: int) -> Refused:
    return Refused(413, f"{what}, but a request may hold or ask for {most:,} rows; split it")


def _problem(one: Any, cells: RowType) -> dict[str, Any]:
    """One pydantic error: where, what was expected, and what was received."""
    place = list(one["loc"])
    at: dict[str, Any] = {}
    if place[:1] == ["rows"] and len(place) > 1:
        at, place = {"row": int(place[1]) + 1}, place[2:]
    elif place[:1] == ["given"] and len(place) > 1 and isinstance(place[1], str):
        at, place = {"row": "given"}, place[1:]
    elif place:
        at, place = {"field": str(place[0])}, place[1:]
    column = str(place[0]) if place and "row" in at else None
    if column is not None:
        at["column"] = column
    if one["type"] == "missing" and column is None:
        return {**at, "expected": "a value", "got": "nothing"}
    if one["type"] == "extra_forbidden":
        known = f"one of the columns {', '.join(cells.cells)}" if column else "a field of this request"
        return {**at, "expected": known, "got": "an unknown column" if column else "an unknown field"}
    cell = cells.cells.get(column or "")
    expected = cell.expected if cell else one["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return {**at, "expected": expected, "got": "nothing" if one["type"] == "missing" else shortened(one["input"])}


def shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _sentence(problem: dict[str, Any]) -> str:
    row = problem.get("row")
    where = "given: " if row == "given" else f"row {row}: " if row else ""
    where += f"column {problem['column']!r}: " if "column" in problem else ""
    where += f"{problem['field']!r}: " if "field" in problem else ""
    return f"{where}expected {problem['expected']}, got {problem['got']}"


def bad_cell(row: int, column: str, expected: str, got: str) -> Refused:
    """One bad cell; ``row`` counts from 1."""
    problem = {"row": row, "column": column, "expected": expected, "got": got}
    return Refused(422, _sentence(problem), [problem])


def check_frame(frame: pl.DataFrame, cells: RowType) -> pl.DataFrame:
    """Rows sent as Arrow: NaN counts as missing; other columns or infinities are refused.

    Raises:
        Refused: names the column and the row.
    """
    for name in frame.columns:
        if name not in cells.cells:
            raise bad_cell(1, name, f"one of the columns {', '.join(cells.cells)}", "an unknown column")
    frame = frame.with_columns(pl.selectors.float().fill_nan(None))
    for column in frame.select(pl.selectors.float()).get_columns():
        infinite = column.is_infinite().fill_null(False)
        if infinite.any():
            row = int(infinite.arg_true()[0])
            raise bad_cell(row + 1, column.name, cells.cells[column.name].expected, str(column[row]))
    return frame
