"""CSV and other text, whole or in pieces: Polars reads every cell as text, and all rows decide what a column holds."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from ...errors import InputError, counted, listed
from .csv_dialect import COMMAS, LIKE, DecimalMarks, Dialect, cells, decimal_marks, example, open_text, sniffed
from .format import Format, ReadOptions, refusing_damage
from .place import Location
from .table import Piece, RowsInPieces, Table

MISSING = ["", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null", "NaN", "nan", "NaT", "?"]
BLANKS = r"^\s*(?:--?|[\x{2013}\x{2014}]|\.{1,3}|\*|[Nn]one|[Nn]\.[Aa]\.|#DIV/0!|#NUM!)\s*$"  # missing numbers
ZEROS = r"^\s*0\d+\s*$"
PIECE = 65_536  # rows parsed at once
LARGE = 2**28  # bytes from which a file is better read in pieces


class Csv(Format):
    endings = (".csv", ".tsv", ".txt", ".data", ".dat")
    written = (".csv", ".tsv", ".txt")
    options = ("decimal",)
    long = True

    def read(self, path: Path, options: ReadOptions) -> Table:
        rows = CsvRows(path, path, options)
        return Table(path, rows.collect(), notes=rows.notes, decimal=rows.marks.file)

    def pieces(self, place: Location, path: Path, options: ReadOptions) -> CsvRows | None:
        return CsvRows(place, path, options) if path.stat().st_size >= LARGE else None

    def write(self, rows: pl.LazyFrame, path: Path) -> None:
        rows.sink_csv(path, separator="," if path.suffix.lower() == ".csv" else "\t")


class Counts(NamedTuple):
    """How many values a column has, and how many of them can be read in each way."""

    filled: int
    whole: int
    number: int
    truth: int
    like_number: int
    with_commas: int
    zeros: int
    blanks: int

    @classmethod
    def of(cls, name: str) -> list[pl.Expr]:
        """What to count."""
        column = pl.col(name).str.strip_chars()
        patterns = (r"^(?i:true|false)$", LIKE, COMMAS, ZEROS, BLANKS)
        casts = [column.cast(dtype, strict=False).count() for dtype in (pl.Int64, pl.Float64)]
        return [column.count(), *casts, *(column.str.contains(pattern).sum() for pattern in patterns)]

    @property
    def type(self) -> type[pl.DataType]:
        """The narrowest type that holds all values but for marks of missing ones."""
        for count, dtype in ((self.whole, pl.Int64), (self.number, pl.Float64), (self.truth, pl.Boolean)):
            if count == self.filled - self.blanks > 0:
                return dtype
        return pl.String

    @property
    def numeric(self) -> bool:
        """Whether most values look like numbers."""
        return 2 * self.like_number >= self.filled - self.blanks > 0


class CsvRows(RowsInPieces):
    """The rows of one CSV file, which the user calls a path. A first pass over all of them counts them and decides what
    each column holds; every later read starts at the top of the file."""

    def __init__(self, path: Location, file: Path, options: ReadOptions) -> None:
        self.path, self.file, self.files = path, file, [file]
        with refusing_damage(path, "read as CSV"):
            self.dialect = sniffed(file)
            self.columns = self.dialect.names
            text = _scanned(file, self.dialect)
            if self.dialect.unnamed:
                self._refuse_unnamed(text)
            text = text.select(self.columns)
            rows, blank, again, counts = self._counted(text)
            if again:
                text = text.filter(~self._names_again)
                rows, blank, _, counts = self._counted(text)
            self.marks = self._decimal_marks(text, counts, options.decimal)
            if self.marks.columns:
                text = self.marks.pointed(text)
                counts = self._counted(text)[-1]
            self.rows = rows - blank
            text = text.filter(~pl.all_horizontal(pl.all().is_null())) if blank else text
        left = {"blank lines": blank, "lines with the names of the columns": again}
        lines = (f"{file.name}: left out: {count:,} {what}" for what, count in left.items() if count)
        self.notes = (*self.dialect.notes, *self.marks.notes, *lines)
        padded = [name for name, count in counts.items() if count.zeros and count.type == pl.Int64]
        unsaid = [] if options.codes is None else [name for name in padded if name not in options.codes]
        for name, cell in filter(None, (example(text, [name], ZEROS) for name in unsaid)):
            what = f"column {name!r} is read as numbers, without the zeros of {cell}; `categories=` keeps them"
            self.notes = (*self.notes, f"{file.name}: {what}")
        as_text = {name for name in {*options.text} & {*counts} if counts[name].truth < counts[name].filled}
        holes = [name for name, count in counts.items() if count.blanks and count.type != pl.String]
        as_text |= {*padded, *holes} & {*(options.codes or ())}
        if hole := example(text, [name for name in holes if name not in as_text], BLANKS):
            what = f"{hole[1]!r} and the like are missing values; `categories=` keeps them as names"
            self.notes = (*self.notes, f"{file.name}: {listed(holes)}: {what}")
        if options.codes is not None and (codes := self._with_na(counts)):
            what = "NA is a missing value, also among codes of two letters; write Namibia's in another way"
            self.notes = (*self.notes, f"{file.name}: {listed(codes)}: {what}")
        self.typed = text.select(
            pl.col(name) if name in as_text else _cast(name, counts[name].type) for name in self.columns
        )

    def collect(self) -> pl.DataFrame:
        """All rows."""
        with refusing_damage(self.path, "read as CSV"):
            return self.typed.collect(engine="streaming")

    def read(self, start: int, stop: int, columns: Sequence[str] | None = None) -> Iterator[Piece]:
        present = [name for name in self.columns if columns is None or name in columns]
        rows = self.typed.select(present).slice(start, stop - start)
        with refusing_damage(self.path, "read as CSV"):
            for frame in rows.collect_batches(chunk_size=PIECE, maintain_order=True):
                yield Piece(frame, str(self.path), start)
                start += frame.height

    @property
    def _names_again(self) -> pl.Expr:
        """Which rows are the line of names, as where files were joined."""
        same = (pl.col(name).str.strip_chars() == name for name in self.columns)
        return pl.all_horizontal(*same, len(self.columns) > 1).fill_null(False)

    def _with_na(self, counts: dict[str, Counts]) -> list[str]:
        """The columns of codes of two letters, as those of countries, of which some missing ones are written NA."""
        holed = [name for name, count in counts.items() if count.type == pl.String and 0 < count.filled < self.rows]
        if not holed:
            return []
        raw = _scanned(self.file, self.dialect, [mark for mark in MISSING if mark != "NA"]).select(holed)
        among_codes = (pl.all() == "NA").any() & pl.all().str.contains("^[A-Z]{2}$").all()
        codes = raw.select(among_codes).collect(engine="streaming")
        return [name for name in holed if codes[name].item()]

    def _refuse_unnamed(self, text: pl.LazyFrame) -> None:
        """Refuses values in columns without a name, as separators at the end of each line make."""
        filled = text.select(pl.col(self.dialect.unnamed).count()).collect(engine="streaming").row(0)
        if any(filled):
            place = self.dialect.header.index(self.dialect.unnamed[int(np.argmax(filled))]) + 1
            raise InputError(f"{self.path}: column {place} has no name; give it one")

    def _counted(self, text: pl.LazyFrame) -> tuple[int, int, int, dict[str, Counts]]:
        """The number of rows, those of blank lines and of names among them, and each column's counts."""
        every = [one.alias(f"{j} {k}") for j, name in enumerate(self.columns) for k, one in enumerate(Counts.of(name))]
        empty = pl.all_horizontal(pl.all().is_null()).sum()
        try:
            asked = (pl.len(), empty.alias("empty"), self._names_again.sum().alias("again"), *every)
            rows, blank, again, *found = text.select(asked).collect(engine="streaming").row(0)
        except pl.exceptions.PolarsError as error:
            raise InputError(_fault(self.path, self.file, self.dialect, error)) from None
        width = len(Counts._fields)
        counts = {name: Counts(*found[j * width : (j + 1) * width]) for j, name in enumerate(self.columns)}
        return rows, self._blank_lines(blank), again, counts

    def _decimal_marks(self, text: pl.LazyFrame, counts: dict[str, Counts], assumed: str) -> DecimalMarks:
        numeric = [name for name, count in counts.items() if count.numeric]
        if any(counts[name].with_commas for name in numeric):
            return decimal_marks(text, numeric, self.dialect.separator, assumed, self.file.name)
        return DecimalMarks("." if any(counts[name].type == pl.Float64 for name in numeric) else "", {})

    def _blank_lines(self, empty: int) -> int:
        """How many rows without a value are lines without a character; in a table of one column, such are rows."""
        if not empty or len(self.dialect.header) < 2:
            return 0
        with open_text(self.file, self.dialect.encoding, self.dialect.lead) as lines:
            blank = sum(not line.strip() for line in lines)
        return empty if blank >= empty else 0  # others hold separators: rows without a value


