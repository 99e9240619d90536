"""The columns of a model in requests: the JSON that a cell accepts, and conversion of rows to and from frames."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, NotRequired, Required

import polars as pl
from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag
from typing_extensions import TypedDict  # pydantic does not accept Python 3.11's own

from ..errors import listed
from ..tables.schema.columns import Column
from ..tables.schema.schema import Schema

ISO = {"Date": "2024-01-31", "Datetime": "2024-01-31T12:00:00", "Time": "12:00:00"}
FIRST, LAST = dt.datetime(1, 1, 3, tzinfo=dt.UTC), dt.datetime(9999, 12, 29, tzinfo=dt.UTC)  # valid in every time zone
LONGEST = 2**63 / 1e6 - 1024  # longest duration in seconds; tables count in microseconds
ROLES = ("modelled", "given", "follows")
QUANTILES = 9


@dataclass(frozen=True)
class Cell:
    """The values a request may give for one column."""

    column: Column  # the model's schema of it
    role: str  # ``modelled``, ``given`` (the density is conditioned on it) or ``follows`` (it follows from others)

    @property
    def contents(self) -> str:
        """``names``, ``truth``, ``values`` (few numbers), ``number``, ``marked``, ``text`` or one of ``MOMENTS``."""
        return self.column.contents

    @property
    def expected(self) -> str:
        """The expected content of a cell, in words."""
        kind, form = self.column.kind, self.column.reading.form
        if self.contents in ("names", "values") and not kind.grouped:
            return f"one of {listed(kind.labels)}"
        if self.contents in ISO:
            return f"text such as {ISO[self.contents]}" + (f", or as {form}" if form else "")
        plain = {"names": "text", "truth": "true or false", "marked": "a number, or text such as 1,200"}
        plain["text"] = self.column.expected
        return {**plain, "Duration": "a finite number of seconds"}.get(self.contents, "a finite number")

    @property
    def expected_condition(self) -> str:
        """The expected condition on a cell, in words; names have no range."""
        forms = ", or a list of such" if self.contents == "names" else ', a list of such, or {"low": …, "high": …}'
        return f"{self.expected}{forms}"

    @property
    def dtype(self) -> Any:
        """The type of the column in a frame of rows."""
        names = dict.fromkeys(("names", "text"), pl.String)
        moments = {"Date": pl.Date, "Time": pl.Time, "Duration": pl.Duration("us")}
        types: Any = {**names, **moments, "truth": pl.Boolean, "Datetime": pl.Datetime("us", self.column.reading.zone)}
        contents = "Datetime" if self.column.reading.zone else self.contents  # of which midnights are days
        return pl.String if self.column.reading.form else types.get(contents, pl.Float64)

    def series(self, values: Sequence[Any]) -> pl.Series:
        """Checked cells in the table's types, whole numbers as integers."""
        made = pl.Series(self.column.name, values, self.dtype)  # rows of JSON and of Arrow may stand together
        if not self.column.whole or not made.dtype.is_float():
            return made
        whole = made.cast(pl.Int64, strict=False)
        return whole if whole.cast(pl.Float64).equals(made) else made

    @property
    def kind(self) -> Any:
        """The type of a value for pydantic, strict."""
        kinds: dict[str, Any] = {
            "truth": bool,
            "names": str if self.column.kind.grouped else Literal[self.column.kind.labels],
            "marked": Annotated[float | str, AfterValidator(self._marked)],
            "Duration": Annotated[float, AfterValidator(_span)],
            "text": Annotated[str, AfterValidator(self._readable)],
            "values": float if self.column.kind.grouped else Annotated[float, AfterValidator(self._known)],
        }
        moment = Annotated[str, AfterValidator(self._moment)]
        return moment if self.contents in ISO else kinds.get(self.contents, float)

    @property
    def annotation(self) -> Any:
        """The type of a cell for pydantic, with null for unknown values."""
        kind, needed = self.kind, self.role == "given" and not self.column.holes.share
        more = {"given": "; the density is conditioned on it", "follows": "; it follows from other columns"}
        about = Field(title=self.column.name, description=f"Expected: {self.expected}{more.get(self.role, '')}.")
        return Required[Annotated[kind, about]] if needed else NotRequired[Annotated[kind | None, about]]

    @property
    def condition(self) -> Any:
        """The type of what may be known of a cell: a value, one of a list, or a range, whose ends need not occur."""
        end: Any = (float if self.contents == "values" else self.kind) | None
        ends = _typed(f"Range of {self.column.name}", {"low": NotRequired[end], "high": NotRequired[end]})
        forms: Any = (
            Annotated[self.kind | None, Tag("value")]
            | Annotated[list[self.kind], Tag("list")]  # type: ignore[name-defined]
            | Annotated[ends, AfterValidator(lambda ends: (ends.get("low"), ends.get("high"))), Tag("dict")]
        )
        form = Discriminator(lambda given: type(given).__name__ if isinstance(given, list | dict) else "value")
        about = Field(title=self.column.name, description=f"Expected: {self.expected_condition}.")
        return NotRequired[Annotated[forms, form, about]]

    @property
    def info(self) -> dict[str, Any]:
        """The column for the page: its kind, and the range of its values."""
        column, kind = self.column, self.column.kind
        spread = [kind.typical[round(j * (len(kind.typical) - 1) / (QUANTILES - 1))] for j in range(QUANTILES)]
        named = [column.shown(value) for value in spread] if self.contents == "text" else kind.labels
        return {
            "name": column.name,
            "role": self.role,
            "contents": self.contents,
            "kind": column.describe().kind,
            "expected": self.expected,
            "categories": list(named),
            "shares": list(kind.fill) if column.classes else [],
            "minimum": kind.ends[0],
            "maximum": kind.ends[1],
            "step": kind.step,
            "integer": column.whole,
            "quantiles": spread,
        }

    def _known(self, value: float) -> float:
        if not any(math.isclose(value, float(known), rel_tol=1e-9) for known in self.column.kind.labels):
            raise ValueError
        return value

    def _readable(self, text: str) -> str:
        if not math.isfinite(self.column.read(pl.Series([text]))[0]):
            raise ValueError
        return text

    def _marked(self, value: float | str) -> float:
        number = self.column.reading.values(pl.Series([str(value)]))[0]
        if number is None or not math.isfinite(number):
            raise ValueError
        return float(number)

    def _moment(self, text: str) -> Any:
        """A moment in the table's type: text if the table holds text."""
        reading = self.column.reading
        read = reading.values(pl.Series([text]))
        if read[0] is None or not FIRST.timestamp() < read[0] < LAST.timestamp():
            raise ValueError
        return reading.cells(self.column.name, read)[0]


