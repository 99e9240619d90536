"""How the cells of a column are read and written: numbers, marks, dates and times, truth values, names."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from .moments import MOMENTS, in_utc, read_moments, write_moments
from .numbers import as_numbers
from .partial_cells import parsed
from .saved import Saved

OTHER = "(other)"  # the name of the last category if it stands for the rare ones
HOLDS_TEXT = (pl.String, pl.Categorical, pl.Enum)
SHORT = ("Int8", "Int16", "Int32", "UInt8", "UInt16", "UInt32")  # types of whole numbers that draws might exceed
MOST_DIGITS = 38  # of a decimal
MARKS = r"[\s,'\x{2019}_$€£¥%]"
SIGN = r"[$€£¥%]"
MARKED = r"^\s*'?[-+]?[$€£¥]?\s*[-+]?(\d{1,3}([,'\x{2019}_\s]\d{3})+|\d+)?(\.\d*)?([eE][-+]?\d+)?\s*[%$€£¥]?\s*$"
ZEROS = r"^[^\d.,]*0\d"  # with which codes begin, and which no number keeps
NEGATIVE = r"^\s*\(([^()]+)\)\s*$"  # as accountants write it
UNIT = r"\s+[^\d\s%$€£¥][^\d]*?|[°µ]?[^\W\d_]{2,}[^\d]*?|°[^\d]*?"  # one letter at a digit may be a code's
MOST = 0.5  # share of the cells that have what belongs to a column
ALIKE = 0.95  # share of the cells that have as many decimals as are written


@dataclass(frozen=True, kw_only=True)
class Marks(Saved):
    """How numbers with marks are written; any of them may have others than most when they are read, or none."""

    before: str = ""  # what stands before a number: a currency
    after: str = ""  # what stands behind it: per cent, a currency, a unit, with blanks as they are written
    thousands: str = ""  # what parts thousands
    decimals: int | None = None  # how many decimals are written; None for as many as a number has
    parentheses: bool = False  # whether negative numbers stand in parentheses
    # the currency, or per cent, that cells have if they have any; None for whichever, as in a model of before 1.0
    sign: str | None = None
    width: int = 0  # digits before the decimal mark, at least: zeros stand for those that a number lacks

    @classmethod
    def of(cls, there: pl.Series) -> Marks:
        """How most cells of text are written."""
        codes = there.str.contains(ZEROS).any()
        decimals = there.str.extract(r"\.(\d+)").str.len_chars().fill_null(0)
        alike = decimals.filter(~there.str.contains(r"\d[eE][-+]?\d")).value_counts(sort=True)
        signs = there.str.extract(f"({SIGN})").drop_nulls()
        sign = str(signs.mode().sort()[0]) if len(signs) else ""
        widths = there.str.extract(r"(\d+)").str.len_chars().drop_nulls().unique().to_list()
        return cls(
            width=widths[0] if codes and len(widths) == 1 else 0,
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
        whole, mark, rest = number.partition(".")
        written = f"{self.before}{whole.zfill(self.width)}{mark}{rest}{self.after}"
        if value >= 0:
            return written
        return f"({written})" if self.parentheses else f"-{written}"


def _common(found: pl.Series) -> str:
    """What most cells have."""
    shares = found.drop_nulls().value_counts(sort=True)
    return str(shares.item(0, 0)) if len(shares) and shares.item(0, 1) > MOST * len(found) else ""


@dataclass(frozen=True, kw_only=True)
class Reading(Saved):
    """How the cells of a column are read and written: decided at the fit, and used for every later row."""

    # what they hold: empty for numbers, ``Marked`` (numbers with thousands separators and such), ``Date`` (or
    # midnights of a time zone), ``Datetime``, ``Time``, ``Duration``, ``String``, ``Boolean``; ``Int64`` or
    # ``Float64`` for numbers that are names; ``Part`` for numbers of which some rows know only a part
    dtype: str = ""
    form: str = ""  # the format of text dates or times; empty if the cells are not text
    stored: tuple[str, ...] = ()  # the type of the table's column, as returned by :func:`stored_type`
    lenient: bool = False  # whether text that is no date is a missing value, as in some of the training rows
    # intervals in which numbers are always recorded as text: the ends, None for infinite ones, and the text of each
    recorded: tuple[tuple[float | None, float | None, str], ...] = ()
    # how numbers with marks are written; None in a model of before 1.0, which draws plain ones
    marks: Marks | None = None

    @cached_property
    def moment(self) -> bool:
        """Whether cells hold dates, times or durations."""
        return self.dtype in MOMENTS

    @cached_property
    def day(self) -> float:
        """How long a day is in encoded dates; 0 if they are none."""
        return {"Date": 1.0, "Datetime": 86_400.0}.get(self.dtype, 0.0)

    @property
    def takes_numbers(self) -> bool:
        """Whether text is refused, since numbers are expected."""
        return self.dtype == ""

    @property
    def contents(self) -> str:
        """What cells hold: ``number``, ``marked``, ``names``, ``truth``, ``values`` or one of ``MOMENTS``."""
        named = {"": "number", "Part": "number", "Marked": "marked", "String": "names", "Boolean": "truth"}
        return self.dtype if self.moment else named.get(self.dtype, "values")

    @property
    def zone(self) -> str | None:
        """The time zone of the table's column, if it has one."""
        return self.stored[2] if self.stored[:1] == ("Datetime",) and len(self.stored) > 2 else None

    def values(self, column: pl.Series) -> pl.Series:
        """The values of cells: numbers, null where there is none; or names as they are."""
        if not self.dtype and column.dtype.is_numeric():
            numbers = column.cast(pl.Float64)
            if math.isfinite(numbers.sum()):  # of nulls 0
                return numbers
        if column.dtype == pl.Null:
            column = column.cast(pl.Duration if self.dtype == "Duration" else pl.String)
        if self.dtype == "String" or (self.dtype == "Int64" and column.dtype.is_integer()):
            return column  # of which codes beyond 2^53 are not all float64 numbers
        if column.dtype in (pl.Categorical, pl.Enum):
            column = column.cast(pl.String)
        if self.dtype == "Part":
            return parsed(column)
        if self.dtype == "Boolean":
            text = as_text(column).str.to_lowercase()  # anything but these stays, and is unknown
            return text.replace({"1": "true", "1.0": "true", "0": "false", "0.0": "false"})
        if self.moment:
            return read_moments(column, self.dtype, self.form, self.zone)
        if self.dtype == "Marked":
            column = (self.marks or Marks()).numbers(column)
        numbers = pl.Series(column.name, as_numbers(column), nan_to_null=True)
        if self.dtype in ("Int64", "Float64") and column.dtype == pl.String:  # a name that is no number is unknown
            return numbers.set(numbers.is_null() & column.is_not_null(), np.inf)
        return numbers.cast(pl.Float32) if self.dtype and column.dtype == pl.Float32 else numbers

    @property
    def ends(self) -> tuple[float, float]:
        """Between which ends the column's type rounds numbers to those that it holds."""
        if not self.stored or self.stored[0] not in SHORT:
            return -np.inf, np.inf
        held = np.iinfo(self.stored[0].lower())
        return held.min - 0.5, held.max + 0.5

    def naming(self, names: Sequence[str]) -> Reading:
        """The reading of numbers that have names; unchanged if there are none."""
        if not names or self.dtype:
            return self
        whole = all(name.lstrip("-").isdigit() for name in names if name != OTHER)
        return replace(self, dtype="Int64" if whole else "Float64")

    def into(self, dtype: pl.DataType | None) -> Reading:
        """How values are written into holes of a column of some type."""
        return replace(self, recorded=(), form="" if dtype is not None and dtype.is_temporal() else self.form)

    def cells(self, name: str, values: pl.Series) -> pl.Series:
        """Values as they are written in the table."""
        if self.recorded:
            text, numbers = as_text(values).alias(name), values.cast(pl.Float64)
            for low, high, cell in self.recorded:
                inside = numbers.is_between(-np.inf if low is None else low, np.inf if high is None else high)
                text = text.set(inside.fill_null(False), cell)
            return text
        if self.dtype in MOMENTS:
            values = write_moments(values.cast(pl.Float64), self.dtype, self.form)
        elif self.dtype == "Boolean":
            values = values == "true"
        elif self.dtype in ("Int64", "Float64", "Marked") and values.dtype == pl.String:
            values = values.cast(pl.Int64 if self.dtype == "Int64" else pl.Float64, strict=False)
        if self.marks is not None:
            return self.marks.text(values.alias(name))
        return as_stored(values.alias(name), self.stored) if self.stored else values.alias(name)


