"""Rhythms: how busy the parts of an hour, a day, a week and a year are, and which last digits are common."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from schemas import schema_of

import pushforward as pf
from pushforward.tables.schema.kinds.rhythms import rhythms_of
from pushforward.tables.schema.schema import Schema

DAY, START = 86_400, dt.datetime(2024, 1, 1)  # a Monday


def moments(seconds: np.ndarray) -> pl.Series:
    return pl.Series("t", np.floor(seconds).astype(np.int64) * 1_000_000).cast(pl.Duration("us")) + START


def visits(n: int, seed: int = 0) -> pl.DataFrame:
    """Visits of 200 days with two rush hours, fewer at weekends."""
    rng = np.random.default_rng(seed)
    days = rng.choice(200, n, p=(p := np.where(np.arange(200) % 7 < 5, 1.0, 0.3)) / p.sum())
    hours = np.where(rng.random(n) < 0.5, rng.normal(8.5, 0.8, n), rng.normal(17.5, 1.2, n))
    return pl.DataFrame({"t": moments(days * DAY + hours * 3600), "x": rng.normal(size=n)})


def found(t: pl.Series) -> list[tuple[str, int]]:
    table = pl.DataFrame({"t": t})
    schema = schema_of(table)
    kind = schema.shaped(schema.encode(table, "").x).columns[0].kind
    return [(rhythm.name, len(rhythm.shares)) for rhythm in kind.rhythms]


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    return pf.TableDensity("maf", layers=1, hidden=(32,), steps=150, lr=0.01).fit(visits(2000))


def hours(frame: pl.DataFrame) -> np.ndarray:
    return np.bincount(frame["t"].dt.hour(), minlength=24) / frame.height


def test_draws_and_probabilities_have_the_hours_and_weekdays_of_rows(model, tmp_path) -> None:
    fresh, drawn = visits(4000, seed=1), model.sample(4000, random_state=0)
    assert 0.5 * np.abs(hours(drawn) - hours(fresh)).sum() < 0.08
    late = (fresh["t"].dt.hour() >= 18).mean()
    assert model.probability("EXTRACT(hour FROM t) >= 18") == pytest.approx(late, abs=0.03)
    weekend = "EXTRACT(isodow FROM t) > 5"
    assert model.probability(weekend) == pytest.approx((fresh["t"].dt.weekday() > 5).mean(), abs=0.03)
    start, end = dt.datetime(2024, 3, 4, 7), dt.datetime(2024, 3, 4, 20)
    within = model.sample(300, given={"t": (start, end)}, random_state=0)
    assert within["t"].is_between(start, end).all()
    assert (within["t"].dt.hour().is_between(11, 13)).mean() < 0.1
    model.save(tmp_path / "model")
    loaded = pf.TableDensity.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.score_samples(fresh[:50]), model.score_samples(fresh[:50]))


def test_the_rhythm_goes_on_after_the_last_row(model) -> None:
    night, rush = (pl.DataFrame({"t": [dt.datetime(2024, 7, 22, hour)]}) for hour in (3, 8))
    assert model.score_samples(rush)[0] > model.score_samples(night)[0] + 3


def test_missing_moments_are_drawn_in_rhythm(model) -> None:
    filled = model.impute(visits(500, seed=2).with_columns(t=pl.lit(None, pl.Datetime("us"))), random_state=0)
    assert 0.5 * np.abs(hours(filled) - hours(visits(4000, seed=1))).sum() < 0.15


def test_moments_are_likelier_in_rhythm(model) -> None:
    fresh = visits(1000, seed=3).select("t")
    span = np.log(200 * DAY)  # nats of moments that are spread evenly
    assert model.score_samples(fresh).mean() > -span + 0.9


def test_each_period_is_found_and_shares_are_those_of_the_rows_it_is_learnt_from() -> None:
    assert found(visits(2000)["t"]) == [("day", 48), ("week", 7)]
    rng = np.random.default_rng(4)
    half = moments(1800 * rng.integers(0, 9600, 2000) + rng.integers(0, 60, 2000) * (rng.random(2000) < 0.5))
    assert found(half)[0][0] == "hour"
    summer = 365.2425 * (rng.integers(0, 20, 2000) + rng.normal(0.55, 0.1, 2000))
    assert [name for name, _ in found(pl.Series("t", summer).floor().cast(pl.Int32).cast(pl.Date))] == ["year"]
    table = visits(2000)
    schema, x = schema_of(table), schema_of(table).encode(table, "").x
    shaped = schema.shaped(x)
    assert Schema.from_json(json.loads(json.dumps(shaped.to_json()))) == shaped
    again = shaped.shaped(x[::2], again=True)
    own, other = (each.columns[0].kind.rhythms for each in (shaped, again))
    assert [len(each.shares) for each in other] == [len(each.shares) for each in own]
    assert own != other
    assert np.isclose([sum(each.shares) for each in own], 1.0).all()


@pytest.mark.parametrize("days", [10, 100, 3000])
@pytest.mark.parametrize("n", [100, 2000])
def test_what_is_even_once_or_grows_has_none(n: int, days: int) -> None:
    rng = np.random.default_rng(n + days)
    spread, burst = rng.uniform(0, days, n), days * rng.random(3)[rng.integers(0, 3, n)] + 0.02 * rng.random(n)
    growing = days * np.log1p(rng.random(n) * np.expm1(4)) / 4
    for each in (spread, burst, growing):
        x = np.floor(each * DAY) + rng.random(n)
        kind = schema_of(pl.DataFrame({"t": moments(x)})).columns[0].kind
        assert rhythms_of(kind, x, np.ones(n), DAY) == ()


def test_regular_series_midnights_and_constant_hours_have_none() -> None:
    hourly, daily = np.arange(2000) * 3600, np.arange(500) * DAY
    for seconds in (hourly, np.repeat(daily, 3), np.repeat(daily + 9 * 3600, 3), np.arange(3000) * 600):
        assert found(moments(seconds.astype(float))) == []


def incomes(n: int, seed: int = 0) -> np.ndarray:
    """Half told in thousands, a quarter in hundreds."""
    rng = np.random.default_rng(seed)
    unit = rng.choice([1000, 100, 1], n, p=[0.5, 0.25, 0.25])
    return (rng.lognormal(10.5, 0.5, n) / unit).round() * unit


def shaped(x: np.ndarray, **options) -> tuple[Schema, torch.Tensor]:
    table = pl.DataFrame({"x": x})
    schema = schema_of(table, **options)
    rows = schema.encode(table, "").x
    return schema.shaped(rows), rows


def cell_nats(schema: Schema, x: np.ndarray) -> float:
    """The mean log-probability of the cells of some values, if the column's own map made its rows normal."""
    (column,) = schema.columns
    cells = torch.from_numpy(x) + 0.5 * column.kind.step * torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    z = column.kind.first_map()(torch.from_numpy(incomes(4000, 2)))[0]
    low, high = torch.special.ndtr((column.kind.first_map()(cells)[0] - z.mean()) / z.std())
    return float((high - low).log().mean())


