"""From the cells of a column to numbers and back: plain and marked numbers, dates, times and durations, categories."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from ...errors import InputError
from .saved import Saved

MOMENTS = ("Date", "Datetime", "Time", "Duration")  # encoded as days, and as seconds
OTHER = "(other)"  # the name of the last category if it stands for the rare ones
HOLDS_TEXT = (pl.String, pl.Categorical, pl.Enum)
MOST_DIGITS = 38  # of a decimal
MARKS = r"[\s,'_$€£¥%]"
MARKED = r"^\s*[-+]?[$€£¥]?\s*[-+]?(\d{1,3}([,'_ ]\d{3})+|\d+)?(\.\d*)?([eE][-+]?\d+)?\s*[%$€£¥]?\s*$"
DATES = ("%Y-%m-%d", "%Y/%m/%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y")
FORMS = {
    "Date": (*DATES, "%d-%b-%Y", "%d %b %Y"),
    "Datetime": tuple(
        f"{date}{between}{time}"
        for date, between in (("%Y-%m-%d", "T"), *((date, " ") for date in DATES))
        for time in ("%H:%M:%S%.f", "%H:%M")
    ),
    "Time": ("%H:%M:%S%.f", "%H:%M"),
}


@dataclass(frozen=True, kw_only=True)
class Reading(Saved):
    """How the cells of a column are read and written: decided at the fit, and used for every later row.

    Args:
        dtype: What they hold: empty for numbers, ``Marked`` (numbers with thousands separators and such), ``Date``,
            ``Datetime``, ``Time``, ``Duration``, ``String``, ``Boolean``; ``Int64`` or ``Float64`` for numbers that are
            names.
        form: The format of text dates or times, as for ``strptime``; empty if the cells are not text.
        stored: The type of the table's column, as returned by :func:`stored_type`.
    """

    dtype: str = ""
    form: str = ""
    stored: tuple[str, ...] = ()

    @property
    def moment(self) -> bool:
        """Whether cells hold dates, times or durations."""
        return self.dtype in MOMENTS

    @property
    def takes_numbers(self) -> bool:
        """Whether text is refused, since numbers are expected."""
        return self.dtype == ""

    @property
    def contents(self) -> str:
        """What cells hold: ``number``, ``marked``, ``names``, ``truth``, ``values`` or one of ``MOMENTS``."""
        named = {"": "number", "Marked": "marked", "String": "names", "Boolean": "truth"}
        return self.dtype if self.moment else named.get(self.dtype, "values")

    @property
    def zone(self) -> str | None:
        """The time zone of the table's column, if it has one."""
        return self.stored[2] if self.stored[:1] == ("Datetime",) and len(self.stored) > 2 else None

    def values(self, column: pl.Series) -> pl.Series:
        """The values of cells: numbers, null where there is none; or names as they are."""
        if self.dtype == "String" or (self.dtype in ("Int64", "Float64") and column.dtype == pl.String):
            return column.cast(pl.String) if column.dtype == pl.Null else column
        if self.dtype == "Boolean":
            return column == 1 if column.dtype.is_numeric() else column
        numbers = pl.Series(column.name, as_numbers(column, self.dtype, self.form), nan_to_null=True)
        return numbers.cast(pl.Float32) if self.dtype and column.dtype == pl.Float32 else numbers

    def naming(self, names: Sequence[str]) -> Reading:
        """The reading of numbers that have names; unchanged if there are none."""
        if not names or self.dtype:
            return self
        whole = all(name.lstrip("-").isdigit() for name in names if name != OTHER)
        return replace(self, dtype="Int64" if whole else "Float64")

    def cells(self, name: str, values: pl.Series) -> pl.Series:
        """Values as they are written in the table."""
        if self.moment:
            values = as_moments(values.cast(pl.Float64), self.dtype, self.form)
        elif self.dtype == "Boolean":
            values = values == "true"
        elif self.dtype in ("Int64", "Float64", "Marked") and values.dtype == pl.String:
            values = values.cast(pl.Int64 if self.dtype == "Int64" else pl.Float64, strict=False)
        return as_stored(values.alias(name), self.stored)


def is_text(column: pl.Series) -> bool:
    """Whether a column holds something other than numbers; an entirely empty one does not."""
    numeric = column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)
    return not numeric and column.null_count() < len(column)


