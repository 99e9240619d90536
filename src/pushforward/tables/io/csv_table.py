"""CSV and other text as a frame, in memory."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import polars as pl

from ...errors import InputError
from .csv_form import MISSING, cells, csv_form, open_text


def read_csv(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """The rows of a text file, and notes on how it was read.

    Raises:
        InputError: it is not UTF-8, a row has more cells than there are columns, or the first line names none.
    """
    form = csv_form(path)
    options: dict[str, Any] = {
        "separator": "," if form.separator == " " else form.separator,
        "has_header": not (form.headless or form.short),
        "skip_rows": int(form.short),
        "decimal_comma": form.decimal_comma,
        "null_values": MISSING,
        "infer_schema_length": None,
    }
    try:
        frame = pl.read_csv(_with_commas(path) if form.separator == " " else path, **options)
    except pl.exceptions.PolarsError as error:
        raise InputError(_csv_fault(path, len(form.header), form.separator, error)) from None
    frame = frame.rename(dict(zip(frame.columns, form.all_names, strict=True)))
    frame, notes = _without_blank_lines(frame, path)
    return frame.select(form.names), [*form.notes(path.name), *notes]


def _with_commas(path: Path) -> bytes:
    """The text of a file whose columns are separated by blanks, with commas in their place."""
    text = io.StringIO(newline="")
    with open_text(path) as lines:
        csv.writer(text).writerows(row for row in cells(lines, " ") if row)
    return text.getvalue().encode()


def _without_blank_lines(frame: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, list[str]]:
    """The rows of a file with several columns, in which an empty line is not a row."""
    empty = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
    if frame.width < 2 or not empty.any():
        return frame, []
    with open_text(path) as lines:
        blank = sum(not line.strip() for line in lines)
    if blank < empty.sum():  # the others hold separators: rows without a value
        return frame, []
    return frame.filter(~empty), [f"{path.name}: {int(empty.sum()):,} blank lines are left out"]


def _csv_fault(path: Path, width: int, separator: str, error: Exception) -> str:
    if "utf-8" in str(error).lower() or "utf8" in str(error).lower():
        return f"{path}: is not UTF-8 text; save it again as UTF-8"
    with open_text(path) as lines:
        if lines.readline().startswith("#"):
            return f"{path}: its first line is a comment; remove it, so that the first line names the columns"
        lines.seek(0)
        for row, found in enumerate(cells(lines, separator)):
            if row and len(found) > width:
                return (
                    f"{path}: row {row} has {len(found)} cells, but the first line names {width} columns; mend that row"
                )
    return f"{path}: cannot be read as CSV: {str(error).splitlines()[0]}"
