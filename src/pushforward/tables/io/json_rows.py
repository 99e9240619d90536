"""Rows as JSON objects: one per line (``.jsonl``), or a list of them (``.json``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from ...errors import InputError
from .format import Format, ReadOptions
from .table import Table
from .values import series

EXPECTED = 'expected an object per row, as in {"price": 3.5, "colour": "red"}'


class JsonRows(Format):
    endings = (".jsonl", ".ndjson", ".json")
    written = (".jsonl", ".ndjson")
    starts = (b"{", b"[")
    long = True

    def read(self, path: Path, options: ReadOptions) -> Table:
        """Reads rows; a key that a row lacks is a missing cell."""
        with path.open("rb") as file:
            listed = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
        try:
            return Table(path, (pl.read_json if listed else pl.read_ndjson)(path, infer_schema_length=None))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            return Table(path, _frame(path, listed))  # NaN, a byte order mark, or an error that names the row

    def write(self, rows: pl.LazyFrame, path: Path) -> None:
        rows.sink_ndjson(path)


def _frame(path: Path, listed: bool) -> pl.DataFrame:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; save it again as UTF-8") from None
    lines = [text] if listed else text.split("\n")  # and at no other end of a line, which a text may hold
    each = ((f"{path}: it " if listed else f"{path}: row {row} ", line) for row, line in enumerate(lines, 1))
    values = [parsed(line, where) for where, line in each if line.strip()]
    rows = values[0] if listed else values
    wrong = next((row for row, value in enumerate(rows, 1) if not isinstance(value, dict)), None)
    if wrong is not None:
        raise InputError(f"{path}: row {wrong} is {json.dumps(rows[wrong - 1])[:40]}; {EXPECTED}")
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame([series(name, [_cell(row.get(name)) for row in rows], str(path)) for name in names])


def _cell(value: Any) -> Any:
    """A value of a column that holds several kinds of them; lists and objects as their text."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def parsed(text: str | bytes, where: str = "") -> Any:
    """The value of JSON text; ``where`` begins the sentence that refuses any other."""
    try:
        value = json.loads(text)
        if b"\\" in (text if isinstance(text, bytes) else text.encode()):
            json.dumps(value, ensure_ascii=False).encode()  # which fails for half of a surrogate pair: it is no text
        return value
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}is not JSON ({str(error)[:80]}); {EXPECTED}") from None
