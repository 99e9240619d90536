"""How a CSV file is written: encoding, separator and column names, from its first rows; the decimal mark, from all.

DuckDB and CleverCSV sniff more, but are a large dependency and a slow one; what they add (quotes and escapes other than
the usual) is rare in tables.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import polars as pl

from ...errors import InputError
from ..schema.reading import UNIT
from .frames import refuse_repeated

MOST_COLUMNS = 100_000
BLANKS = (".txt", ".data", ".dat")  # file endings for which blanks may separate the columns
SEPARATORS = (",", ";", "\t", "|")
PEEKED = 20  # rows looked at
END = 4096  # bytes
UNNAMED = "\0"
WESTERN = "cp1252"
IN_UTF8 = rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}"  # letters, which Windows would call Ã¼
FOREIGN = re.compile(IN_UTF8 + rb"|[\xc0-\xff]{4}")  # four letters of another script, which Windows would call ìîñê
YEARS = (1800, 2200)
OPEN = r"^\s*[-+\x{2212}(]?[$€£¥]?\s*[-+\x{2212}]?(?:"  # what may stand around a number
CLOSE = rf")(?:[eE][-+]?\d+)?(?:\s*[%$€£¥]|{UNIT})?\)?\s*$"
PARTS = r"\s'\x{2019}_"  # what parts thousands wherever the decimal mark is a comma or a point
LIKE = rf"{OPEN}[\d.,{PARTS}]*\d[\d.,{PARTS}]*{CLOSE}"  # digits and marks
COMMAS = rf"{OPEN}[\d.{PARTS}]*,\d[\d.,]*{CLOSE}"
EITHER = rf"{OPEN}[1-9]\d{{0,2}},\d{{3}}{CLOSE}"  # thousands, or three decimals
WITH_COMMA = rf"{OPEN}(?:\d{{1,3}}(?:[.{PARTS}]\d{{3}})+|\d*)(?:,\d+)?{CLOSE}|{OPEN}\d+,)$"


@dataclass(frozen=True)
class Dialect:
    """The layout of a CSV file."""

    encoding: str  # UTF-8, UTF-16 with or without a byte order mark, or that of Windows in Western languages
    lead: int  # how many lines stand above the column names: titles and comments
    below: int  # how many lines stand below the rows, of a single cell each: sources and counts
    separator: str  # comma, semicolon, tab or bar; a blank if any number of blanks separates the columns
    header: list[str]  # a name for every column, including the index
    headless: bool  # whether the file has no line of names, so that they are x1, x2, …
    indexed: bool  # whether the first column is a row index, as written by pandas
    short: bool  # whether the first line has no cell for the index, as written by R
    old_mac: bool  # whether lines end with a carriage return alone
    spaced: bool  # whether blanks follow the separators
    escaped: bool  # whether a backslash stands before quotes that are text
    notes: tuple[str, ...]  # what the reader should know about how the file is read

    @property
    def plain(self) -> bool:
        """Whether Polars reads the file as it is."""
        odd = self.lead or self.below or self.short or self.old_mac or self.spaced or self.escaped
        return not odd and self.separator != " " and self.encoding == "utf-8-sig"

    @property
    def names(self) -> list[str]:
        """The columns of the table."""
        return [name for name in self.header[self.indexed :] if not name.startswith(UNNAMED)]

    @property
    def unnamed(self) -> list[str]:
        """The last columns, if they have no names: what stands for these."""
        return [name for name in self.header if name.startswith(UNNAMED)]


def sniffed(path: Path) -> Dialect:
    """Looks at the first rows of a CSV file."""
    if not path.is_file():  # opening a pipe would block
        raise InputError(f"{path}: there is no such file")
    encoding = _encoding(path)
    with open_text(path, encoding) as lines:
        start = list(itertools.islice(lines, PEEKED))
    lead = _lead(start)
    separator = _separator(start[lead:], path.suffix.lower())
    bare = [re.sub(r'"[^"]*"', "", line) for line in start[lead + 1 :] if line.strip()]
    spaced = bool(bare) and all(f"{separator} " in line for line in bare)
    inside = rf"(?!\s*(?:{re.escape(separator)}|$))"  # not at the end of a cell
    one, two = (any(re.search(rf"\\{quotes}{inside}", line) for line in start[lead:]) for quotes in ('"', '""'))
    escaped = one and not two  # where quotes are doubled, backslashes are text
    with open_text(path, encoding, lead) as lines:  # again, as names in quotes may go over any number of lines
        header, *rows = itertools.islice(cells(lines, separator, escaped), PEEKED) if start else [[]]
    header = [name.strip() for name in header]
    if any("\ufffd" in name for name in header):
        raise InputError(f"{path}: is not UTF-8 text; save it again as UTF-8")
    if not any(header):
        raise InputError(f"{path}: its first line is blank; expected the column names")
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    short = bool(rows) and separator in " \t" and len(rows[0]) == len(header) + 1 and not all(map(is_number, header))
    header = ["", *header] if short else header
    headless, notes = _headless(header, rows, path.name)
    if headless:
        header = [f"x{j}" for j in range(1, len(header) + 1)]
    last = len(header) - len([*itertools.takewhile(lambda name: not name, reversed(header))])
    header = [*header[:last], *(f"{UNNAMED}{place}" for place in range(last, len(header)))]
    indexed = _checked(header, path)
    if indexed:
        notes.append(f"{path.name}: the first column has no name and was taken as a row index")
    if encoding == WESTERN:
        notes.append(
            f"{path.name}: is not UTF-8 text, and was read as that of Windows in Western languages ({WESTERN})"
        )
    if lead:
        notes.append(f"{path.name}: what stands above the column names was left out: {start[0].strip() or 'blank'}")
    below = _below(path, encoding, separator) if len(header) > 1 else []
    if below:
        notes.append(f"{path.name}: what stands below the rows was left out: {below[0].strip() or 'blank'}")
    old_mac = start[0].endswith("\r")
    shape = (separator, header, headless, indexed, short, old_mac, spaced, escaped)
    return Dialect(encoding, lead, len(below), *shape, tuple(notes))


def open_text(path: Path, encoding: str = "utf-8-sig", lead: int = 0, newline: str | None = "") -> TextIO:
    """Opens a text file after so many lines; bytes that do not belong to its encoding are replaced."""
    text = path.open(encoding=encoding, newline=newline, errors="replace")
    for _ in range(lead):
        text.readline()
    return text


def cells(lines: Iterable[str], separator: str, escaped: bool = False) -> Iterator[list[str]]:
    """The rows of a text, whose ``separator`` may be a blank that stands for any number of blanks."""
    if separator == " ":
        lines = (" ".join(line.split()) for line in lines)
    return csv.reader(lines, delimiter=separator, skipinitialspace=True, escapechar="\\" if escaped else None)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _encoding(path: Path) -> str:
    """UTF-16 by its mark, or by the zeros that every other byte of it is in Western languages; UTF-8, unless it is
    Windows' own and no UTF-8."""
    with path.open("rb") as file:
        start = file.read(4096)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    for first, encoding in ((0, "utf-16-be"), (1, "utf-16-le")):
        if start[first::2].count(0) > 0.7 * len(start[first::2]) and start[1 - first :: 2].count(0) == 0:
            return encoding
    return WESTERN if not _is_utf8(path) and _is_western(path) else "utf-8-sig"


