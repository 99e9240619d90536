"""Odd rows where values repeat: found and blamed by tail probabilities, which do not reward narrow cells."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs
import pytest
import torch

import pushforward as pf
from pushforward.distributions.guided import AnyOrder
from pushforward.models.train import Rows
from pushforward.tables.queries.explain import blame
from pushforward.testing import randomize

N = 900


@pytest.fixture(scope="module")
def small_fits() -> Iterator[None]:
    """Of networks as they come: how often an odd row is found hangs on how well the usual ones are learnt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pushforward.tables.guide.WIDTH", 128)
        yield


def people(seed: int) -> pl.DataFrame:
    """Ages, and earnings that grow with them, of which two in five are one of eight sums, exact to the cent."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 66, N)
    earnings = np.round(np.exp(8.5 + 0.02 * age + 0.5 * rng.normal(size=N)), 2)
    heaps = np.array([0.0, 5200.0, 7800.0, 10400.0, 13000.0, 15600.0, 20800.0, 26000.0])
    nearest = heaps[np.abs(heaps - earnings[:, None]).argmin(1)]
    earnings = np.where(rng.random(N) < 0.4, nearest, earnings)
    return pl.DataFrame({"age": age, "earnings": earnings, "group": rng.choice(["a", "b"], N)})


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    return pf.TableDensity("maf", layers=1, hidden=(32,), steps=150, lr=0.02, random_state=0).fit(people(0))


@pytest.mark.slow
def test_planted_ages_and_tenfold_earnings_are_found_and_blamed(model: pf.TableDensity) -> None:
    rows = people(1).filter(pl.col("earnings") > 9000).head(20)
    for name, planted in (
        ("age", rows.with_columns(age=pl.lit(150))),
        ("earnings", rows.with_columns(earnings=10 * pl.col("earnings"))),
    ):
        found = model.outliers(planted)
        assert found["outlier"].mean() > 0.9
        assert (found["unlikely_because"] == name).mean() > 0.8
        fits = found["would_fit"].cast(pl.Float64)
        assert fits.is_between(rows[name].min(), people(0)[name].quantile(0.99)).mean() > 0.5  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def houses() -> pl.DataFrame:
    """Sales of houses in random order; the volume is sales times the mean price, which is near the median."""
    housing = pl.from_pandas(pytest.importorskip("plotnine.data").txhousing)
    return housing.select("sales", "volume", "median").drop_nulls().sample(fraction=1, shuffle=True, seed=0)


@pytest.mark.slow
def test_a_broken_relation_is_blamed_on_the_column_that_breaks_it(houses: pl.DataFrame) -> None:
    rows, fresh = houses[:600], houses[600:1200]
    model = pf.TableDensity("maf", layers=1, hidden=(16,), steps=150, lr=0.02, random_state=0).fit(rows)
    assert model.outliers(fresh)["outlier"].mean() == pytest.approx(0.05, abs=0.04)
    for name in houses.columns:
        true = fresh.filter(pl.col(name) > houses[name].median()).head(60)
        found = model.outliers(true.with_columns(pl.col(name) * 10)).sort("row")
        assert found["outlier"].mean() > 0.9
        assert (found["unlikely_because"] == name).mean() > 0.7  # 0.82 of volumes, 1 of others; none by the oddest cell
        assert (found["would_fit"].cast(pl.Float64) / true[name]).is_between(0.5, 2).mean() > 0.7  # type: ignore[operator]


@pytest.mark.slow
def test_of_few_rows_gains_are_as_rare_as_fresh_rows_have_them(houses: pl.DataFrame) -> None:
    rows, fresh = houses[:150], houses[600:1400]
    model = pf.TableDensity("maf", layers=1, hidden=(16,), steps=150, lr=0.02, random_state=0).fit(rows)
    encoded = Rows(model.schema.encode(fresh, "table").x, None)
    gains, planted = blame(model, encoded)[1], model.outliers(fresh[:50].with_columns(pl.col("volume") * 10))
    assert (gains > math.log(1000)).double().mean() < 0.002
    assert 8 < planted["gain"].median() < 20  # type: ignore[operator]
    del model.facts["unseen_by_guide"]["shapes"]  # type: ignore[attr-defined]
    raw = blame(model, encoded)[1]  # of a model without them, by the light tails of a guide that saw 120 rows
    assert (raw > math.log(1000)).double().mean() > 0.003
    assert (raw.argmax(1) == gains.argmax(1)).all()


@pytest.mark.slow
def test_several_wrong_cells_are_blamed_together_and_one_alone() -> None:
    """Real stones that the model did not see; in some of the table's own, one, two or three sizes are 0."""
    table = pl.from_pandas(pytest.importorskip("plotnine.data").diamonds).select(cs.numeric())
    zero = pl.any_horizontal(pl.col("x", "y", "z") == 0)
    whole = table.filter(~zero).sample(2120, shuffle=True, seed=0)
    model = pf.TableDensity("maf", layers=1, hidden=(16,), steps=150, lr=0.02, random_state=0).fit(whole[:2000])
    rows, names = whole[2000:], model.schema.names
    others = [names.index(name) for name in ("carat", "price", "x", "y", "z")]
    places = np.random.default_rng(0).permuted(np.tile(others, (len(rows), 1)), axis=1)
    for count, share in ((1, 0.95), (2, 0.85)):
        wrong = torch.nn.functional.one_hot(torch.from_numpy(places[:, :count]), len(names)).sum(1).bool()
        planted = rows.select(pl.col(name) * pl.Series(10.0**each) for name, each in zip(names, wrong.T, strict=True))
        blamed = blame(model, Rows(model.schema.encode(planted, "table").x, None))[0]
        assert (blamed == wrong).all(1).double().mean() > share
    own = table.filter(zero)
    found = model.outliers(own).sort("row")
    told = found.select(
        pl.concat_str("unlikely_because", "also_unlikely", separator=", ", ignore_nulls=True)
    ).to_series()
    sizes = [{name for name in "xyz" if row[name] == 0} for row in own.iter_rows(named=True)]
    assert (
        np.mean([{each[0] for each in one.split(", ")} == some for one, some in zip(told, sizes, strict=True)]) > 0.85
    )
    pair = sizes.index({"x", "z"})
    also, fits = found["also_unlikely"][pair], {found["unlikely_because"][pair]: float(found["would_fit"][pair])}
    fits |= {also[0]: float(also[3:])}
    assert fits == pytest.approx({"x": own["y"][pair], "z": 0.62 * own["y"][pair]}, rel=0.15)


