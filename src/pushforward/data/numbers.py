"""From the cells of a table to float64 numbers: what is not a number is refused by file, column and row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from .errors import InputError, listed


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


def numeric_names(frame: pl.DataFrame) -> list[str]:
    """The columns that hold numbers."""
    return [name for name in frame.columns if not is_text(frame[name])]


def refuse_text(frame: pl.DataFrame, names: Sequence[str], source: str, given: Sequence[str] = ()) -> None:
    """Refuses columns that hold no numbers.

    Raises:
        InputError: names every such column; a number column spoilt by a few cells is named with its first bad row.
    """
    text = [name for name in names if is_text(frame[name])]
    for name in text:
        bad = _bad_cells(frame[name])
        if len(bad) and len(bad) <= 0.5 * frame.height:
            row = int(bad[0])
            raise InputError(
                f"{source}: column {name!r}, row {row + 1}: {frame[name][row]!r} is not a number"
                f"{_more(len(bad))}; correct it, or leave the column out with --columns"
            )
    if text:
        rest = [name for name in names if name not in text]
        holds = "column {} holds" if len(text) == 1 else "columns {} hold"
        raise InputError(
            f"{source}: {holds.format(listed(text))} {_contents(frame[text[0]])}, and only numbers have a density; "
            + (f"leave them out with --columns {','.join(rest)}" if rest else "no numeric column is left")
            + f", or condition on them with --given {','.join([*given, *text])}"
        )


def to_numbers(frame: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Columns as float64, shape ``(rows, len(names))``; missing cells are NaN. The columns must be numeric."""
    columns = [frame[name].cast(pl.Float64).to_numpy() for name in names]
    return np.column_stack(columns) if columns else np.empty((frame.height, 0))


def usable_rows(frame: pl.DataFrame, numbers: Sequence[str], text: Sequence[str] = ()) -> np.ndarray:
    """Which rows have a finite number, or some text, in every named column."""
    usable = np.isfinite(to_numbers(frame, numbers)).all(1)
    for name in text:
        usable &= frame[name].is_not_null().to_numpy()
    return usable


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
        bad = np.flatnonzero(frame[name].is_null().to_numpy())
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


def _contents(column: pl.Series) -> str:
    if column.dtype.is_temporal():
        return "dates or times"
    return "nested values" if column.dtype.is_nested() else "text"