def _is_utf8(path: Path) -> bool:
    with contextlib.suppress(UnicodeDecodeError), path.open(encoding="utf-8", newline="") as text:
        while text.read(1 << 20):
            pass
        return True
    return False


def _is_western(path: Path) -> bool:
    """Whether a file may be Windows' text: without zeros, bytes that it does not know, or letters in UTF-8 or of other
    scripts."""
    with contextlib.suppress(UnicodeDecodeError), path.open("rb") as file:
        while part := file.read(1 << 20):
            if b"\0" in part or (part.decode(WESTERN) and FOREIGN.search(part)):
                return False
        return True
    return False


def _lead(start: list[str]) -> int:
    """How many of the first lines are titles or comments: of a single cell, or of one that is filled, where all further
    rows have as many; directly above the names, only if there are three or more, and no row below is like them."""
    if start and re.match(r'"?sep=.', start[0]):  # as Excel is told
        return 1
    marks = [mark for mark in SEPARATORS if mark in "".join(start)]
    with contextlib.suppress(csv.Error):  # a line that has not the mark may be longer than a cell can be
        most = len(start) * any(is_title(next(cells(start, mark))) for mark in marks)
        for lead in range(most - 1, 0, -1):
            above, below = start[:lead], [line for line in start[lead:] if line.strip()]
            rows = ((mark, [*cells(below, mark)]) for mark in marks)
            even = ((mark, each) for mark, each in rows if len(each) > 1 == len({*map(len, each)}))
            alike = {mark: each for mark, each in even if not all(map(is_title, each))}
            titles = [[*cells(above, mark)] for mark in alike]  # which are lines: quotes may go over several
            if titles and all(len(lines) == lead and all(map(is_title, lines)) for lines in titles):
                apart = start[lead - 1].strip()[:1] in ("", "#")  # by a blank line or a comment
                if apart or all(sum(map(are_names, each)) == are_names(each[0]) == 1 for each in alike.values()):
                    return lead
    return 0


