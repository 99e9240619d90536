"""Parts of dates, which follow from them, and weekdays that matter."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from schemas import prepared_schema

import pushforward as pf

NAMES = np.array(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])


def births(n: int, seed: int = 0) -> pl.DataFrame:
    """Births by day, fewer on Sundays, with what follows from the date."""
    rng = np.random.default_rng(seed)
    days = rng.choice(365 * 8, n)
    date = pl.Series("date", days + 3652).cast(pl.Int32).cast(pl.Date)
    weekday = date.dt.weekday().to_numpy() - 1
    return pl.DataFrame(
        {
            "date": date,
            "births": (200 + days / 100 - 40 * (weekday == 6) + 8 * rng.normal(size=n)).round().astype(int),
            "year": date.dt.year(),
            "month": date.dt.month(),
            "day": date.dt.day(),
            "wday": NAMES[weekday],
            "weekend": weekday >= 5,
        }
    )


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    return pf.TableDensity("maf", layers=1, hidden=(32,), steps=120, lr=0.01).fit(births(900))


def test_parts_follow_from_the_date_and_the_weekday_stays(model):
    assert model.schema.names == ["date", "births", "wday"]
    assert {relation.column.name: relation.part for relation in model.schema.dependencies} == {
        "year": "year",
        "month": "month",
        "day": "day of the month",
        "weekend": "weekday",
    }


def test_draws_agree_with_their_dates_and_know_the_weekday(model):
    drawn = model.sample(3000, random_state=0)
    date = drawn["date"]
    assert (drawn["month"] == date.dt.month()).all()
    assert (drawn["day"] == date.dt.day()).all()
    assert (drawn["year"] == date.dt.year()).all()
    assert (drawn["wday"].to_numpy() == NAMES[date.dt.weekday().to_numpy() - 1]).all()
    assert (drawn["weekend"].to_numpy() == (date.dt.weekday().to_numpy() > 5)).all()
    sunday = (drawn["wday"] == "Sun").to_numpy()
    counts = drawn["births"].to_numpy()
    assert counts[~sunday].mean() - counts[sunday].mean() > 25
    assert abs(sunday.mean() - 1 / 7) < 0.03


def test_rows_whose_parts_are_not_their_dates_are_impossible(model):
    fresh = births(40, seed=3)
    assert np.isfinite(model.score_samples(fresh)).all()
    wrong = fresh.with_columns(
        wday=pl.Series(np.roll(fresh["wday"].to_numpy(), 0)).replace_strict(
            dict(zip(NAMES, np.roll(NAMES, 1), strict=True))
        )
    )
    for bad in (wrong, fresh.with_columns(month=pl.col("month") % 12 + 1)):
        assert np.isneginf(model.score_samples(bad)).all()


def test_the_weekday_is_known_from_the_date(model):
    fresh = births(40, seed=4)
    without = fresh.drop("wday", "month")
    np.testing.assert_allclose(model.score_samples(without), model.score_samples(fresh), rtol=1e-6)
    date = dt.date(1983, 5, 1)  # a Sunday
    drawn = model.sample(50, given={"date": date}, random_state=0)
    assert (drawn["date"] == date).all()
    assert (drawn["wday"] == "Sun").all()


def test_a_given_date_gives_its_weekday(model):
    fresh = births(20, seed=5)
    by_date = model.score_samples(fresh.select("date"))
    given = model.score_samples(fresh.select("date", "births", "wday"), given=["date"])
    np.testing.assert_allclose(given, model.score_samples(fresh.select("date", "births")) - by_date, atol=1e-6)
    np.testing.assert_allclose(model.score_samples(fresh.drop("wday"), given=["date"]), given, atol=1e-6)
    rest, days = ["date", "births"], [fresh.with_columns(wday=pl.lit(name)) for name in NAMES]
    each = np.array([model.score_samples(day.select("date", "births", "wday"), given=rest) for day in days])
    np.testing.assert_array_equal(np.exp(each), fresh["wday"].to_numpy() == NAMES[:, None])


def test_weekdays_may_be_numbers():
    table = births(300).with_columns(wday=pl.col("date").dt.weekday() % 7).drop("weekend")
    model = pf.TableDensity("maf", layers=1, hidden=(8,), steps=2, queries=False).fit(table)
    drawn = model.sample(200, random_state=0)
    assert model.schema.names == ["date", "births", "wday"]
    assert (drawn["wday"] == drawn["date"].dt.weekday() % 7).all()


def test_days_may_be_counted_as_in_a_leap_year():
    leap = pl.date(2000, pl.col("date").dt.month(), pl.col("date").dt.day()).dt.ordinal_day()
    frame = births(900).with_columns(day_of_year=leap)
    parts = {relation.column.name: str(relation) for relation in prepared_schema(frame).dependencies}
    assert "day of a leap year" in parts["day_of_year"]
    frame = frame.with_columns(day_of_year=pl.col("date").dt.ordinal_day())
    parts = {relation.column.name: str(relation) for relation in prepared_schema(frame).dependencies}
    assert "day of the year" in parts["day_of_year"]


def test_columns_beside_a_date_that_do_not_follow_are_kept():
    rng = np.random.default_rng(9)
    table = births(300).with_columns(month=pl.Series(rng.integers(1, 13, 300)), wday=pl.Series(rng.choice(NAMES, 300)))
    assert {"date", "month", "wday"} <= set(prepared_schema(table).names)


def test_parts_are_those_of_the_clock_of_the_columns_zone() -> None:
    """Of a log over the last Sunday in March, when clocks go forward."""
    seconds = np.random.default_rng(5).uniform(0, 40 * 86_400, 1200).round(3)
    start = pl.Series("t", seconds * 1e3).cast(pl.Int64).cast(pl.Duration("ms")) + dt.datetime(2024, 3, 10)
    t = start.dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin")
    table = pl.DataFrame({"t": t, "hour": t.dt.hour(), "day": NAMES[t.dt.weekday().to_numpy() - 1]})
    table = table.with_columns(x=pl.Series(seconds).sin())
    model = pf.TableDensity("maf", layers=1, hidden=(8,), steps=2, queries=False).fit(table[:800])
    drawn = model.sample(200, random_state=0)
    assert (drawn["hour"] == drawn["t"].dt.hour()).all()
    assert (drawn["day"].to_numpy() == NAMES[drawn["t"].dt.weekday().to_numpy() - 1]).all()
    assert np.isfinite(model.score_samples(table[800:])).all()
