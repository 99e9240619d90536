"""From the cells of a table to float64 numbers: what is not a number is refused by file, column and row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from ..errors import InputError, listed


def require_columns(frame: pl.DataFrame, names: Sequence[str], source: str, flag: str = "") -> None:
    """Refuses names that the table does not have.

    Raises:
        InputError: a name is missing; says which, and what there is.
    """
    missing = [name for name in names if name not in frame.columns]
    if missing:
        asked = f" (asked for by {flag})" if flag else ""
        raise InputError(
            f"{source}: has no column {listed(map(repr, missing))}{asked}; its columns are {listed(frame.columns)}"
        )


def is_text(column: pl.Series) -> bool:
    """Whether a column holds something other than numbers; one that holds nothing at all does not."""
    numeric = column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)
    return not numeric and column.null_count() < len(column)


def holds_names(column: pl.Series) -> bool:
    """Whether the values of a column are names, text or truth values, and no numbers."""
    return is_text(column) or column.dtype == pl.Boolean


def refuse_spoilt(frame: pl.DataFrame, names: Sequence[str], source: str) -> None:
    """Refuses columns of text that are numbers but for a few cells.

    Raises:
        InputError: names the column and its first bad row.
    """
    for name in names:
        if (signed := _signed_number(frame[name])) is not None:
            raise InputError(
                f"{source}: column {name!r}, row {signed + 1}: {frame[name][signed]!r} is a number with marks; write "
                "it without them, leave the column out with --columns, or take it for a category with --categories"
            )
        bad = _bad_cells(frame[name])
        if len(bad) and len(bad) <= 0.5 * (frame.height - frame[name].null_count()):
            row = int(bad[0])
            raise InputError(
                f"{source}: column {name!r}, row {row + 1}: {frame[name][row]!r} is not a number{_more(len(bad))}; "
                "correct it, leave the column out with --columns, or take it for a category with --categories"
            )


def refuse_text(frame: pl.DataFrame, names: Sequence[str], source: str) -> None:
    """Refuses text, dates and the like where the model has numbers.

    Raises:
        InputError: names the first such column, and its first bad row.
    """
    for name in names:
        if is_text(frame[name]):
            bad, what = _bad_cells(frame[name]), f"column {name!r} holds {_contents(frame[name])}"
            if len(bad):
                what = (
                    f"column {name!r}, row {bad[0] + 1}: {frame[name][int(bad[0])]!r} is not a number{_more(len(bad))}"
                )
            raise InputError(f"{source}: {what}, and numbers are expected there; correct it")


def to_numbers(frame: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Columns as float64, shape ``(rows, len(names))``; missing cells are NaN. The columns must be numeric."""
    columns = [frame[name].cast(pl.Float64).to_numpy() for name in names]
    return np.column_stack(columns) if columns else np.empty((frame.height, 0))


def usable_rows(frame: pl.DataFrame, numbers: Sequence[str], text: Sequence[str] = ()) -> np.ndarray:
    """Which rows have a finite number, or some text, in every named column."""
    usable = np.isfinite(to_numbers(frame, numbers)).all(1)
    for name in text:
        usable &= _has_name(frame[name])
    return usable


def _has_name(column: pl.Series) -> np.ndarray:
    """Which values of a category are there."""
    there = column.is_not_null()
    return (there & column.is_finite().fill_null(False) if column.dtype.is_float() else there).to_numpy()


def refuse_gaps(frame: pl.DataFrame, numbers: Sequence[str], text: Sequence[str], source: str, first: int = 0) -> None:
    """Refuses missing and infinite values in rows of which the first has the number ``first`` in its file, from 0.

    Raises:
        InputError: names the first bad column, its first bad row, and how to leave such rows out.
    """
    for name in numbers:
        values = to_numbers(frame, [name])[:, 0]
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad) == frame.height and not first:
            raise InputError(f"{source}: column {name!r} has no value in any row; leave it out with --columns")
        if len(bad):
            what = "an infinite value" if np.isinf(values[bad[0]]) else "a missing value"
            _refuse_gap(source, name, bad + first, what)
    for name in text:
        bad = np.flatnonzero(~_has_name(frame[name]))
        if len(bad):
            _refuse_gap(source, name, bad + first, "a missing value")


def _refuse_gap(source: str, name: str, bad: np.ndarray, what: str) -> None:
    raise InputError(
        f"{source}: column {name!r}, row {bad[0] + 1}: {what}{_more(len(bad))}; "
        "leave such rows out with --drop-missing, or the column with --columns"
    )


def _more(count: int) -> str:
    return f" (and {count - 1} more rows like it)" if count > 1 else ""


def _bad_cells(column: pl.Series) -> np.ndarray:
    if column.dtype != pl.String:
        return np.array([], dtype=int)
    return np.flatnonzero((column.cast(pl.Float64, strict=False).is_null() & column.is_not_null()).to_numpy())


def _signed_number(column: pl.Series) -> int | None:
    """The first cell of a column whose text is mostly numbers with thousands separators, units of money or per cent."""
    if column.dtype != pl.String or not len(_bad_cells(column)):
        return None
    plain = column.str.replace_all(r"[\s,'_$€£¥%]", "").cast(pl.Float64, strict=False)
    if plain.is_null().sum() - column.null_count() > 0.5 * (len(column) - column.null_count()):
        return None
    marked = column.cast(pl.Float64, strict=False).is_null() & plain.is_not_null()
    return int(marked.arg_max() or 0) if marked.sum() > 0.5 * (len(column) - column.null_count()) else None


def _contents(column: pl.Series) -> str:
    if column.dtype.is_temporal():
        return "dates or times"
    return "nested values" if column.dtype.is_nested() else "text"
