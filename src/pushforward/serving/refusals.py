"""Requests that are refused, in plain sentences."""

from __future__ import annotations

import json
import re
from typing import Any

import polars as pl
from pydantic import BaseModel, Field, ValidationError
from starlette.responses import Response

from ..errors import InputError, in_request
from ..saving.bundle import jsonable
from .columns import FIRST, LAST, RowType

JSON = "application/json"
SHOWN = 20  # problems listed in an answer
LATER, NO_MORE = {"retry-after": "1"}, {"connection": "close"}  # a stranger's further requests are not read
ADVICE = {429: LATER, 503: LATER, 401: {"www-authenticate": "Bearer"}, 403: NO_MORE, 421: NO_MORE}
HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


def json_answer(values: Any, status: int = 200) -> Response:
    """An answer of any status, with null for what JSON has no number for."""
    headers = {**HEADERS, **ADVICE.get(status, {})}
    return Response(json.dumps(jsonable(values)), status, headers, JSON)


class Refused(Exception):
    """A request that is refused.

    Args:
        sentence: What is wrong, and how to fix it.
        problems: Bad cells: row (from 1), column, what was expected, what was received.
    """

    def __init__(self, status: int, sentence: str, problems: list[dict[str, Any]] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.problems = status, sentence, problems or []

    @property
    def answer(self) -> Response:
        problems = {"problems": self.problems} if self.problems else {}
        return json_answer({"detail": self.sentence, **problems}, self.status)


class Refusal(BaseModel):
    detail: str = Field(description="What is wrong, and what was expected.")
    problems: list[dict[str, Any]] = Field([], description="Bad cells: row (from 1), column, expected, got.")


def refusal_of(error: Exception, cells: RowType) -> Refused:
    """What is said of an error."""
    match error:
        case Refused():
            return error
        case ValidationError():
            return _rejected(error, cells)
        case InputError():
            return Refused(422, error.spelled(in_request))
    return Refused(500, f"the server failed: {type(error).__name__}")


def _rejected(error: ValidationError, cells: RowType) -> Refused:
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
    elif place[1:2] == ["columns"] and len(place) > 2:  # of a condition
        at, place = {"row": place[0]}, place[2:]
    elif place:
        at, place = {"field": str(place[0])}, place[1:]
    column = str(place[0]) if place and "row" in at else None
    if column is not None:
        at["column"] = column
    if one["type"] == "missing" and column is None:
        return {**at, "expected": "a value", "got": "nothing"}
    if one["type"] == "extra_forbidden" and len(place) < 2:
        known = f"one of the columns {', '.join(cells.cells)}" if column else "a field of this request"
        return {**at, "expected": known, "got": "an unknown column" if column else "an unknown field"}
    cell = cells.cells.get(column or "")
    around = "^(Input should be|Value error,|List should have) | after validation.*"
    expected = re.sub(around, "", one["msg"])
    if cell:
        expected = cell.expected_condition if isinstance(at.get("row"), str) else cell.expected
    got = "nothing" if one["type"] == "missing" else repr(one["input"])
    return {**at, "expected": expected, "got": got if len(got) <= 60 else f"{got[:57]}..."}


def _sentence(problem: dict[str, Any]) -> str:
    row = problem.get("row")
    where = f"{row}: " if isinstance(row, str) else f"row {row}: " if row else ""
    where += f"column {problem['column']!r}: " if "column" in problem else ""
    where += f"{problem['field']!r}: " if "field" in problem else ""
    return f"{where}expected {problem['expected']}, got {problem['got']}"


def bad_cell(row: int, column: str, expected: str, got: str) -> Refused:
    """One bad cell; ``row`` counts from 1."""
    problem = {"row": row, "column": column, "expected": expected, "got": got}
    return Refused(422, _sentence(problem), [problem])


def check_frame(frame: pl.DataFrame, cells: RowType) -> pl.DataFrame:
    """Rows sent as Arrow: NaN counts as missing; other columns, infinities, and moments of no calendar are refused."""
    for name in frame.columns:
        if name not in cells.cells:
            raise bad_cell(1, name, f"one of the columns {', '.join(cells.cells)}", "an unknown column")
    frame = frame.with_columns(pl.selectors.float().fill_nan(None))
    kinds = pl.selectors.float() | pl.selectors.date() | pl.selectors.datetime()
    for column in frame.select(kinds).get_columns():
        odd = (~_possible(column)).fill_null(False)
        if odd.any():
            row = int(odd.arg_true()[0])
            raise bad_cell(row + 1, column.name, cells.cells[column.name].expected, str(column.to_physical()[row]))
    return frame


def _possible(column: pl.Series) -> pl.Series:
    """Which numbers are finite, and which moments lie in a year from 1 to 9999."""
    if column.dtype.is_float():
        return column.is_finite()
    a_day = {"ms": 864e5, "us": 864e8, "ns": 864e11}.get(getattr(column.dtype, "time_unit", ""), 1)
    return (column.to_physical() / a_day).is_between(FIRST.timestamp() / 86400, LAST.timestamp() / 86400)