def _scanned(file: Path, dialect: Dialect, missing: list[str] = MISSING) -> pl.LazyFrame:
    """The rows of a file, all cells as text."""
    options: dict[str, Any] = {
        "separator": "," if dialect.separator == " " else dialect.separator,
        "has_header": not dialect.headless,
        "infer_schema": False,
        "null_values": missing,
        "with_column_names": lambda _: dialect.header,
    }
    return pl.scan_csv(file if dialect.plain else _rewritten(file, dialect), **options)


def _rewritten(file: Path, dialect: Dialect) -> io.BytesIO:
    """A text in UTF-8, with commas for blanks, and a full first line, as Polars reads it."""
    text = io.StringIO(newline="")
    separator = "," if dialect.separator == " " else dialect.separator
    with open_text(file, dialect.encoding, dialect.lead, newline=None) as lines:
        rows, ahead = itertools.tee(row for row in cells(lines, dialect.separator, dialect.escaped) if row)
        rows = (row for row, _ in zip(rows, itertools.islice(ahead, dialect.below, None), strict=False))
        if not dialect.headless and next(rows, None):
            csv.writer(text, delimiter=separator).writerow(dialect.header)
        csv.writer(text, delimiter=separator).writerows(rows)
    return io.BytesIO(text.getvalue().encode())


def _cast(name: str, dtype: type[pl.DataType]) -> pl.Expr:
    """A column of text as the type that all its values have."""
    column = pl.col(name).str.strip_chars()
    if dtype == pl.Boolean:
        return column.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None)
    return pl.col(name) if dtype == pl.String else column.cast(dtype, strict=False)


def _fault(path: Location, file: Path, dialect: Dialect, error: Exception) -> str:
    """What is wrong with a file that Polars cannot read."""
    if "utf-8" in str(error).lower() or "utf8" in str(error).lower():
        return f"{path}: is not UTF-8 text; save it again as UTF-8"
    width = len(dialect.header)
    with open_text(file, dialect.encoding, dialect.lead) as lines:
        if dialect.header[0].startswith("#"):
            return f"{path}: its first line is a comment; remove it, so that the first line names the columns"
        for row, found in enumerate(cells(lines, dialect.separator)):
            if row and len(found) > width:
                named = counted(width, "column")
                return f"{path}: row {row} has {len(found)} cells, but the first line names {named}; mend it"
    return f"{path}: cannot be read as CSV: {str(error).splitlines()[0]}"
