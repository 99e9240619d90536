"""Draws of whole rows: as often as the rows hold a value, and near the rows."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import kstest

import pushforward as pf
from pushforward.errors import InputError

RNG = np.random.default_rng(0)
EARNED = np.where(RNG.random(300) < 0.6, 0.0, RNG.gamma(2.0, 9000.0, 300)).round(5)


def test_zeros_with_a_narrow_cell_on_their_bound_are_drawn() -> None:
    rows = pl.DataFrame({"earned": EARNED, "before": EARNED[::-1]})
    model = pf.TableDensity("gmm", queries=False).fit(rows)
    assert model.schema.columns[0].kind.step == 1e-5
    drawn = model.sample(2000)
    for name in rows.columns:
        assert (drawn[name] == 0).mean() == pytest.approx((rows[name] == 0).mean(), abs=0.08)


@pytest.mark.slow
def test_rows_are_not_drawn_again_for_what_a_missing_number_might_have_been() -> None:
    size, known = np.exp(4 * RNG.normal(size=300)), RNG.random(300) > 0.3
    debt = size * RNG.uniform(0.5, 1.5, 300)
    rows = pl.DataFrame({"late": known, "size": size, "debt": debt, "rate": debt / size})
    rows = rows.with_columns(pl.when(pl.Series(known)).then(pl.col("size", "debt", "rate")))
    model = pf.TableDensity("gmm", queries=False).fit(rows)
    assert "rate" in model.schema.follow_names
    assert model.sample(2000)["rate"].is_null().mean() == pytest.approx(0.3, abs=0.05)


@pytest.mark.slow
def test_rows_in_a_range_that_is_not_rare_are_draws_of_the_density() -> None:
    diamonds = pl.from_pandas(pytest.importorskip("plotnine.data").diamonds).select("carat", "cut", "depth", "price")
    model = pf.TableDensity("gmm", queries=False, random_state=0).fit(diamonds.sample(1000, seed=0))
    given = {"carat": (0.9, 1.1), "cut": ["Ideal", "Premium"]}
    asked = pl.col("carat").is_between(0.9, 1.1) & pl.col("cut").cast(pl.String).is_in(given["cut"])
    drawn, whole = model.sample(1000, given=given), model.sample(20_000).filter(asked)
    assert drawn.filter(asked).height == 1000
    for name in ("depth", "price"):
        assert kstest(drawn[name], whole[name]).pvalue > 0.01
    assert model.sample(9, given={"cut": "Ideal"}).equals(model.sample(9, given={"cut": ["Ideal"]}))
    value, several = {"cut": "Ideal", "depth": "62.0"}, {"cut": ["Ideal"], "depth": [62.0]}
    assert model.probability("price > 5000", value) == model.probability("price > 5000", several)
    with pytest.raises(InputError, match="without a guide"):
        model.sample(2, given={"carat": (3.0, 3.1)})


def test_ends_that_many_rows_share_are_those_of_draws() -> None:
    rng = np.random.default_rng(4)
    size = rng.normal(size=3640)
    table = pl.DataFrame(
        {
            "seed": rng.integers(1, 17, 3640),
            "closed": np.minimum(80 + 15 * size + 5 * rng.normal(size=3640), 112.0),
            "size": size.round(2),
        }
    )
    rows, fresh = table.head(640), table.tail(3000)
    assert 10 <= (rows["closed"] == 112).sum() < 640 / 32
    model = pf.TableDensity("gmm", steps=60, random_state=0).fit(rows)
    drawn, given = model.sample(3000), model.sample(20, given=fresh.head(60).select("size"))
    for name, ends in (("seed", (1, 16)), ("closed", (-np.inf, 112.0))):
        assert fresh[name].is_between(*ends).all()
        assert drawn[name].is_between(*ends).all()
        assert given[name].is_between(*ends).all()
    assert drawn["size"].max() > rows["size"].max()  # which one row has
    for name, end in (("seed", 16), ("closed", 112.0)):
        assert (drawn[name] == end).mean() == pytest.approx((fresh[name] == end).mean(), abs=0.05)


def test_draws_stay_within_what_their_columns_type_holds() -> None:
    rng = np.random.default_rng(0)
    n, i = rng.poisson(120, 300).astype("uint8"), rng.integers(-100, 100, 300).astype("int8")
    model = pf.TableDensity("maf", steps=5, random_state=0).fit(
        pl.DataFrame({"n": n, "i": i, "sum": n.astype(int) + i})
    )
    drawn = model.sample(5000)
    assert (drawn["n"].dtype, drawn["i"].dtype) == (pl.UInt8, pl.Int8)
    assert (drawn["n"].max() > 150, drawn["i"].max() > 120) == (True, True)  # type: ignore[operator]
    assert set(model.sample(3, given={"n": 300})["n"]) == {300}


def test_holes_of_dates_are_filled_whether_dates_are_text_or_not() -> None:
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 7, 18), eager=True)
    table = pl.DataFrame({"day": days.dt.strftime("%d.%m.%Y"), "size": RNG.normal(size=200)})
    model = pf.TableDensity("maf", steps=5, layers=1).fit(table)
    holed = table.head(4).with_columns(pl.Series("day", [None, *days[1:4]]))
    for fresh in (holed, holed.with_columns(pl.col("day").dt.strftime("%d.%m.%Y"))):
        filled = model.impute(fresh)["day"]
        assert filled.dtype == fresh["day"].dtype
        assert filled.null_count() == 0
        assert filled[1:].equals(fresh["day"][1:])


def test_what_follows_from_a_new_number_near_one_that_many_rows_have_is_computed_from_it():
    x = np.random.default_rng(0).gamma(3, 10, 800).round(1) - 0.03  # of which the commonest stand out, with cells
    model = pf.TableDensity(flow="maf", layers=1, hidden=(8,), steps=5).fit({"x": x, "twice": 2 * x})
    new = pl.DataFrame({"x": x.max() - np.arange(300) / 100}).with_columns(twice=pl.lit(None, pl.Float64))
    np.testing.assert_allclose(model.impute(new)["twice"], 2 * new["x"])


@pytest.mark.slow
def test_a_column_that_follows_is_missing_where_its_own_rows_lack_it() -> None:
    rng = np.random.default_rng(0)
    costs = np.where(rng.random(400) < 0.25, 0.0, rng.lognormal(1.0, 0.5, 400).round(2))
    table = pl.DataFrame({"cost": costs, "age": rng.normal(40.0, 9.0, 400).round(1), "twice": 2.0 * costs})
    table = table.with_columns(twice=pl.when(pl.col("cost") > 0).then("twice"))
    model = pf.TableDensity(steps=60).fit(table)
    assert model.schema.features[2:] == ["twice is missing"]
    drawn = model.sample(1000, random_state=1)
    lacks = drawn["twice"].is_null()
    assert (drawn.filter(~lacks)["twice"] - 2.0 * drawn.filter(~lacks)["cost"]).abs().max() < 1e-9
    assert (drawn.filter(lacks)["cost"] == 0).mean() > 0.8
    assert abs(lacks.mean() - 0.25) < 0.1
    assert model.sample(50, given={"cost": 0.0}, random_state=1)["twice"].null_count() > 40
    assert model.sample(50, given={"twice": 5.0}, random_state=1)["cost"].to_list() == [2.5] * 50
    assert model.impute(table[:40].with_columns(twice=None))["twice"].null_count() == 0
    np.testing.assert_array_equal(model.predict(pl.DataFrame({"cost": [0.0, 3.0]}), "twice"), [0.0, 6.0])
    told, whole = model.score_samples(table[:40]), model.score_samples(table[:40].drop("twice"))
    assert np.abs(whole - told).mean() < 0.5
    assert (whole > told - 0.1).all()  # without the column, both of its states are possible
    updated = pf.TableDensity(steps=60).fit(table.drop_nulls()).update(table)
    assert updated.sample(500, random_state=1)["twice"].null_count() > 25


def _animals() -> pl.DataFrame:
    """The weights of bodies and brains of 56 mammals, over seven orders of magnitude."""
    return _sleep().select("bodywt", "brainwt").drop_nulls()


def _sleep() -> pl.DataFrame:
    """How long 83 mammals sleep, with many missing cells."""
    sleep = pl.from_pandas(pytest.importorskip("plotnine.data").msleep)
    return sleep.select("sleep_total", "sleep_rem", "sleep_cycle", "awake", "brainwt", "bodywt")


def _counties() -> pl.DataFrame:
    """The people of 154 counties: counts with long tails, and shares of them."""
    return pl.from_pandas(pytest.importorskip("plotnine.data").midwest).drop("PID", "county")[:154]


def _firms() -> pl.DataFrame:
    """398 firms, whose sizes have a tail of index 1.1."""
    rng = np.random.default_rng(0)
    size = 100 * rng.pareto(1.1, 398) + 5
    sales, value = (size * np.exp(scale * rng.normal(size=398)) for scale in (0.7, 1.0))
    return pl.DataFrame(
        {"employees": size.round(), "sales": sales, "value": value, "profit": size * rng.standard_t(2, 398)}
    )


def _births() -> pl.DataFrame:
    """132 births: counts of few values, flags, and a weight that a flag follows."""
    rng = np.random.default_rng(1)
    mother = np.exp(rng.normal(4.85, 0.22, 132)).round()
    weight = np.clip(rng.normal(2945, 700, 132) + 4 * (mother - 130), 709, 4990).round()
    visits, race = np.minimum(rng.poisson(0.8, 132), 6), rng.choice(["white", "black", "other"], 132)
    return pl.DataFrame({"low": weight < 2500, "mother": mother, "race": race, "visits": visits, "weight": weight})


def _ranges_beyond(drawn: pl.DataFrame, rows: pl.DataFrame) -> float:
    """How far the farthest number lies beyond its column's range, in widths of that range."""
    farthest = 0.0
    for name in drawn.columns:
        if rows[name].dtype.is_numeric():
            x, y = (table[name].drop_nulls().to_numpy().astype(float) for table in (drawn, rows))
            low, high = y.min(), y.max()
            farthest = max(farthest, float(max(x.max() - high, low - x.min()) / (high - low)))
    return farthest


