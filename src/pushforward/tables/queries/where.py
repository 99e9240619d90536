"""What is asked of a row: a region of its columns, and what SQL says of several of them together."""

from __future__ import annotations

import contextlib
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from ...errors import InputError, listed
from ..model import TableModel
from ..schema.columns import Column
from ..schema.kinds.base import Numbers
from ..schema.schema import Schema
from .region import Part, Region, both, others, part_of, region_of, union

TRIED = 1000  # values of a column between its ends, which tell whether a condition compares it with others alone
TRUTHS = re.compile(r"'\s*(true|false)\s*'", re.IGNORECASE)
TRUTH_AND_TEXT = "a truth value is no text; write TRUE or FALSE"
MOMENTS = {  # texts that are moments, and how SQL calls them
    r"'\d{4}-\d\d-\d\d'": "DATE",
    r"'\d{4}-\d\d-\d\d[ T]\d\d:[\d:.]+'": "TIMESTAMP",
    r"'\d\d:[\d:.]+'": "TIME",
}
NOT_BY_ROW = "expected a condition that holds or not in each row, as in price > 5000"
CHAIN = "a truth value is no number; write 1 < x < 2 as x > 1 AND x < 2, and n = (x > 1) as n = CAST(x > 1 AS INT)"
MOMENT_AND_NUMBER = (
    "a date or a time, or what is between two, is no number; write DATE '2024-01-31', or INTERVAL '3 days' for the "
    "time between two"
)


@dataclass(frozen=True, eq=False)
class Where:
    """A condition on rows."""

    region: Region  # what single columns are to hold
    rest: tuple[pl.Expr, ...] = ()  # what is to hold beside, as expressions of polars about the table's columns
    notes: tuple[str, ...] = ()  # what is said of values that it names

    @classmethod
    def of(cls, model: TableModel, asked: Mapping[str, Any] | str, argument: str = "where") -> Where:
        """A condition from ``{column: value | [values] | (low, high)}``, where None asks for nothing, or from SQL text.

        SQL is split where ``AND`` joins its parts. Those about one column become a part of the region, if it is decided
        by comparisons with the values that it names; all others are counted among draws.
        """
        if isinstance(asked, str):
            return cls._of_sql(model.schema, asked, argument, model.called)
        if not isinstance(asked, Mapping):
            raise InputError("expected text in SQL, or a dict of columns and what they hold", argument, asked)
        schema, found = model.schema, cls(Region({}))
        _check_names(schema, asked, argument, model.called)
        for name, value in asked.items():
            if value is None:
                continue
            part = part_of(schema.asked[name], value, argument)
            if name in schema.follow_names:
                found &= cls(Region({}), (_expression(schema.asked[name], part),))
            else:
                found &= cls(region_of(schema, name, part))
        return found

    @classmethod
    def _of_sql(cls, schema: Schema, text: str, argument: str, called: str) -> Where:
        whole = _parsed(text, argument)
        names = whole.meta.root_names()
        _check_names(schema, names, argument, called, text)
        if not names:
            raise InputError("names no column", argument, text)
        for each in schema.fields:
            _check_order(each, whole, argument, text)
        found = cls(Region({}))
        cells = _examples(schema)
        if not len(_said(cells, whole)) and len(_said(_plain(cells), dated := _parsed(_with_moments(text), argument))):
            whole = dated
        if (wrong := _wrong(cells, whole)) == TRUTH_AND_TEXT:
            whole = _parsed(TRUTHS.sub(r"\1", text), argument)
            wrong = _wrong(cells, whole)
        if wrong:
            raise InputError(wrong, argument, text)
        for part in _joined(whole, operator.and_):
            named = set(part.meta.root_names())
            column = next((column for column in schema.fields if {column.name} == named), None)
            region = None if column is None else _region_of(schema, column, part, argument, text)
            if region is None:
                judged(cells, part, argument, text)  # refused before draws
            found &= cls(Region({}), (part,)) if region is None else cls(region)
        parts = _joined(whole, operator.and_, operator.or_)
        return replace(found, notes=tuple(said for part in parts for said in _said_of_values(schema, part, argument)))

    def __and__(self, other: Where) -> Where:
        return Where(self.region & other.region, (*self.rest, *other.rest), (*self.notes, *other.notes))

    def counts(self, frame: pl.DataFrame) -> NDArray[np.bool_]:
        """In which rows of a table the rest holds, ``(n,)``; not where a missing value leaves it open."""
        return np.all([np.ones(frame.height, bool), *(judged(frame, each, "where", None) for each in self.rest)], 0)


