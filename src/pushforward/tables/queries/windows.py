"""Windows of rows: by the date, or by a value, that a column holds."""

from __future__ import annotations

import numpy as np
import polars as pl

from ...errors import InputError
from ..schema.moments import find_form, read_moments

MOST = 30
PERIODS = ("1h", "1d", "1w", "1mo", "1q", "1y", "10y")


def windows_of(values: pl.Series, fewest: int) -> list[tuple[str, np.ndarray]]:
    """The windows' names, in order, and the positions of their rows; those with fewer rows are left out.

    Dates are divided by the shortest period that makes at most ``MOST`` windows; of anything else each value is one.

    Raises:
        InputError: there are more windows than that, or none with enough rows.
    """
    values = _as_times(values)
    if values.dtype == pl.Datetime:
        divided = [values.dt.truncate(period) for period in PERIODS]
        values = next((each for each in divided if each.n_unique() <= MOST), divided[-1])
        values = values.dt.date() if bool((values == values.dt.truncate("1d")).all()) else values
    if values.n_unique() > MOST:
        raise InputError(f"has {values.n_unique():,} values; expected dates, or at most {MOST}", "by", values.name)
    groups = pl.DataFrame({"by": values, "row": np.arange(len(values))}).drop_nulls().group_by("by").all().sort("by")
    found = [(str(name), np.array(rows)) for name, rows in groups.iter_rows() if len(rows) >= fewest]
    if not found:
        raise InputError(f"no window has {fewest} rows", "by", values.name)
    return found


def _as_times(values: pl.Series) -> pl.Series:
    """Dates, typed or as text, as date-times; anything else as it is."""
    form = find_form(values) if values.dtype == pl.String else None
    if form is not None and form.dtype in ("Date", "Datetime"):
        seconds = read_moments(values, form.dtype, form.form) * (86400 if form.dtype == "Date" else 1)
        return (seconds * 1e6).cast(pl.Int64).cast(pl.Datetime("us"))
    return values.cast(pl.Datetime("us")) if values.dtype == pl.Date else values
