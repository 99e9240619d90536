"""How a CSV file is laid out, from its first two lines: column names, separator, decimal mark."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError

MOST_COLUMNS = 100_000
MISSING = ["", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null", "NaN", "nan", "NaT", "?"]
BLANKS = (".txt", ".data", ".dat")  # file endings for which blanks may separate the columns


@dataclass(frozen=True)
class CsvForm:
    """The layout of a CSV file.

    Args:
        header: The cells of the first line.
        separator: Comma, semicolon, tab or bar, whichever is the most frequent; a blank if any number of blanks
            separates the columns.
        headless: Whether the first line already holds numbers.
        decimal_comma: Whether numbers are written as in 1,5.
        indexed: Whether the first column is a row index, as written by pandas.
        short: Whether the first line has no cell for the index, as written by R.
    """

    header: list[str]
    separator: str
    headless: bool
    decimal_comma: bool
    indexed: bool
    short: bool = False

    @property
    def all_names(self) -> list[str]:
        """A name for every column, including the index."""
        return [f"x{j}" for j in range(1, len(self.header) + 1)] if self.headless else self.header

    @property
    def names(self) -> list[str]:
        """The columns of the table."""
        return self.all_names[1:] if self.indexed else self.all_names

    def notes(self, name: str) -> tuple[str, ...]:
        """What the reader should know about how the file ``name`` is read."""
        if self.headless:
            return (f"{name} has no line of column names, so they are called x1 to x{len(self.header)}",)
        if self.indexed:
            return (f"{name}: the first column has no name and was taken as a row index",)
        return ()


def csv_form(path: Path) -> CsvForm:
    """Looks at the first two lines of a CSV file.

    Raises:
        InputError: the first line is blank, names a column twice, or leaves one without a name.
    """
    if not path.is_file():  # opening a pipe would block
        raise InputError(f"{path}: there is no such file")
    header, first, separator = _peek(path)
    short = separator in " \t" and len(first) == len(header) + 1 and not all(map(is_number, header))
    header = ["", *header] if short else header
    if len(header) > MOST_COLUMNS:
        raise InputError(f"{path}: has {len(header):,} columns, more than {MOST_COLUMNS:,}; keep those that matter")
    repeated = [name for name, count in Counter(header).items() if name and count > 1]
    headless = all(is_number(name) for name in header)
    if repeated and not headless:
        raise InputError(f"{path}: the column name {repeated[0]!r} appears more than once; rename one of them")
    blank = [j for j, name in enumerate(header, 1) if not name]
    if blank and blank != [1]:
        raise InputError(f"{path}: column {blank[0]} has no name; give it one")
    comma = separator == ";" and any("," in cell and is_number(cell.replace(",", ".")) for cell in first)
    return CsvForm(header, separator, headless, comma, bool(blank), short)


def open_text(path: Path):
    """Opens a text file; bytes that are not UTF-8 are replaced."""
    return path.open(encoding="utf-8-sig", newline="", errors="replace")


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def cells(lines: Iterable[str], separator: str) -> Iterator[list[str]]:
    """The rows of a text, whose ``separator`` may be a blank that stands for any number of blanks."""
    if separator == " ":
        lines = (" ".join(line.split()) for line in lines)
    return csv.reader(lines, delimiter=separator)


def _peek(path: Path) -> tuple[list[str], list[str], str]:
    """Column names, the first row's cells and the separator."""
    with open_text(path) as lines:
        text, second = lines.readline(), lines.readline()
    separator = _separator(text, second, path.suffix.lower())
    header = next(cells([text], separator), [])
    first = next(cells([second], separator), [])
    if "\ufffd" in text:
        raise InputError(f"{path}: is not UTF-8 text; save it again as UTF-8")
    if not any(name.strip() for name in header):
        raise InputError(f"{path}: its first line is blank; expected the column names")
    return [name.strip() for name in header], first, separator


def _separator(first: str, second: str, ending: str) -> str:
    if ending == ".tsv":
        return "\t"
    counts = {mark: first.count(mark) for mark in (",", ";", "\t", "|")}
    if any(counts.values()):
        return max(counts, key=counts.__getitem__)
    blanks = ending in BLANKS and 1 < len(first.split()) <= len(second.split()) <= len(first.split()) + 1
    return " " if blanks else ","