def is_title(row: Sequence[str | None]) -> bool:
    """Whether one cell is filled, or none."""
    return sum(map(bool, row)) < 2


def are_names(row: Sequence[str | None]) -> bool:
    """Whether three cells or more are all filled, and not with numbers, be it ones with a decimal comma."""
    return len(row) > 2 and all(cell and not is_number(cell.replace(",", ".")) for cell in row)


def _below(path: Path, encoding: str, separator: str) -> list[str]:
    """The last lines, if they are of a single cell: no row of several columns, and no end of text in quotes."""
    if separator == " " or encoding.startswith("utf-16"):
        return []
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - END, 0))
        last = [line for line in file.read().decode(encoding, "replace").split("\n")[1:] if line.strip("\r")]
    below = [*itertools.takewhile(lambda line: separator not in line and '"' not in line, reversed(last))][::-1]
    return below if len(below) < min(PEEKED, len(last)) else []


def _separator(start: list[str], ending: str) -> str:
    """The mark that divides the first line and those after it into equally many cells, more than one; the more cells,
    the better."""
    if ending == ".tsv" or not start:
        return "\t"
    marks = [mark for mark in SEPARATORS if mark in start[0]]
    widths = {mark: [len(row) for row in cells(start, mark)] for mark in marks}
    if marks:
        return max(marks, key=lambda mark: (_alike(widths[mark]), widths[mark][0]))
    words = [len(line.split()) for line in start[:2]]
    blanks = ending in BLANKS and len(words) == 2 and 1 < words[0] <= words[1] <= words[0] + 1
    return " " if blanks else ","


def _alike(widths: list[int]) -> float:
    """The share of rows that are as wide as the first one, or by the index wider; 0 if it has a single cell."""
    rows = [width for width in widths[1:] if width]
    return 0.0 if widths[0] < 2 else sum(width - widths[0] in (0, 1) for width in rows) / max(len(rows), 1)


def _headless(header: list[str], rows: list[list[str]], name: str) -> tuple[bool, list[str]]:
    """Whether the first line is data: all of it are numbers, but for some above rows that are not so: years that rise
    or fall, and the numbers of columns."""
    if not all(map(is_number, header)):
        return False, []
    years = _years(header)
    named = _in_order(header) if years else _consecutive(header, 3)
    if named and not any(map(_years if years else _consecutive, rows)):
        return False, [f"{name}: its first line, {header[0]} to {header[-1]}, was taken for the column names"]
    return True, [f"{name} has no line of column names, so they are called x1 to x{len(header)}"]


def _years(row: list[str]) -> bool:
    return all(cell.strip().isdecimal() and YEARS[0] <= int(cell) <= YEARS[1] for cell in row)


def _in_order(years: list[str]) -> bool:
    """Whether years rise or fall from cell to cell; of two, by one, as any two numbers rise or fall."""
    steps = [int(later) - int(year) for year, later in itertools.pairwise(years)]
    return steps in ([1], [-1]) or (len(steps) > 1 and (min(steps) > 0 or max(steps) < 0))


def _consecutive(row: list[str], least: int = 1) -> bool:
    """Whether there are so many cells, and they count upwards in ones."""
    if len(row) < least or not all(cell.strip().isdecimal() for cell in row):
        return False
    return list(map(int, row)) == list(range(int(row[0]), int(row[0]) + len(row)))


