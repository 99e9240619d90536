"""Numbers that are written with marks: a currency, thousands, per cent, a unit, and parentheses for a minus."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from .saved import Saved

MARKS = r"[\s,'\x{2019}_$€£¥%]"
SIGN = r"[$€£¥%]"
MARKED = r"^\s*[-+]?[$€£¥]?\s*[-+]?(\d{1,3}([,'\x{2019}_\s]\d{3})+|\d+)?(\.\d*)?([eE][-+]?\d+)?\s*[%$€£¥]?\s*$"
ZEROS = r"^[^\d.,]*0\d"  # with which codes begin, and which no number keeps
NEGATIVE = r"^\s*\(([^()]+)\)\s*$"  # as accountants write it
UNIT = r"\s+[^\d\s%$€£¥][^\d]*?|[°µ]?[^\W\d_]{2,}[^\d]*?|°[^\d]*?"  # one letter at a digit may be a code's
MOST = 0.5  # share of the cells that have what belongs to a column
ALIKE = 0.95  # share of the cells that have as many decimals as are written


@dataclass(frozen=True, kw_only=True)
class Marks(Saved):
    """How numbers with marks are written; any of them may have others than most when they are read, or none.

    Args:
        before: What stands before a number: a currency.
        after: What stands behind it: per cent, a currency, a unit, with blanks as they are written.
        thousands: What parts thousands.
        decimals: How many decimals are written; None for as many as a number has.
        parentheses: Whether negative numbers stand in parentheses.
        sign: The currency, or per cent, that cells have if they have any; None for whichever, as in a model of before
            1.0.
    """

    before: str = ""
    after: str = ""
    thousands: str = ""
    decimals: int | None = None
    parentheses: bool = False
    sign: str | None = None

    @classmethod
    def of(cls, there: pl.Series) -> Marks:
        """How most cells of text are written."""
        codes = there.str.contains(ZEROS).any()
        decimals = there.str.extract(r"\.(\d+)").str.len_chars().fill_null(0)
        alike = decimals.filter(~there.str.contains(r"\d[eE][-+]?\d")).value_counts(sort=True)
        signs = there.str.extract(f"({SIGN})").drop_nulls()
        sign = str(signs.mode().sort()[0]) if len(signs) else ""
        return cls(
            sign="" if sign == "%" and len(signs) <= MOST * len(there) else sign,  # .12 and 12% are not in one unit
            before=_common(there.str.extract(r"^\s*[-+(]?([$€£¥]\s*)")),
            after=_common(there.str.extract(rf"\d(\s*[%$€£¥]{'' if codes else f'|{UNIT}'})\)?\s*$")),
            thousands=next(iter(there.str.extract(r"\d([,'\x{2019}_\s])\d{3}").drop_nulls()), ""),
            decimals=alike.item(0, 0) if len(alike) and alike.item(0, 1) > ALIKE * len(there) else None,
            parentheses=bool(there.str.contains(NEGATIVE).any()),
        )

    @property
    def unit(self) -> str:
        """What numbers are in, in words; empty for per cent and currencies."""
        return self.after.strip(" %$€£¥")

    def numbers(self, column: pl.Series) -> pl.Series:
        """The numbers of a column, null where there is none."""
        if column.dtype != pl.String:
            return column.cast(pl.Float64, strict=False)
        if self.unit:
            column = column.str.replace(rf"\s*{re.escape(self.unit.removesuffix('s'))}s?\s*(\)?)\s*$", "$1")
        column = column.str.replace(NEGATIVE, "-$1").str.replace("\u2212", "-")
        plain = column.str.replace_all(MARKS, "").cast(pl.Float64, strict=False)
        odd = ~column.str.contains(MARKED)
        if self.sign is not None:
            odd |= column.str.contains(SIGN.replace(self.sign, ""))
        return plain.set(odd.fill_null(False), None)

    def text(self, values: pl.Series) -> pl.Series:
        """Numbers as they are written."""
        return pl.Series(values.name, [None if x is None else self._text(x) for x in values], dtype=pl.String)

    def _text(self, value: float) -> str:
        digits = ".15g" if self.decimals is None else f".{self.decimals}f"
        number = f"{abs(value):{',' if self.thousands else ''}{digits}}".replace(",", self.thousands)
        written = f"{self.before}{number}{self.after}"
        if value >= 0:
            return written
        return f"({written})" if self.parentheses else f"-{written}"


def _common(found: pl.Series) -> str:
    """What most cells have."""
    shares = found.drop_nulls().value_counts(sort=True)
    return str(shares.item(0, 0)) if len(shares) and shares.item(0, 1) > MOST * len(found) else ""
