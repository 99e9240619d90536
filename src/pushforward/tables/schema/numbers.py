"""From the cells of a table to float64 numbers: anything else is refused by file, column and row."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from ...errors import InputError, counted, listed


def require_columns(columns: Sequence[str], names: Sequence[str], source: str, argument: str | None = None) -> None:
    """Refuses names that the table does not have."""
    missing = [name for name in names if name not in columns]
    if missing:
        raise InputError(
            f"{source}: has no column {listed(map(repr, missing))}; its columns are {listed(columns)}", argument
        )


def refuse_twice(names: Sequence[str], argument: str) -> None:
    """Refuses a column that an argument names twice."""
    if twice := [name for name in names if list(names).count(name) > 1]:
        raise InputError(f"{twice[0]!r} is named twice", argument)


def refuse_text(frame: pl.DataFrame, names: Sequence[str], source: str) -> None:
    """Refuses text, dates and the like in columns that are numeric in the model."""
    for column in (frame[name] for name in names if is_text(frame[name])):
        kind = (
            "dates or times" if column.dtype.is_temporal() else "nested values" if column.dtype.is_nested() else "text"
        )
        what, bad = f"column {column.name!r} holds {kind}", pl.Series(dtype=pl.Boolean)
        if column.dtype == pl.String:
            bad = column.cast(pl.Float64, strict=False).is_null() & column.is_not_null()
        if bad.any():
            row, count = int(bad.arg_max() or 0), int(bad.sum())
            what = f"column {column.name!r}, row {row + 1}: {column[row]!r} is not a number{more(count)}"
        raise InputError(f"{source}: {what}, but numbers are expected there; correct it")


def missing(column: pl.Series) -> np.ndarray:
    """Which cells hold nothing, or no finite number."""
    there = column.is_not_null()
    return ~(there & column.is_finite().fill_null(False) if column.dtype.is_float() else there).to_numpy()


def row_weights(frame: pl.DataFrame, name: str, source: str, first: int = 0) -> np.ndarray:
    """The weight of each row, in float64."""
    refuse_gaps(frame, [name], source, first)
    weights = as_numbers(frame[name])
    bad = np.flatnonzero(weights < 0)
    if len(bad):
        where = f"{source}: column {name!r}, row {first + bad[0] + 1}"
        raise InputError(f"{where}: {weights[bad[0]]:g} is negative, but weights cannot be")
    return weights


def usable_rows(frame: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Which rows have a value in every named column."""
    return ~np.any([np.zeros(frame.height, bool), *(missing(frame[name]) for name in names)], axis=0)


def refuse_gaps(frame: pl.DataFrame, names: Sequence[str], source: str, first: int = 0) -> None:
    """Refuses missing and infinite values; ``first`` is the number of the first row in its file, from 0."""
    for name in names:
        bad = np.flatnonzero(missing(frame[name]))
        if 0 < len(bad) == frame.height and not first:
            raise InputError(f"{source}: column {name!r} has no value in any row; leave it out with `columns=`")
        if len(bad):
            value = frame[name][int(bad[0])]
            what = "an infinite value" if value is not None and math.isinf(value) else "a missing value"
            raise InputError(
                f"{source}: column {name!r}, row {bad[0] + first + 1}: {what}{more(len(bad))}; "
                "leave such rows out with `drop_missing=True`, or the column with `columns=`"
            )


def more(count: int) -> str:
    """How many further rows a message speaks of."""
    return f" (and {counted(count - 1, 'more row')} like it)" if count > 1 else ""


def is_text(column: pl.Series) -> bool:
    """Whether a column holds something other than numbers; an entirely empty one does not."""
    numeric = column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)
    return not numeric and column.null_count() < len(column)


def as_numbers(column: pl.Series) -> np.ndarray:
    """A column as float64; NaN if there is no finite number."""
    values = column.cast(pl.Float64, strict=False)
    numbers = values.to_numpy(allow_copy=True) if len(values) else np.empty(0)
    return np.where(np.isfinite(numbers), numbers, np.nan)
