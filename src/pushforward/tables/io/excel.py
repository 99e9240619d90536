"""Sheets of Excel and similar files, read by calamine (the extra ``excel``)."""

from __future__ import annotations

import contextlib
import datetime
import logging
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from ...errors import InputError, listed
from .csv_dialect import PEEKED, are_names, is_title
from .csv_rows import MISSING
from .format import Format, ReadOptions
from .table import Table

DAYS_OF_TIMES = (datetime.date(1899, 12, 30), datetime.date(1899, 12, 31))
UNNAMED = "__UNNAMED__"  # how the reader names columns without a name
NEEDS = "needs {}; install it with: pip install 'pushforward[excel]'"


class Excel(Format):
    endings = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
    written = (".xlsx",)
    starts = (b"\xd0\xcf\x11\xe0",)  # of .xls; the others are archives
    options = ("sheet",)

    def read(self, path: Path, options: ReadOptions) -> Table:
        """The sheet that is asked for, or the first one that has rows."""
        book = _book(path)
        chosen, notes = _chosen(book, path, options.sheet)
        with _without_warnings():
            lead = _lead(book, chosen)
            frame = book.load_sheet(chosen, header_row=lead, schema_sample_rows=None).to_polars()
        if lead:
            notes.append(f"{path.name}: the names of the columns are those of row {lead + 1}")
        if _merges_rows(path, lead):
            notes.append(f"{path.name}: of cells that are merged over several rows, only the first holds a value")
        return Table(path, _moments(_numbers(_without_index(frame, path, notes))), notes=tuple(notes))

    def write(self, rows: pl.LazyFrame, path: Path) -> None:
        try:
            rows.collect().write_excel(path)
        except ImportError:
            raise InputError(f"writing Excel files {NEEDS.format('xlsxwriter')}") from None


def _merges_rows(path: Path, lead: int) -> bool:
    """Whether cells of several rows below the names are merged in any sheet, which the reader does not say."""
    if path.suffix.lower() not in (".xlsx", ".xlsm"):
        return False
    with zipfile.ZipFile(path) as parts:
        sheets = [parts.read(name) for name in parts.namelist() if name.startswith("xl/worksheets/sheet")]
    merged = [pair for sheet in sheets for pair in re.findall(rb'<mergeCell ref="[A-Z]+(\d+):[A-Z]+(\d+)"', sheet)]
    return any(lead + 1 < int(first) < int(last) for first, last in merged)


def _book(path: Path) -> Any:
    try:
        import fastexcel
    except ImportError:
        raise InputError(f"{path}: reading Excel files {NEEDS.format('fastexcel')}") from None
    return fastexcel.read_excel(path)


def _chosen(book: Any, path: Path, sheet: str | None) -> tuple[str, list[str]]:
    """The name of the sheet to read, and a note if there are others."""
    names = book.sheet_names
    if sheet is not None:
        if sheet not in names:
            raise InputError(f"{path}: has no sheet {sheet!r}; its sheets are {listed(names)}")
        return sheet, []
    filled = [name for name in names if book.load_sheet(name, n_rows=1, dtypes="string").height]
    if not filled:
        raise InputError(f"{path}: none of its sheets ({listed(names)}) has rows")
    note = f"{path.name}: the sheet {filled[0]!r} is read, of {listed(filled)}; `sheet=` takes another"
    return filled[0], [note] if len(filled) > 1 else []


def _lead(book: Any, sheet: str) -> int:
    """How many of the first rows are blank, or titles of one cell, above a row of names."""
    start = book.load_sheet(sheet, header_row=None, skip_rows=0, n_rows=PEEKED, dtypes="string").to_polars().rows()
    lead = next((row for row, cells in enumerate(start) if not is_title(cells)), 0)
    return lead if start and are_names(start[lead]) else 0


def _without_index(frame: pl.DataFrame, path: Path, notes: list[str]) -> pl.DataFrame:
    """The columns that have a name or a value; an unnamed first one is a row index, as written by pandas."""
    unnamed = [name for name in frame.columns if name.startswith(UNNAMED)]
    kept = frame.drop(unnamed)
    if frame.width and unnamed == frame.columns[:1] and frame[unnamed[0]].null_count() < frame.height:
        notes.append(f"{path.name}: the first column has no name and was taken as a row index")
        return kept
    for name in unnamed:
        if frame[name].null_count() < frame.height:
            raise InputError(f"{path}: column {frame.columns.index(name) + 1} has no name; give it one")
    return kept.filter(~pl.all_horizontal(pl.all().is_null())) if kept.width else kept


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Silences the reader, which logs a warning for each column without a value."""
    logger, quiet = logging.getLogger("fastexcel.types.dtype"), logging.Filter("nobody")
    logger.addFilter(quiet)
    try:
        yield
    finally:
        logger.removeFilter(quiet)


def _numbers(frame: pl.DataFrame) -> pl.DataFrame:
    """Numbers that were written as text, or beside texts for missing cells, as numbers; whole ones as integers, which
    Excel does not distinguish from others."""
    texts = frame.select(pl.col(pl.String).replace(dict.fromkeys(MISSING)))
    found = [cast for column in [*texts, *frame.select(pl.col(pl.Float64))] if (cast := _number(column)) is not None]
    return frame.with_columns(texts).with_columns(found)


def _moments(frame: pl.DataFrame) -> pl.DataFrame:
    """Dates and times of a day as such: Excel has only moments, of which those of its day 0 are times."""
    days = {column.name: column.drop_nulls().dt.date() for column in frame.select(pl.col(pl.Datetime))}
    whole = [name for name, day in days.items() if (frame[name].drop_nulls() == day.cast(frame[name].dtype)).all()]
    times = [name for name, day in days.items() if len(day) and day.is_in(DAYS_OF_TIMES).all()]
    return frame.with_columns(pl.col(times).dt.time(), pl.col(whole).exclude(times).cast(pl.Date))


def _number(column: pl.Series) -> pl.Series | None:
    """The column as whole numbers, or else as numbers, if no value is lost, as the zeros of the text 01067 would be."""
    if column.dtype == pl.String and column.str.contains(r"^\s*0\d").any():
        return None
    for dtype in (pl.Int64, pl.Float64):
        cast = column.cast(dtype, strict=False)
        whole = column.dtype == pl.String or bool((cast.cast(pl.Float64) == column).all())
        if cast.null_count() == column.null_count() and whole:
            return cast
    return None
