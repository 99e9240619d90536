"""Dates and times: read by the format recorded at the fit, written as they came, and noted where they are ambiguous."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from schemas import schema_of

import pushforward as pf
from pushforward.errors import InputError
from pushforward.serving.columns import RowType
from pushforward.tables.schema.kinds.grid import Months
from pushforward.tables.schema.moments import find_form, read_moments, write_moments
from pushforward.tables.schema.reading import as_stored

RNG = np.random.default_rng(0)
ROWS = 200
MOMENTS = [dt.datetime(2019, 1, 1) + dt.timedelta(seconds=int(s)) for s in RNG.integers(0, 10**8, ROWS)]
QUICK: dict[str, Any] = {"flow": "maf", "layers": 1, "hidden": (8,), "steps": 5, "queries": False, "random_state": 0}


def fitted(**columns: Any) -> pf.TableDensity:
    return pf.TableDensity(**QUICK).fit(pl.DataFrame({**columns, "x": RNG.normal(size=ROWS)}))


def scored(model: pf.TableDensity, **columns: Any) -> np.ndarray:
    return model.score_samples({**columns, "x": [0.0] * len(next(iter(columns.values())))})


@pytest.mark.parametrize(
    "form",
    ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%-m/%-d/%Y", "%-d/%-m/%Y", "%m/%d/%y", "%d %b %Y", "%Y-%m-%dT%H:%M:%S",
     "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S+00:00", "%-m/%-d/%Y %-H:%M", "%H:%M:%S", "%-d %B %Y", "%B %-d, %Y",
     "%d-%m-%Y", "%m-%d-%Y %H:%M", "%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%dT%H:%M:%S+02:00", "%Y-%m-%d %H:%M-0330",
     "%b %-d, %Y", "%-d-%b-%y", "%-I:%M:%S %p", "%m/%d/%Y %-I:%M %p", "%-m/%-d/%Y %-I:%M:%S %p"],
)  # fmt: skip
def test_text_is_read_and_written_in_its_own_format(form: str) -> None:
    text = pl.Series("t", [moment.strftime(form) for moment in MOMENTS])
    found = find_form(text)
    assert found is not None
    assert (found.slip, found.ambiguous) == (None, None)
    numbers = read_moments(text, found.dtype, found.form)
    assert write_moments(numbers, found.dtype, found.form).to_list() == text.to_list()


def test_versions_are_no_dates_and_dates_in_another_format_are_no_slips() -> None:
    assert find_form(pl.Series([f"1.{k % 5}.{k % 7}" for k in range(ROWS)])) is None
    found = find_form(pl.Series([*(f"{moment:%Y-%m-%d %H:%M}" for moment in MOMENTS), "2020-03-04"]))
    assert (found.form, found.slip) == ("%Y-%m-%d %H:%M", None)


def test_milliseconds_may_stand_behind_a_comma_and_scores_of_games_are_no_times() -> None:
    text = pl.Series([f"{moment:%Y-%m-%d %H:%M:%S},{k:03}" for k, moment in enumerate(MOMENTS)])
    found = find_form(text)
    assert found is not None
    assert found.slip is None
    assert write_moments(read_moments(text, found.dtype, found.form), found.dtype, found.form).equals(text)
    assert find_form(pl.Series([f"{k % 13}:{k % 11}" for k in range(ROWS)])) is None
    assert read_moments(pl.Series(["2:1"]), "Time", "%H:%M").to_list() == [7260.0]  # of models that took them for such


def test_a_time_that_the_clock_skips_is_an_hour_later() -> None:
    days = pl.Series([dt.date(2018, 11, 3), dt.date(2018, 11, 4)])
    found = as_stored(days, ("Datetime", "us", "America/Sao_Paulo"))
    assert found.dt.to_string("%d %H:%M").to_list() == ["03 00:00", "04 01:00"]


def test_draws_are_written_in_the_format_that_came() -> None:
    model = fitted(day=[moment.strftime("%-m/%-d/%Y") for moment in MOMENTS])
    assert not model.sample(200)["day"].str.contains(r"(^|/)0").any()


def test_times_with_a_zone_stay_moments_and_naive_ones_are_read_in_it() -> None:
    moments = pl.Series("t", MOMENTS).dt.replace_time_zone("Europe/Berlin", ambiguous="earliest", non_existent="null")
    model = fitted(t=moments)
    assert model.sample(5)["t"].dtype == moments.dtype
    aware = dt.datetime(2020, 7, 1, 10, tzinfo=dt.UTC)
    assert scored(model, t=[aware]) == scored(model, t=[dt.datetime(2020, 7, 1, 12)])
    for text in ("2020-07-01T10:00:00Z", "2020-07-01T12:00:00+02:00", "2020-07-01T10:00Z", "2020-07-01 12:00"):
        assert scored(model, t=[text]) == scored(model, t=[aware]), text
    iso = fitted(t=[moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in MOMENTS])
    assert iso.schema.names == ["t", "x"]
    assert scored(iso, t=["2020-07-01T10:00:00Z"]) == scored(iso, t=["2020-07-01T12:00:00+02:00"])


def test_draws_have_the_offset_that_all_rows_had_and_are_of_utc_where_these_differ() -> None:
    model = fitted(t=[moment.strftime("%Y-%m-%dT%H:%M:%S+02:00") for moment in MOMENTS])
    assert model.sample(200)["t"].str.ends_with("+02:00").all()
    asked = scored(model, t=["2020-07-01T12:00:00+02:00"])
    for other in ("2020-07-01T10:00:00Z", "2020-07-01T06:30:00-03:30", "2020-07-01 12:00"):
        assert scored(model, t=[other]) == asked, other
    assert scored(model, t=[dt.datetime(2020, 7, 1, 12)]) == asked
    assert model.notes_ == []
    mixed = fitted(t=[f"{moment:%Y-%m-%dT%H:%M:%S}+0{k % 2 + 1}:00" for k, moment in enumerate(MOMENTS)])
    assert mixed.notes_ == ["t: its clocks differ from UTC by +01:00, +02:00; samples are of UTC, +00:00"]
    assert mixed.sample(200)["t"].str.ends_with("+00:00").all()


def test_midnights_of_a_time_zone_beside_times_of_its_clock_come_before_them() -> None:
    rng = np.random.default_rng(0)
    days = pl.Series(rng.permutation(700)[:ROWS] + 17_000).cast(pl.Int32).cast(pl.Date).cast(pl.Datetime("us"))
    midnights = days.dt.replace_time_zone("Europe/Berlin")
    later = midnights + pl.Series((rng.gamma(2, size=ROWS) * 86_400e6).astype(int)).cast(pl.Duration("us"))
    model = fitted(t=midnights, u=later)
    assert "'t' <= 'u'" in [str(each) for each in model.schema.relations]


def test_midnights_of_a_time_zone_are_days_whatever_the_season() -> None:
    days = pl.Series("t", np.random.default_rng(3).permutation(700)[:ROWS] + 19_000).cast(pl.Int32).cast(pl.Date)
    midnights = days.cast(pl.Datetime("ms")).dt.replace_time_zone("Europe/Berlin")
    model = fitted(t=midnights, weekday=days.dt.weekday())
    drawn = model.sample(200, random_state=0)
    assert drawn["t"].dtype == midnights.dtype
    assert (drawn["t"].dt.hour() == 0).all()
    assert drawn["t"].dt.weekday().equals(drawn["weekday"].cast(pl.Int8), check_names=False)
    same = [midnights, midnights.dt.convert_time_zone("UTC"), days, days.dt.to_string("%Y-%m-%d 00:00")]
    found = [scored(model, t=each[:5], weekday=days[:5].dt.weekday()) for each in same]
    assert np.isfinite(found[0]).all()
    assert all(np.array_equal(each, found[0]) for each in found)
    (cell,) = (cell for cell in RowType(model.schema).cells.values() if cell.contents == "Date")
    assert cell.series([cell._moment("2023-07-01")]).to_list() == [
        dt.datetime(2023, 7, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    ]


def test_a_batch_is_read_by_the_recorded_format_whatever_else_it_holds() -> None:
    model = fitted(day=[moment.strftime("%m/%d/%Y") for moment in MOMENTS])
    assert scored(model, day=["03/04/2020"])[0] == scored(model, day=["03/04/2020", "2020-04-25"])[0]
    with pytest.raises(InputError, match="25/04/2020"):
        scored(model, day=["03/04/2020", "25/04/2020"])


MONTHS = [dt.date(2001 + k // 12, k % 12 + 1, 1) for k in RNG.integers(0, 150, ROWS)]
LAST = pl.Series(MONTHS).dt.month_end()


@pytest.mark.parametrize(
    "months",
    [
        pl.Series(MONTHS),
        pl.Series(MONTHS).cast(pl.Datetime("ns")),
        LAST,
        pl.Series(MONTHS).dt.to_string("%Y-%m"),
        LAST.dt.to_string("%d.%m.%Y"),
    ],
    ids=["first", "datetimes", "last", "text", "last as text"],
)
def test_dates_of_months_stay_such_and_tell_the_year(months: pl.Series) -> None:
    model = fitted(month=months, year=[day.year for day in MONTHS])
    drawn = model.sample(100, random_state=0)
    assert drawn["month"].dtype == months.dtype
    (month,) = (column for column in model.schema.columns if column.name == "month")
    found, table = month.read(drawn["month"]), month.read(months)
    assert set(month.kind.snap(found)) == set(found)
    assert month.written(table).equals(months.rename("month"))
    days = pl.Series(found / month.reading.day).cast(pl.Int32).cast(pl.Date)
    ends = days.dt.month_end() if month.kind.last else days.dt.month_start()
    assert days.equals(ends)
    assert days.dt.year().equals(drawn["year"].cast(pl.Int32), check_names=False)
    assert np.isfinite(scored(model, month=months[:3], year=[day.year for day in MONTHS[:3]])).all()


def test_weekdays_of_months_follow() -> None:
    drawn = fitted(month=MONTHS, day=[f"{day:%A}" for day in MONTHS]).sample(50, random_state=0)
    assert set(drawn["month"].dt.day()) == {1}
    assert drawn["month"].dt.to_string("%A").equals(drawn["day"], check_names=False)


def test_dates_of_other_days_are_days() -> None:
    (month, *_) = fitted(day=[*MONTHS[:-1], dt.date(2010, 5, 2)]).schema.columns
    assert isinstance(month.kind, Months) is False


def test_a_number_beyond_all_dates_is_nearest_to_the_last_month() -> None:
    months = [dt.date(2010 + k // 12 % 5, 1 + k % 12, 1) for k in range(ROWS)]
    (month, *_) = schema_of({"month": months, "x": RNG.normal(size=ROWS)}).columns
    assert isinstance(month.kind, Months)
    first, last, middle = month.kind.snap(np.array([-1e300, 1e300, 14_611.2])).tolist()
    assert middle == 14_610  # the first of January, 2010
    assert write_moments(pl.Series([first, last]), "Date", "").dt.day().to_list() == [1, 1]


def test_ambiguous_dates_are_noted() -> None:
    for mark, first in (("/", "month"), ("-", "day")):
        days = [f"{1 + k % 12:02}{mark}{1 + k % 11:02}{mark}2020" for k in range(ROWS)]
        notes = fitted(day=days).notes_
        assert any(f"'02{mark}02{mark}2020'" not in note and f"{first} first" in note for note in notes)
    clear = fitted(day=[moment.strftime("%m/%d/%Y") for moment in MOMENTS])
    assert not any("first" in note for note in clear.notes_)


def test_a_column_of_dates_stays_one_if_every_tenth_cell_is_unreadable() -> None:
    days = ["n.d." if k % 10 == 0 else moment.strftime("%Y-%m-%d") for k, moment in enumerate(MOMENTS)]
    model = fitted(day=days)
    assert model.schema.columns[0].describe().kind.startswith("date, 10")
    assert any("'n.d.' and the like are missing values" in note for note in model.notes_)


def test_a_few_slips_are_missing_values_and_noted() -> None:
    days = [moment.strftime("%Y-%m-%d") for moment in MOMENTS]
    days[3], days[50] = "unknown", "2020-13-45"
    model = fitted(day=days)
    assert model.schema.columns[0].describe().kind.startswith("date, 1.0% missing")
    assert any("'unknown' and the like are missing values" in note for note in model.notes_)
    assert np.isfinite(scored(model, day=["2020-05-05", "soon"])).all()
    with pytest.raises(InputError, match="'unknown'"):
        pf.TableDensity(**QUICK, strict=True).fit({"day": days, "x": RNG.normal(size=ROWS)})