def test_numbers_that_cannot_be_are_blamed_themselves() -> None:
    rng = np.random.default_rng(0)
    kind, bill, age = rng.choice(["a", "b"], 300), rng.gamma(2, 10, 300).round(2), rng.integers(1, 90, 300)
    table = pl.DataFrame({"kind": kind, "bill": bill, "age": age, "x": rng.normal(size=300)})
    model = pf.TableDensity("maf", steps=20, random_state=0).fit(table)
    impossible = table[:3].with_columns(bill=pl.Series([-5.0, 3.0, -5.0]), age=pl.Series([30, -2, -2]))
    found = model.outliers(impossible).sort("row")
    assert found["unlikely_because"].to_list() in (["bill", "age", "bill"], ["bill", "age", "age"])
    assert [also is not None for also in found["also_unlikely"]] == [False, False, True]
    assert found["gain"].is_infinite().all()
    assert float(found["would_fit"][0]) > 0 <= float(found["would_fit"][1])


@pytest.mark.slow
def test_of_ordinary_rows_a_share_of_the_level_is_flagged(model: pf.TableDensity) -> None:
    assert model.outliers(people(2))["outlier"].mean() == pytest.approx(0.05, abs=0.05)


@pytest.mark.parametrize("classes", [(0, 0, 3), (3, 0, 0)])
def test_tails_are_those_of_the_conditionals_whatever_the_units(classes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    guide: Any = randomize(pf.anyorder(3, classes=classes, hidden=(8, 8), layers=1, bins=4), 0.3).double()
    assert isinstance(guide, AnyOrder)
    x = torch.randn(6, 3, dtype=torch.float64)
    x[:, classes.index(3)] = torch.tensor([0, 1, 2, 0, 1, 2]).double()
    tails = guide.tails(x)
    grid = torch.linspace(-60, 60, 60_001, dtype=torch.float64)
    for j, size in enumerate(classes):
        values = torch.arange(3).double() if size else grid
        rows = x[0].repeat(len(values), 1)
        rows[:, j] = values
        others = torch.ones(3, dtype=torch.bool)
        others[j] = False
        p = guide.log_prob(rows, given=others).detach().exp()
        if size:
            truth = p[p <= p[int(x[0, j])] + 1e-9].sum()
        else:
            below = float(p[values <= x[0, j]].sum() / p.sum())
            truth = torch.tensor(2 * min(below, 1 - below))
        assert float(tails[0, j].exp()) == pytest.approx(float(truth), abs=2e-3)
    one, sets = torch.tensor(1), torch.tensor([[0, 1, 0], [0, 0, 0], [1, 0, 1]]).bool()
    holed = guide.tails(x.index_fill(1, one, torch.nan))
    assert (holed[:, 1] == 0).all()
    torch.testing.assert_close(guide.tails(x, without=sets)[:2], torch.stack([holed, tails]))
    alone = x.masked_fill(~sets.sum(0).bool() | torch.tensor([True, False, True]), torch.nan)
    torch.testing.assert_close(guide.tails(x, without=sets)[2], guide.tails(alone))
    torch.testing.assert_close(guide.tails_given(x, ~sets[0])[:, 1], tails[:, 1])


@pytest.mark.parametrize("queries", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_exact_relation_is_blamed_on_the_cell_that_breaks_it_and_the_others_tell_its_value(queries: bool) -> None:
    rng = np.random.default_rng(0)
    city = rng.choice(["Bern", "Lyon", "Nice"], 300)
    count, price = rng.integers(1, 40, 300), rng.integers(200, 5000, 300)
    table = pl.DataFrame({"city": city, "count": count, "price": price / 100, "unit": ["EUR"] * 300})
    country = pl.col("city").replace_strict({"Bern": "CH"}, default="FR").alias("country")
    table = table.with_columns(country, total=(pl.col("count") * pl.col("price")).round(2))
    table = table.with_columns(tax=(0.5 * pl.col("total")).round(3))
    options: dict[str, Any] = {"steps": 150, "lr": 0.02} if queries else {"steps": 20, "queries": False}
    model = pf.TableDensity("maf", layers=1, hidden=(16,), random_state=0, **options).fit(table[:280])
    true = table[280:285].with_columns(city=pl.lit("Lyon"), country=pl.lit("FR"), count=pl.lit(7, pl.Int64))
    true = true.with_columns(total=(7 * pl.col("price")).round(2), tax=(3.5 * pl.col("price")).round(3))
    wrong: dict[str, Any] = {"country": "CH", "unit": "USD", "total": 5.0, "tax": 5.0, "count": 700}
    rows = [
        true[k].with_columns(pl.lit(v).cast(true[name].dtype).alias(name)) for k, (name, v) in enumerate(wrong.items())
    ]
    fits = [true[name].to_list()[k] for k, name in enumerate(wrong)]
    for found in (model.explain(pl.concat(rows)), model.outliers(pl.concat(rows)).sort("row")):
        assert found["unlikely_because"].to_list() == list(wrong)
        assert found["would_fit"].to_list() == [each if isinstance(each, str) else f"{each:g}" for each in fits]
        assert found["also_unlikely"].is_null().all()
        assert found["gain"].is_infinite().all()
