r"""The decimal mark of a file: judged by all its rows, and turned into a point for everything behind the reader.

``5,346`` is 5.346 in one half of the world and 5346 in the other. Cells that can be read in one way only decide:
``1,5``, ``0,346`` and ``1.234,50`` have a decimal comma, ``1.5`` and ``1,234.50`` a point. If a column has such cells,
they decide about it, and otherwise those of the whole file. If there is none at all, the separator does: semicolons
separate columns where commas are decimal marks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

OPEN, CLOSE = r"^\s*[-+]?[$€£¥]?\s*[-+]?(?:", r")(?:[eE][-+]?\d+)?\s*[%$€£¥]?\s*$"  # what may stand around a number
PARTS = r"\s'\x{2019}_"  # what parts thousands wherever the decimal mark is a comma or a point
LIKE = rf"{OPEN}[\d.,{PARTS}]*\d[\d.,{PARTS}]*{CLOSE}"  # digits and marks
COMMAS = rf"{OPEN}[\d.{PARTS}]*,\d[\d.,]*{CLOSE}"
EITHER = rf"{OPEN}[1-9]\d{{0,2}},\d{{3}}{CLOSE}"  # thousands, or three decimals
WITH_COMMA = rf"{OPEN}(?:\d{{1,3}}(?:[.{PARTS}]\d{{3}})+|\d*)(?:,\d*)?{CLOSE}"


def _sure(mark: str, other: str) -> str:
    """Numbers that can only have this decimal mark."""
    return (
        rf"{OPEN}\d*{mark}(?:\d{{1,2}}|\d{{4,}})"  # not three digits behind it
        rf"|(?:0+|\d{{4,}}){mark}\d+"  # not one to three before it, beginning with another digit than 0
        rf"|\d{{1,3}}(?:[{other}{PARTS}]\d{{3}})+{mark}\d*"  # another mark parts thousands
        rf"|\d{{1,3}}(?:[{other}]\d{{3}}){{2,}}{CLOSE}"
    )


SURE = {",": _sure(",", "."), ".": _sure(r"\.", ",")}


@dataclass(frozen=True)
class DecimalMarks:
    """How the numbers of a file are written.

    Args:
        file: The mark of the file; empty if its cells have several, or none.
        columns: The mark of each column of numbers in which commas occur, or in which points may part thousands.
        notes: What was decided.
    """

    file: str
    columns: Mapping[str, str]
    notes: tuple[str, ...] = ()

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
    """Judges a file by all its cells.

    Args:
        rows: Columns of text.
        names: Those that hold numbers, most of them at least.
        separator: What separates the columns of the file.
        assumed: The mark to go by if no cell decides; empty for the separator's.
        file: Its name, for notes.
    """
    sure = {mark: _counts(rows, names, pattern) for mark, pattern in SURE.items()}
    told = [mark for mark, counts in sure.items() if any(counts.values())]
    rest = told[0] if len(told) == 1 else assumed or ("," if separator == ";" else ".")
    marks = {}
    for name in names:
        own = [mark for mark in SURE if sure[mark][name]]
        marks[name] = own[0] if len(own) == 1 else "." if own else rest
    notes = []
    example = _example(rows, [name for name in names if marks[name] == ","], COMMAS)
    if example:
        notes.append(f"{file}: numbers have a decimal comma, as in column {example[0]!r}: {example[1]}")
    if not told and (example := example or _example(rows, names, EITHER)):
        what = "the comma is taken for a decimal mark" if rest == "," else "the comma is taken to part thousands"
        notes.append(f"{file}: no cell tells how {example[1]} in column {example[0]!r} is meant; {what}")
    return DecimalMarks(told[0] if len(told) == 1 else "" if told else rest, marks, tuple(notes[-1:]))


def _counts(rows: pl.LazyFrame, names: list[str], pattern: str) -> dict[str, int]:
    counted = rows.select(pl.col(name).str.contains(pattern).sum() for name in names)
    return counted.collect(engine="streaming").row(0, named=True)


def _example(rows: pl.LazyFrame, names: list[str], pattern: str) -> tuple[str, str] | None:
    """A column and a cell of it that fits a pattern."""
    for name in names:
        found = rows.select(name).filter(pl.col(name).str.contains(pattern)).head(1).collect()
        if found.height:
            return name, found.item().strip()
    return None