def _checked(header: list[str], path: Path) -> bool:
    """Whether the first name is empty, that of an index."""
    if len(header) > MOST_COLUMNS:
        raise InputError(f"{path}: has {len(header):,} columns, more than {MOST_COLUMNS:,}; keep those that matter")
    refuse_repeated([name for name in header if name], str(path))
    blank = [j for j, name in enumerate(header, 1) if not name]
    if blank and blank != [1]:
        raise InputError(f"{path}: column {blank[0]} has no name; give it one")
    return blank == [1]


def _sure(mark: str, other: str) -> str:
    """Numbers that can only have this decimal mark."""
    return (
        rf"{OPEN}\d*{mark}(?:\d{{1,2}}|\d{{4,}})"  # not three digits behind it
        rf"|(?:0+|\d{{4,}}){mark}\d+"  # not one to three before it, beginning with another digit than 0
        rf"|\d+{mark}\d+[eE][-+]?\d+"  # a mantissa has no thousands
        rf"|\d{{1,3}}(?:[{other}{PARTS}]\d{{3}})+{mark}\d*"  # another mark parts thousands
        rf"|\d{{1,3}}(?:[{other}]\d{{3}}){{2,}}{CLOSE}"
    )


SURE = {",": _sure(",", "."), ".": _sure(r"\.", ",")}


@dataclass(frozen=True)
class DecimalMarks:
    """How the numbers of a file are written."""

    file: str  # the mark of the file; empty if its cells have several, or none
    # the mark of each column of numbers in which commas occur, or in which points may part thousands
    columns: Mapping[str, str]
    notes: tuple[str, ...] = ()  # what was decided

    def pointed(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The rows with decimal points and without marks of thousands in the columns with decimal commas."""
        return rows.with_columns(
            pl.when(pl.col(name).str.contains(WITH_COMMA))
            .then(pl.col(name).str.replace_all(rf"(\d)[.{PARTS}](\d)", "$1$2").str.replace(",", ".", literal=True))
            .otherwise(name)
            .alias(name)
            for name, mark in self.columns.items()
            if mark == ","
        )


def decimal_marks(rows: pl.LazyFrame, names: list[str], separator: str, assumed: str, file: str) -> DecimalMarks:
    """Judges a file by all its cells, for numbers to be turned into such with a point before anybody reads them.

    ``5,346`` is 5.346 in one half of the world and 5346 in the other. Cells that can be read in one way only decide:
    ``1,5``, ``0,346`` and ``1.234,50`` have a decimal comma, ``1.5`` and ``1,234.50`` a point. If a column has such
    cells, they decide about it, and otherwise those of the whole file. If there is none at all, the separator does:
    semicolons separate columns where commas are decimal marks.

    Args:
        rows: Columns of text.
        names: Those that hold numbers, most of them at least.
        assumed: The mark to go by if no cell decides; empty for the separator's.
    """
    counts = {mark: rows.select(pl.col(name).str.contains(each).sum() for name in names) for mark, each in SURE.items()}
    sure = {mark: found.collect(engine="streaming").row(0, named=True) for mark, found in counts.items()}
    told = [mark for mark, counts in sure.items() if any(counts.values())]
    rest = told[0] if len(told) == 1 else assumed or ("," if separator == ";" else ".")
    marks = {}
    for name in names:
        own = [mark for mark in SURE if sure[mark][name]]
        marks[name] = own[0] if len(own) == 1 else "." if own else rest
    notes = []
    shown = example(rows, [name for name in names if marks[name] == ","], COMMAS)
    if shown:
        notes.append(f"{file}: numbers have a decimal comma, as in column {shown[0]!r}: {shown[1]}")
    if not told and (shown := shown or example(rows, names, EITHER)):
        what = "the comma is taken for a decimal mark" if rest == "," else "the comma is taken to part thousands"
        notes.append(f"{file}: no cell tells how {shown[1]} in column {shown[0]!r} is meant; {what}")
    return DecimalMarks(told[0] if len(told) == 1 else "" if told else rest, marks, tuple(notes[-1:]))


def example(rows: pl.LazyFrame, names: list[str], pattern: str) -> tuple[str, str] | None:
    """A column and a cell of it that fits a pattern."""
    for name in names:
        found = rows.select(name).filter(pl.col(name).str.contains(pattern)).head(1).collect()
        if found.height:
            return name, found.item().strip()
    return None