def stored_type(dtype: pl.DataType) -> tuple[str, ...]:
    """A column's type in plain words, if it is not text, truth values or dates; else empty."""
    if isinstance(dtype, pl.Enum):
        return ("Enum", *dtype.categories.to_list())
    if isinstance(dtype, pl.Decimal):
        return ("Decimal", str(dtype.precision), str(dtype.scale))
    if isinstance(dtype, pl.Datetime | pl.Duration):
        zone = getattr(dtype, "time_zone", None)
        return (str(dtype.base_type()), dtype.time_unit, *([zone] if zone else []))
    name = str(dtype.base_type())
    return (name,) if dtype.is_numeric() or name == "Categorical" else ()


def as_stored(column: pl.Series, stored: tuple[str, ...]) -> pl.Series:
    """Drawn values in the type named by :func:`stored_type`; unchanged if it cannot hold them."""
    if not stored:
        return column
    name, *rest = stored
    if name == "Datetime" and len(rest) == 2:
        column = in_utc(column.cast(pl.Datetime("us")), rest[1]) if column.dtype == pl.Date else column
        column = column.dt.replace_time_zone("UTC").dt.convert_time_zone(rest[1])
    dtype: pl.DataType | type[pl.DataType] = getattr(pl, name)
    if name == "Enum":
        dtype = pl.Enum(rest)
    elif name == "Decimal":
        precision, scale = map(int, rest)
        dtype = pl.Decimal(_digits(column, precision, scale), scale)
    elif rest:
        dtype = pl.Datetime(*rest) if name == "Datetime" else pl.Duration(*rest)  # type: ignore[arg-type]
    try:
        cast = column.cast(dtype, strict=False)
    except pl.exceptions.PolarsError:  # e.g. decimals with more digits than allowed
        return column
    return cast if cast.null_count() == column.null_count() else column


def _digits(column: pl.Series, precision: int, scale: int) -> int:
    """Digits that a decimal needs for the values: a draw of 100.00 takes one more if all others were below."""
    largest: Any = column.abs().max() or 0
    return min(max(precision, len(f"{largest:.0f}") + scale), MOST_DIGITS)


def as_text(column: pl.Series) -> pl.Series:
    """The values as text; 2.0 and 2 are both ``2``."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
        if bool((column == column.round()).all()):
            column = column.cast(pl.Int64)
    return column.cast(pl.String)