class RowType:
    """All columns that rows of a model may have, in the order of its tables.

    Args:
        schema: The model's schema of its table.
    """

    def __init__(self, schema: Schema) -> None:
        given, follows = ([each.column for each in schema.given], schema.dependencies.columns)
        parts: Any = zip(ROLES, (schema.fields, given, follows), strict=True)
        found = {column.name: Cell(column, role) for role, columns in parts for column in columns}
        order = [*schema.given_names, *(schema.order or ()), *found]
        self.cells = {name: found[name] for name in dict.fromkeys(order) if name in found}

    @cached_property
    def row(self) -> Any:
        """The type of a row for pydantic: cells by the names of their columns, and no others."""
        return _typed("Row", {name: cell.annotation for name, cell in self.cells.items()})

    @cached_property
    def condition(self) -> Any:
        """The type of a condition on rows: SQL, or what columns hold."""
        columns = _typed("Condition", {name: cell.condition for name, cell in self.cells.items()})
        forms: Any = Annotated[str, Tag("text")] | Annotated[columns, Tag("columns")]
        tags: dict[type, str] = {dict: "columns", str: "text"}
        expected = "text in SQL, or columns and what they hold"
        return Annotated[forms, Discriminator(lambda given: tags.get(type(given)), "condition", expected)]

    def frame(self, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
        """Checked rows as a frame, with the columns that any of them has."""
        names = [name for name in self.cells if any(name in row for row in rows)]
        return pl.DataFrame([self.cells[name].series([row.get(name) for row in rows]) for name in names])


def _typed(name: str, fields: Mapping[str, Any]) -> Any:
    """The type of an object with these fields and no others, strict."""
    made: Any = TypedDict  # the names are known only at run time
    found = made(name, fields)
    found.__pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return found


def _span(seconds: float) -> dt.timedelta:
    if abs(seconds) > LONGEST:
        raise ValueError
    return dt.timedelta(seconds=seconds)


def json_rows(frame: pl.DataFrame, notes: Sequence[str] = ()) -> bytes:
    """Rows as an answer, and notes: moments as ISO text, durations in seconds, null for missing or infinite values."""
    sink = io.BytesIO()
    frame.select(_plain(column) for column in frame.get_columns()).write_json(sink)  # dicts would take more memory
    return b'{"rows": %b, "notes": %b}' % (sink.getvalue(), json.dumps(notes).encode())


def _plain(column: pl.Series) -> pl.Series:
    dtype = column.dtype
    if isinstance(dtype, pl.Duration):
        return column.dt.total_microseconds() / 1e6
    if dtype.is_temporal():
        return column.dt.to_string("iso:strict" if isinstance(dtype, pl.Datetime) else "iso")
    if dtype.is_float() or dtype.is_decimal():
        column = column.cast(pl.Float64)
        return column.set(~column.is_finite().fill_null(True), None)
    return column if dtype.is_integer() or dtype == pl.Boolean else column.cast(pl.String)