def _examples(schema: Schema) -> pl.DataFrame:
    """Rows in which every category occurs, at least two."""
    typical = [column.typical for column in schema.columns]
    most = max(2, *map(len, typical))
    return schema.decode(torch.from_numpy(np.column_stack([np.resize(each, most) for each in typical])))


def _check_order(column: Column, condition: pl.Expr, argument: str, text: str) -> None:
    """Refuses to put text in an order that is not that of the dates or times that it writes."""
    name, form = f'\\(col\\("{re.escape(column.name)}"\\)\\)', column.reading.form
    if (
        form
        and ("%-" in form or form[:2] not in ("%Y", "%H"))
        and re.search(f"{name} [<>]|[<>]=? {name}", str(condition))
    ):
        kind, other = ("TIME", "14:30:00") if column.reading.dtype == "Time" else ("DATE", "2024-01-31")
        mend = f"{kind}({column.name}, '{form.replace('%-', '%')}') > {kind} '{other}'"
        raise InputError(f"text in the form {form} is not in the order of time; write {mend}", argument, text)


def _said_of_values(schema: Schema, condition: pl.Expr, argument: str) -> tuple[str, ...]:
    """What is said of a value that a column cannot hold, where it is to be none of some; in a list of what it may be,
    that is refused."""
    match = re.match(r'col\("(.*?)"\)\.(sql_)?is_in\(', text := str(condition))
    if match and (values := [value for value in _literals(condition) if value is not None]):
        try:
            part_of(schema.asked[match[1]], values, argument)
        except InputError as error:
            if not text.endswith(".not()"):
                raise
            return (error.sentence,)
    return ()


def _parsed(text: str, argument: str) -> pl.Expr:
    try:
        condition = pl.sql_expr(text)
    except pl.exceptions.PolarsError as error:
        said = re.sub(r" \{.*\}", "", str(error).splitlines()[0])  # a tree of syntax
        raise InputError(f"is no condition in SQL: {said}", argument, text) from None
    if not condition.meta.undo_aliases().meta.eq(condition):  # 5_000 is 5 by the name of _000
        said = f"{condition.meta.output_name()!r} at its end would name it; numbers are written without separators"
        raise InputError(f"is no condition in SQL: {said}", argument, text)
    return condition


def _with_moments(text: str) -> str:
    """A condition in SQL in which text that is a date or a time is one."""
    for moment, kind in MOMENTS.items():
        text = re.sub(rf"(?i)(?<!DATE )(?<!TIMESTAMP )(?<!TIME ){moment}", rf"{kind} \g<0>", text)
    return text


def _joined(condition: pl.Expr, *joins: Callable[[Any, Any], Any]) -> list[pl.Expr]:
    """The parts of a condition that ``AND``, or ``OR``, joins, however many."""
    found, left = list[pl.Expr](), [condition]
    while left:
        match (one := left.pop()).meta.pop():
            case [last, first] if any(join(first, last).meta.eq(one) for join in joins):
                left += [last, first]
            case _:
                found.append(one)
    return found


def _literals(condition: pl.Expr) -> Iterator[Any]:
    """The values that a condition names."""
    left = [condition]
    while left:
        left += (part := left.pop()).meta.pop()
        if part.meta.is_literal():
            yield from pl.select(value=part)["value"].explode()


