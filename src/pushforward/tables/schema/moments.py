"""Dates, times and durations: from text in a recorded format, or from typed cells, to numbers and back."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl

from ...errors import ColumnError

MOMENTS = ("Date", "Datetime", "Time", "Duration")  # encoded as days, and as seconds
SLIPS = 0.2  # share of text that may be something else, in a column of dates
FIRST = 1000  # rows that refute most formats
CLOCKS = ("%H:%M:%S%.f", "%H:%M:%S,%3f", "%H:%M")
HALF_DAYS = ("%I:%M:%S %p", "%I:%M %p")
PLAIN = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y")  # which nobody reads otherwise
MONTH = "%Y-%m"
NAMED = ("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y")
SLASHES = ("%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%d-%m-%Y", "%m-%d-%Y")  # which somebody does
UTC = ("Z", " UTC", " GMT")
ISO = tuple(f"%Y-%m-%d{between}{clock}{zone}" for clock in CLOCKS for between in "T " for zone in (*UTC, "%:z"))
OFFSET = r"([+-]\d\d):?(\d\d)\s*$"  # of a zone's clock from UTC, in a cell or in a format
ALIKE = r"^\s*(?:\pL{3,9}\s)?\d.*[-/.: ].*(?:\d|Z|UTC|GMT|[AaPp][Mm])\s*$"  # what moments look like
SCORE = r"^\s*\d+:\d(?:\D|$)"  # of a game: minutes have two digits
FORMS = {
    "Date": (*PLAIN, *SLASHES, "%d.%m.%y", *NAMED, MONTH),
    "Datetime": (
        *(f"%Y-%m-%dT{clock}" for clock in CLOCKS),
        *(f"{date} {clock}" for date in (*PLAIN, *SLASHES) for clock in (*CLOCKS, *HALF_DAYS)),
        *ISO,
    ),
    "Time": (*CLOCKS, *HALF_DAYS),
}
OTHERS = {  # formats beside a column's own that cannot be misread
    "Date": (*PLAIN, *NAMED, MONTH),
    "Datetime": (*(form for form in FORMS["Datetime"] if not form.startswith(SLASHES)), *PLAIN),
    "Time": (*CLOCKS, *HALF_DAYS),
}


@dataclass(frozen=True)
class Form:
    """How the dates or times of a text column are written."""

    dtype: str  # ``Date``, ``Datetime`` or ``Time``
    form: str  # their format, as for ``strftime``
    slip: str | None = None  # some text that is none of them; None if there is none
    # a cell that another format would read as another day, as in 03/04/2020; None if there is none
    ambiguous: str | None = None
    offsets: tuple[str, ...] = ()  # of its clocks from UTC, if they differ


def find_form(column: pl.Series) -> Form | None:
    """How the dates or times of a text column are written; None if it holds something else."""
    there = column.drop_nulls()
    if not len(there) or (there.str.contains(ALIKE) & ~there.str.contains(SCORE)).mean() < 1 - SLIPS:  # type: ignore[operator]
        return None
    found = min(_candidates(there), key=lambda candidate: candidate[2].null_count(), default=None)
    if found is None or (found[1] == MONTH and _are_seasons(there)):
        return None
    dtype, form, read = found
    slips = there.filter(_read_text(there, dtype, form, None).is_null())
    slip, misread = slips[0] if len(slips) else None, _misread(there, read, dtype, form)
    offsets = there.filter(read.is_not_null()).str.extract(OFFSET, 0) if "%:z" in form else there.clear()
    first, *others = sorted(offsets.drop_nulls().str.strip_chars().unique()) or [""]
    if first and not others:
        form = form.replace("%:z", first)
    return Form(dtype, _as_written(there, read, form), slip, misread, (first, *others) if others else ())


def _candidates(there: pl.Series) -> Iterator[tuple[str, str, pl.Series]]:
    """The formats that read all but a few cells, with what they read."""
    for dtype, forms in FORMS.items():
        for form in forms:
            with contextlib.suppress(pl.exceptions.PolarsError):
                if _parsed(there[:FIRST], dtype, form).null_count() <= SLIPS * min(FIRST, len(there)):
                    read = _parsed(there, dtype, form)
                    if read.null_count() <= SLIPS * len(there):
                        yield dtype, form, read


def _are_seasons(there: pl.Series) -> bool:
    """Whether what could be months are two years in a row, as in 2010-11."""
    first, second = (there.str.extract(r"^\s*\d\d(\d\d)-(\d\d)\s*$", part).cast(pl.Int64) for part in (1, 2))
    return ((first + 1) % 100 == second).sum() >= (1 - SLIPS) * len(there)


def _as_written(there: pl.Series, read: pl.Series, form: str) -> str:
    """The format with days, months and hours as they are padded."""
    known, forms = read.is_not_null(), (form, *(re.sub(f"%([{padded}])", r"%-\1", form) for padded in ("mdHI", "HI")))
    same = (each for each in forms if (_text(read.filter(known), each) == there.filter(known)).all())
    return next(same, form)


def _misread(there: pl.Series, read: pl.Series, dtype: str, form: str) -> str | None:
    """A cell that would be another day with day and month exchanged, if all cells could be read so."""
    exchanged = form.replace("%d", "%%").replace("%m", "%d").replace("%%", "%m")
    if not form.startswith(SLASHES):
        return None
    other = _parsed(there, dtype, exchanged)
    differs = (other != read).fill_null(False)
    return there.filter(differs)[0] if other.null_count() <= read.null_count() and differs.any() else None


def read_moments(column: pl.Series, dtype: str, form: str = "", zone: str | None = None) -> pl.Series:
    """Cells as days for dates, and as seconds for times and durations, whose names are in ``MOMENTS``.

    Text is read in the column's own format, if the training rows had one, and where that fails in one that cannot be
    misread. A time without a zone is read in that of the table's column, if it has one, and so is the day of a time.
    """
    if column.dtype.is_numeric() and column.null_count() < len(column):
        raise ColumnError(f"column {column.name!r} holds numbers, but {dtype.lower()}s are expected there")
    clock = zone or _clock(form)
    if column.dtype == pl.String:
        column = _read_text(column, "Datetime" if zone else dtype, form, clock)
    elif (dtype == "Datetime" or zone) and column.dtype in (pl.Date, pl.Datetime):
        column = in_utc(column.cast(pl.Datetime("us")) if column.dtype == pl.Date else column, clock)
    if dtype == "Date" and zone:
        column = column.dt.replace_time_zone("UTC").dt.convert_time_zone(zone).dt.date()
    if dtype == "Date":
        return column.cast(pl.Date).to_physical().cast(pl.Float64)
    if dtype == "Time":
        return _seconds(column.cast(pl.Time), 1e9)
    unit = pl.Datetime("us") if dtype == "Datetime" else pl.Duration("us")
    return _seconds(column.cast(unit), 1e6)


def _seconds(column: pl.Series, ticks: float) -> pl.Series:
    """Seconds, of so many ticks each. Polars would multiply by the inverse, and a sixth of a day's whole seconds would
    not stay whole."""
    return pl.Series(column.name, column.to_physical().cast(pl.Float64).to_numpy() / ticks, nan_to_null=True)


def write_moments(values: pl.Series, dtype: str, form: str) -> pl.Series:
    """Converts the numbers of :func:`read_moments` back."""
    values = values.fill_nan(None)
    if dtype == "Date":
        moments = values.round().cast(pl.Int32).cast(pl.Date)
    elif dtype == "Time":
        moments = (values.clip(0, 86_399.999_999) * 1e9).round().cast(pl.Int64).cast(pl.Time)
    else:
        physical = (values * 1e6).round().cast(pl.Int64)
        moments = physical.cast(pl.Datetime("us") if dtype == "Datetime" else pl.Duration("us"))
    return _text(moments, form) if form else moments


def moment_name(dtype: pl.DataType) -> str:
    """Which of ``MOMENTS`` a type holds."""
    return next(name for name in MOMENTS if dtype == getattr(pl, name))


def _read_text(column: pl.Series, dtype: str, form: str, clock: str | timedelta | None = None) -> pl.Series:
    if dtype not in FORMS:
        raise ColumnError(f"column {column.name!r} holds text, but durations are expected there")
    forms = [*([form] if form else []), *OTHERS[dtype]]
    found = _parsed(column, dtype, forms[0], clock)
    for other in forms[1:]:
        if found.null_count() == column.null_count():
            break
        with contextlib.suppress(pl.exceptions.PolarsError):
            found = found.fill_null(_parsed(column, dtype, other, clock))
    return found


def _parsed(column: pl.Series, dtype: str, form: str, clock: str | timedelta | None = None) -> pl.Series:
    """Text as moments, of UTC if its clock is known: that of a zone, or how far it is ahead; null if written otherwise,
    or if two digits were taken for a year."""
    kind: type[pl.Date] | type[pl.Datetime] | type[pl.Time] = getattr(pl, dtype)
    if form == MONTH:
        column, form = column.str.extract(r"^\s*((?:1[5-9]|2[01])\d\d-\d\d?)\s*$") + "-1", f"{MONTH}-%d"
    read = column.str.strptime(kind, form.replace("%-", "%"), strict=False)
    if isinstance(read.dtype, pl.Datetime):
        own = _clock(form)
        read = in_utc(read, clock if own is None else own)
    if "%y" in form:
        return read.set(~column.str.contains(r"\D\d\d(?:\s|$)").fill_null(False), None)  # which versions have not
    return read.set((read.dt.year() < 1000).fill_null(False), None) if "%Y" in form else read


def _text(moments: pl.Series, form: str) -> pl.Series:
    if clock := _clock(form):
        moments = moments + clock
    return (moments.dt.replace_time_zone("UTC") if "%:z" in form else moments).dt.to_string(form)


def _clock(form: str) -> timedelta | None:
    """By how much the clock of a format's moments is ahead of UTC, if the format says it."""
    if form.endswith(UTC):
        return timedelta()
    found = re.search(OFFSET, form)
    return timedelta(hours=int(found[1]), minutes=int(found[1][0] + found[2])) if found else None


def clock_array(column: pl.Series) -> np.ndarray:
    """A column as an array; times by the clock of their zone, of which NumPy knows none."""
    return (column.dt.replace_time_zone(None) if getattr(column.dtype, "time_zone", None) else column).to_numpy()


def in_utc(column: pl.Series, clock: str | timedelta | None = None) -> pl.Series:
    """Moments of a time zone, or else of this clock, as those of UTC without one."""
    own = getattr(column.dtype, "time_zone", None)
    if isinstance(clock, timedelta):
        return in_utc(column) if own else column - clock
    if clock and not own:
        there, later = (
            each.dt.replace_time_zone(clock, ambiguous="earliest", non_existent="null")
            for each in (column, column.dt.offset_by("1h"))
        )
        column = there.fill_null(later)  # where the clock skips an hour
    return column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if clock or own else column