def as_numbers(column: pl.Series, dtype: str = "", form: str = "") -> np.ndarray:
    """A column as float64: NaN if there is no finite number, days for dates, seconds for times and the like.

    Args:
        column: The values.
        dtype: Their type: empty for numbers, ``Marked``, or one of ``MOMENTS``.
        form: The format of text dates and times.
    """
    if dtype in MOMENTS:
        values = _moments(column, dtype, form)
    elif dtype == "Marked" and column.dtype == pl.String:
        plain = column.str.replace_all(MARKS, "").cast(pl.Float64, strict=False)
        values = plain.set(~column.str.contains(MARKED).fill_null(True), None)
    else:
        values = column.cast(pl.Float64, strict=False)
    numbers = values.cast(pl.Float64).to_numpy(allow_copy=True) if len(values) else np.empty(0)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _moments(column: pl.Series, dtype: str, form: str) -> pl.Series:
    if column.dtype == pl.String:
        column = _read_text(column, dtype, form)
    if dtype == "Date":
        return column.cast(pl.Date).to_physical()
    if dtype == "Time":
        return column.cast(pl.Time).to_physical().cast(pl.Float64) / 1e9
    unit = pl.Datetime("us") if dtype == "Datetime" else pl.Duration("us")
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone:
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return column.cast(unit).to_physical().cast(pl.Float64) / 1e6


def _read_text(column: pl.Series, dtype: str, form: str) -> pl.Series:
    """Text as dates or times: in its own format, or in the first other one that reads more of it, as after training on
    typed columns.

    Raises:
        InputError: durations are expected, which are not read from text.
    """
    if dtype not in FORMS:
        raise InputError(f"column {column.name!r} holds text, but durations are expected there")
    best = _parsed(column, dtype, form)
    for other in (*FORMS[dtype], *(DATES if dtype == "Datetime" else ())):  # a day alone is its first moment
        if best.null_count() == column.null_count():
            break
        with contextlib.suppress(pl.exceptions.PolarsError):
            found = _parsed(column, dtype, other)
            best = found if found.null_count() < best.null_count() else best
    return best


def _parsed(column: pl.Series, dtype: str, form: str) -> pl.Series:
    kind: type[pl.Date] | type[pl.Datetime] | type[pl.Time] = getattr(pl, dtype)
    return column.str.strptime(kind, form, strict=False)


def as_moments(values: pl.Series, dtype: str, form: str) -> pl.Series:
    """Converts the numbers of :func:`as_numbers` back."""
    values = values.fill_nan(None)
    if dtype == "Date":
        moments = values.round().cast(pl.Int32).cast(pl.Date)
    elif dtype == "Time":
        moments = (values.clip(0, 86_399.999_999) * 1e9).round().cast(pl.Int64).cast(pl.Time)
    else:
        physical = (values * 1e6).round().cast(pl.Int64)
        moments = physical.cast(pl.Datetime("us") if dtype == "Datetime" else pl.Duration("us"))
    return moments.dt.to_string(form) if form else moments


def moment_name(dtype: pl.DataType) -> str:
    """Which of ``MOMENTS`` a type holds."""
    return next(name for name in MOMENTS if dtype == getattr(pl, name))


def stored_type(dtype: pl.DataType) -> tuple[str, ...]:
    """A column's type in plain words, if samples would not get it by default; else empty."""
    if isinstance(dtype, pl.Enum):
        return ("Enum", *dtype.categories.to_list())
    if isinstance(dtype, pl.Decimal):
        return ("Decimal", str(dtype.precision), str(dtype.scale))
    if isinstance(dtype, pl.Datetime | pl.Duration):
        zone = getattr(dtype, "time_zone", None)
        return (str(dtype.base_type()), dtype.time_unit, *([zone] if zone else []))
    name = str(dtype.base_type())
    narrow = dtype.is_numeric() and name not in ("Int64", "Float64")
    return (name,) if narrow or name == "Categorical" else ()


def as_stored(column: pl.Series, stored: tuple[str, ...]) -> pl.Series:
    """Drawn values in the type named by :func:`stored_type`; unchanged if it cannot hold them."""
    if not stored:
        return column
    name, *rest = stored
    if name == "Datetime" and len(rest) == 2:
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


def moment_form(column: pl.Series) -> tuple[str, str] | None:
    """The kind of date or time that a text column holds, and its format; None if some of it is neither."""
    there = column.drop_nulls()
    if not len(there) or not bool(there.str.contains(r"^\s*\d.*[-/.: ].*\d\s*$").all()):
        return None
    for dtype, forms in FORMS.items():
        for form in forms:
            try:
                if not (_parsed(there[:1000], dtype, form).has_nulls() or _parsed(there, dtype, form).has_nulls()):
                    return dtype, form
            except pl.exceptions.PolarsError:
                continue
    return None


def as_text(column: pl.Series) -> pl.Series:
    """The values as text; 2.0 and 2 are both ``2``."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
        if bool((column == column.round()).all()):
            column = column.cast(pl.Int64)
    return column.cast(pl.String)
