"""Sheets of Excel and similar files, read by calamine (the extra ``excel``)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from ...errors import InputError, listed

UNNAMED = "__UNNAMED__"  # how the reader names columns without a name


def read_sheet(path: Path, sheet: str | None, missing: Sequence[str]) -> tuple[pl.DataFrame, list[str]]:
    """A sheet, and notes on how it was read.

    Args:
        path: The file.
        sheet: The sheet's name [default: the first one that has rows].
        missing: Texts that stand for a missing value.

    Raises:
        InputError: fastexcel is not installed, the sheet does not exist, or none has rows.
    """
    try:
        import fastexcel
    except ImportError:
        raise InputError(
            f"{path}: Excel files need fastexcel; install it with: pip install 'pushforward[excel]'"
        ) from None
    book = fastexcel.read_excel(path)
    names = book.sheet_names
    if sheet is not None and sheet not in names:
        raise InputError(f"{path}: has no sheet {sheet!r}; its sheets are {listed(names)}")
    filled = [name for name in names if book.load_sheet(name, n_rows=1, dtypes="string").height]
    if sheet is None and not filled:
        raise InputError(f"{path}: none of its sheets ({listed(names)}) has rows")
    chosen = sheet if sheet is not None else filled[0]
    with _without_warnings():
        frame = book.load_sheet(chosen, schema_sample_rows=None).to_polars()
    others = [name for name in filled if name != chosen] if sheet is None else []
    notes = (
        [f"{path.name}: the sheet {chosen!r} is read, of {listed(filled)}; `sheet=` takes another"] if others else []
    )
    return _typed(_without_index(frame, path, notes), missing), notes


def _without_index(frame: pl.DataFrame, path: Path, notes: list[str]) -> pl.DataFrame:
    """The columns that have a name or a value; an unnamed first one is a row index, as written by pandas."""
    unnamed = [name for name in frame.columns if name.startswith(UNNAMED)]
    kept = [name for name in frame.columns if name not in unnamed]
    if frame.width and unnamed == frame.columns[:1] and frame[unnamed[0]].null_count() < frame.height:
        notes.append(f"{path.name}: the first column has no name and was taken as a row index")
        return frame.select(kept)
    for name in unnamed:
        if frame[name].null_count() < frame.height:
            raise InputError(f"{path}: column {frame.columns.index(name) + 1} has no name; give it one")
    return frame.select(kept).filter(~pl.all_horizontal(pl.all().is_null())) if kept else frame.select(kept)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Silences the reader, which logs a warning for each column without a value."""
    logger, quiet = logging.getLogger("fastexcel.types.dtype"), logging.Filter("nobody")
    logger.addFilter(quiet)
    try:
        yield
    finally:
        logger.removeFilter(quiet)


def _typed(frame: pl.DataFrame, missing: Sequence[str]) -> pl.DataFrame:
    """Converts numbers that were written as text, or are mixed with texts for missing cells, to numbers; whole ones to
    integers, which Excel does not distinguish from others."""
    kinds = (pl.String, pl.Float64)
    return frame.with_columns(_number(column, missing) for column in frame.get_columns() if column.dtype in kinds)


def _number(column: pl.Series, missing: Sequence[str]) -> pl.Series:
    if column.dtype == pl.String:
        column = column.set(column.is_in(missing), None)
    elif not ((column == column.round()) & (column.abs() < 2**53)).all():
        return column
    for dtype in (pl.Int64, pl.Float64):
        cast = column.cast(dtype, strict=False)
        if cast.null_count() == column.null_count():
            return cast
    return column