def _wrong(cells: pl.DataFrame, condition: pl.Expr) -> str:
    """What is wrong with the parts of a condition: the types that it puts beside each other, where the time between two
    moments may be multiplied; or that other rows decide one, as an aggregate."""
    joined, names = _joined(condition, operator.and_, operator.or_), condition.meta.root_names()
    parts = joined if len(joined) > 1 else condition.meta.pop()
    if not parts and (names or condition.meta.is_literal()):
        return ""
    if not len(_said(cells, condition)) and len(_said(plain := _plain(cells), condition)):
        cells = plain
    said, *apart = (_said(rows, condition) for rows in (cells, cells[: len(cells) // 2], cells[len(cells) // 2 :]))
    whole, *types = (each.explode().dtype for each in (said, *(_said(cells, part) for part in parts)))
    if whole in (pl.Boolean, pl.Null) and pl.Boolean in types and pl.String in types:
        return TRUTH_AND_TEXT
    if whole != pl.Duration and any(each.is_temporal() for each in types) and any(each.is_numeric() for each in types):
        return MOMENT_AND_NUMBER
    if whole == pl.Boolean and pl.Boolean in types and not _is_truth(cells, condition, parts, types):
        return CHAIN
    if len(said) and not said.equals(pl.concat(apart) if names else apart[0]):
        return NOT_BY_ROW
    return next(filter(None, (_wrong(cells, part) for part in parts)), "")


def _is_truth(cells: pl.DataFrame, condition: pl.Expr, parts: list[pl.Expr], types: list[Any]) -> bool:
    """Whether numbers that stand beside a truth value are 0 and 1 alone, and those of a column that equals it if that
    is a condition."""
    numbers = [part for part, each in zip(parts, types, strict=True) if each.is_numeric()]
    compared = any(each == pl.Boolean and part.meta.pop() for part, each in zip(parts, types, strict=True))
    equal = len(_joined(condition, operator.eq)) > 1 and all(part.meta.root_names() for part in numbers)
    of_two = all(_said(cells, part).drop_nulls().cast(pl.Float64).is_in([0.0, 1.0]).all() for part in numbers)
    return of_two and (equal or not compared or not numbers)


def _said(cells: pl.DataFrame, part: pl.Expr) -> pl.Series:
    """What a part of a condition says of rows; nothing, if it is refused as a whole."""
    with contextlib.suppress(pl.exceptions.PolarsError):
        return cells.select(part.alias("part"))["part"]
    return pl.Series("part", [])


def judged(frame: pl.DataFrame, expression: pl.Expr, argument: str, text: str | None) -> NDArray[np.bool_]:
    """Where a condition holds; not where a missing value leaves it open."""
    try:
        found = frame.with_columns(expression.alias("held"))["held"]
    except pl.exceptions.PolarsError as error:
        if (plain := _plain(frame)) is not frame:
            return judged(plain, expression, argument, text)
        mend = "; write a date as DATE '2024-01-31', and text that is one as DATE(name, '%d.%m.%Y'), or TIMESTAMP(...)"
        told = any(what in str(error) for what in ("temporal", "dtype `str`"))
        said = str(error).splitlines()[0].split(" (")[0] + mend * told
        raise InputError(said, argument, text) from None
    if found.dtype != pl.Boolean:
        raise InputError(NOT_BY_ROW, argument, text)
    return found.fill_null(False).to_numpy()


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """The table with its categories that are numbers, and texts that are dates, as such, and moments by the clock of
    their zone; the table itself if it has none."""
    coded = frame.select(pl.col(pl.Categorical, pl.Enum))
    numbers = [column.cast(pl.String).cast(pl.Float64, strict=False) for column in coded]
    texts = frame.select(pl.col(pl.String))
    days = [column.str.to_date("%Y-%m-%d", strict=False) for column in texts]
    read = [*zip(numbers, coded, strict=True), *zip(days, texts, strict=True)]
    plain = [one for one, column in read if one.null_count() == column.null_count()]
    plain += [column.dt.replace_time_zone(None) for column in frame.select(pl.selectors.datetime(time_zone="*"))]
    return frame.with_columns(plain) if plain else frame


def _check_names(schema: Schema, names: Any, argument: str, called: str, text: str | None = None) -> None:
    for name in names:
        said = f"the model {called} is conditioned on {name!r}, so it has no distribution; give its value in `given=`"
        if name not in schema.table_names:
            quoted = f"; text stands in single quotes, as in '{name}'" if text else ""
            said = f"the model {called} has no column {name!r}; it has {listed(schema.table_names)}{quoted}"
        elif name not in schema.given_names:
            continue
        raise InputError(said, argument, text or name)


def _expression(column: Column, part: Part) -> pl.Expr:
    """What is asked of a column that follows from others, for draws."""

    def holds(cells: pl.Series) -> pl.Series:
        x = torch.from_numpy(column.read(cells))[:, None]
        return pl.Series((Region({0: part}).holds(x) & ~x[:, 0].isnan()).numpy())

    return pl.col(column.name).map_batches(holds, return_dtype=pl.Boolean)


def _region_of(schema: Schema, column: Column, expression: pl.Expr, argument: str, text: str) -> Region | None:
    """The rows in which a condition on one column holds; None if it is not decided by comparisons with the values that
    it names."""

    def holds(values: Numbers) -> NDArray[np.bool_]:
        return judged(_cells(column, values), expression, argument, text)

    where = schema.columns.index(column)
    missing = bool(holds(np.array([np.nan]))[0])
    if missing and column.holes.ignored:
        return None
    if column.classes:
        held = holds(np.arange(float(column.kind.classes)))
        return Region({where: np.append(held, np.full(column.classes - len(held), missing))})
    found = _intervals(column, _named(column, expression), holds)
    flag = schema.missingness.flags.get(where)
    if found is None:
        return None
    if not missing or flag is None:
        return region_of(schema, column.name, found)
    if found.size == 0:
        return Region({flag: np.array([False, True])})
    return Region({}) if np.isinf(found).all() else None


def _intervals(column: Column, points: Numbers, holds: Callable[[Numbers], NDArray[np.bool_]]) -> Part | None:
    """The intervals of values in which a condition on numbers holds, if these points are their ends; else None."""
    pieces = list(_pieces(points, column.kind.resolution))
    held = holds(np.array([middle for _, _, middle in pieces]))
    chosen = [(low, high) for (low, high, _), holds in zip(pieces, held, strict=True) if holds]
    between = np.random.default_rng(0).uniform(*column.kind.ends, TRIED)
    tried = np.append(column.kind.typical, column.kind.snap(between))  # as hours, which most values do not show
    inside = [tried == low if low == high else (tried > low) & (tried < high) for low, high in chosen]
    expected = np.any(inside, axis=0) if chosen else False
    if (holds(tried) != expected).any():
        return None
    parts = [column.kind.between(low, high) for low, high in chosen]
    parts = [some for some in parts if some.size]
    whole = union(parts) if parts else np.empty((2, 0))
    for point in (low for (low, high, _), holds in zip(pieces, held, strict=True) if low == high and not holds):
        # The cell of a value with a probability of its own reaches beyond the point.
        whole = both(whole, others(column.kind.between(point, point)))
    return whole


def _pieces(points: Numbers, resolution: float) -> Iterator[tuple[float, float, float]]:
    """The numbers, and the ranges beside and between them, each with a value inside, as a column's values may be."""
    if not len(points):
        yield -np.inf, np.inf, 0.0
        return
    far = max(1.0, resolution, float(np.abs(points).max()))
    far = far if not resolution else resolution * np.ceil(far / resolution)
    yield -np.inf, _beside(points[0], -resolution), points[0] - far
    for low, high in zip(points, [*points[1:], np.inf], strict=True):
        yield low, low, low
        if high == np.inf:
            yield _beside(low, resolution), np.inf, low + far
        elif high - low >= 1.5 * resolution:
            half = 0.5 * (high - low)
            middle = low + (half if not resolution else resolution * max(np.floor(half / resolution), 1.0))
            yield _beside(low, resolution), _beside(high, -resolution), middle


def _beside(number: float, step: float) -> float:
    return float(number + 0.5 * step if step else number)


def _named(column: Column, condition: pl.Expr) -> Numbers:
    """The values that a condition names, numbers with both signs, as the column encodes them; those it can hold."""
    named = list(_literals(condition))
    if column.reading.dtype == "Duration":
        values = column.read(pl.Series(column.name, [v for v in named if isinstance(v, timedelta)], pl.Duration("us")))
    elif column.reading.moment or column.contents == "text":
        values = column.read(pl.Series(column.name, [str(v) for v in named if not _is_number(v)], dtype=pl.String))
    else:
        values = np.array([sign * float(v) for v in named if _is_number(v) for sign in (-1, 1)])
    return np.unique(values[np.isfinite(values)])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _cells(column: Column, numbers: Numbers) -> pl.DataFrame:
    """Encoded values of a column as its cells, one row each; numbers as they are, whatever the table's type."""
    if column.contents in ("number", "marked") and not column.classes:
        return pl.DataFrame({column.name: pl.Series(numbers, nan_to_null=True)})
    return pl.DataFrame([column.written(numbers)])