@pytest.mark.slow
@pytest.mark.parametrize("table", [_animals, _sleep, _counties, _firms, _births])
def test_draws_stay_within_a_range_of_the_rows(table) -> None:
    rows = table()
    drawn = pf.TableDensity(random_state=0).fit(rows).sample(5000)
    assert _ranges_beyond(drawn, rows) < 1.01  # a cell reaches beyond the range


@pytest.mark.slow
def test_prices_given_all_other_columns_stay_within_a_range_of_the_rows() -> None:
    rng = np.random.default_rng(2)
    x = np.exp(rng.normal(size=(500, 7)) * [0.3, 0.5, 0.5, 1.0, 1.5, 2.0, 2.0])
    houses = pl.DataFrame({f"x{j}": column for j, column in enumerate(x.T)})
    houses = houses.with_columns(
        price=(9 + np.log(x) @ rng.normal(size=7) * 0.2 + 0.2 * rng.normal(size=500)).clip(8.5, 10.8).round(4),
        quarter=pl.Series(rng.choice(["a", "b", "c", "d"], 500)),
        pool=pl.Series(rng.random(500) < 0.1),
    )
    rows, fresh = houses[:200], houses[200:]
    given = [name for name in rows.columns if name != "price"]
    model = pf.TableDensity(columns=["price"], given=given, queries=False, random_state=0).fit(rows)
    drawn = model.sample(20, given=fresh.select(given))
    assert _ranges_beyond(drawn.select("price"), rows) < 1.01