def test_numbers_told_in_tens_and_thousands_are_likelier_and_drawn_so() -> None:
    schema, _ = shaped(incomes(1500))
    (column,) = schema.columns
    assert [rhythm.name for rhythm in column.kind.rhythms] == ["10", "100", "1000"]
    assert column.describe().first == "rhythm of 10, rhythm of 100, rhythm of 1000, log(x +0.5)"
    plain = replace(schema, columns=(replace(column, kind=replace(column.kind, rhythms=())),))
    fresh = incomes(2000, seed=1)
    assert cell_nats(schema, fresh) > cell_nats(plain, fresh) + 2
    first = column.kind.first_map()
    z = first(torch.from_numpy(fresh))[0]
    drawn = column.kind.snap(first.inverse(z.mean() + z.std() * torch.randn(4000, dtype=torch.float64))[0].numpy())
    for unit in (100, 1000):
        assert (drawn % unit == 0).mean() == pytest.approx((fresh % unit == 0).mean(), abs=0.05)
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_last_digits_have_their_own_shares_beside_values_that_many_rows_hold() -> None:
    rng = np.random.default_rng(0)
    heaped = np.where(rng.random(2000) < 0.3, 40.0, 5 * rng.normal(50, 15, 2000).round())
    x = np.where(rng.random(2000) < 0.7, heaped, rng.normal(250, 75, 2000).round())
    schema, rows = shaped(x)
    kind = schema.columns[0].kind
    assert [rhythm.name for rhythm in kind.rhythms] == ["10"]
    assert kind.first.name == "histogram"
    z = kind.first_map()(torch.from_numpy(kind.spread(rows[:, 0].numpy(), rng)))[0]
    assert float(z.mean()) == pytest.approx(0, abs=0.05)
    assert float(z.std()) == pytest.approx(1, abs=0.05)
    again = schema.shaped(rows[::2], again=True).columns[0].kind
    assert [rhythm.name for rhythm in again.rhythms] == ["10"]
    assert again.rhythms != kind.rhythms


def test_days_stay_whole_where_a_few_rows_have_half_a_day() -> None:
    rng = np.random.default_rng(0)
    kind = shaped(np.append(rng.integers(1, 3000, 996), [0.5] * 4))[0].columns[0].kind
    assert kind.step == 0.5
    z = torch.randn(4000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    drawn = kind.snap(kind.first_map().inverse(z)[0].numpy())
    assert (drawn % 1 == 0).mean() > 0.98


@pytest.mark.parametrize("bounds", [{"x": (0, 100)}, {"x": (0, None)}, {"x": (-3, 104)}, {}])
def test_bounds_hold_in_the_time_of_last_digits(bounds: dict) -> None:
    rng = np.random.default_rng(0)
    percent = 100 * rng.beta(1.2, 1.2, 4000)
    schema, _ = shaped(np.where(rng.random(4000) < 0.4, 5 * (percent / 5).round(), percent.round()), bounds=bounds)
    kind = schema.columns[0].kind
    assert len(kind.rhythms) == 1
    low, high = kind.limits(1.0)
    edges = torch.arange(max(low, kind.minimum - 0.5), min(high, kind.maximum + 0.5) + 1, dtype=torch.float64)
    z = kind.first_map()(edges[1:-1])[0]
    assert bool(z.isfinite().all())
    assert bool((z.diff() > 0).all())
    drawn = kind.first_map().inverse(torch.linspace(-40, 40, 99, dtype=torch.float64))[0].numpy()
    inside = bounds.get("x", (-np.inf, None))
    assert (drawn >= inside[0] - 0.5001).all()  # the ends are float32
    assert (drawn <= (inside[1] or np.inf) + 0.5001).all()


@pytest.mark.parametrize("n", [200, 3000])
def test_even_digits_serial_numbers_and_roundness_by_chance_have_no_rhythm(n: int) -> None:
    rng = np.random.default_rng(n)
    falling, bell, serial = rng.exponential(300, n).round(), rng.normal(500, 100, n).round(), 7.0 * np.arange(n)
    tenths = rng.uniform(0, 1000, n).round(1)
    for x in (falling, bell, serial, tenths):
        assert shaped(x)[0].columns[0].kind.rhythms == ()
