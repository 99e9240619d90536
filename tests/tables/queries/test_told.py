"""What follows from a row's holes and is known: totals of missing parts, the region of a missing town."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest

import pushforward as pf
from pushforward.errors import InputError
from pushforward.tables.queries.predict import predict
from pushforward.tables.queries.told import Told

N = 400
QUICK: dict[str, Any] = {"flow": "maf", "layers": 2, "hidden": (16,), "steps": 40, "lr": 0.02, "random_state": 0}


def accounts(seed: int = 0) -> pl.DataFrame:
    """Two normal numbers with their sum, two amounts to the cent that are often 0 with theirs, towns of two regions."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, N))
    food, rent = np.where(rng.random((2, N)) < 0.5, 0.0, rng.exponential(size=(2, N)).round(2))
    town = rng.choice(list("abcdef"), N)
    return pl.DataFrame(
        {
            "x": x,
            "y": y,
            "sum": x + y,
            "food": food,
            "rent": rent,
            "paid": (food + rent).round(2),
            "town": town,
            "region": np.where(town < "c", "north", "south"),
        }
    )


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    found = pf.TableDensity(**QUICK).fit(accounts())
    assert {"sum", "paid", "region"} <= set(found.schema.follow_names)
    return found


def holed(rows: pl.DataFrame, *names: str) -> pl.DataFrame:
    return rows.with_columns(pl.lit(None, rows[name].dtype).alias(name) for name in names)


def test_a_cell_that_another_says_is_missing_stays_so_with_a_note() -> None:
    rng = np.random.default_rng(0)
    came = rng.random(N) < 0.6
    result = pl.Series(rng.choice(list("abc"), N)).set(pl.Series(~came), None)
    rows = pl.DataFrame({"came": np.where(came, "yes", "no"), "result": result, "x": rng.normal(size=N)})
    model = pf.TableDensity(**QUICK).fit(rows)
    assert [*model.schema.follow_names] == ["came"]
    filled = model.impute(holed(rows, "x"))
    assert filled.select("came", "result").equals(rows.select("came", "result"))
    assert np.isfinite(model.score_samples(filled)).all()
    assert "no draw agrees with what it says of 'came'" in model.notes_[-1]


@pytest.mark.slow
def test_missing_parts_of_a_known_total_add_up_to_it(model: pf.TableDensity) -> None:
    rows = accounts(1).head(300)
    filled = model.impute(holed(rows, "x", "y", "food", "rent", "town"))
    assert filled.null_count().sum_horizontal().item() == 0
    assert (filled["food"] + filled["rent"]).to_numpy() == pytest.approx(filled["paid"].to_numpy(), abs=1e-9)
    assert (filled["x"] + filled["y"]).to_numpy() == pytest.approx(filled["sum"].to_numpy(), abs=1e-6)
    assert (pl.select(pl.lit(filled["town"]) < "c").to_series() == (filled["region"] == "north")).all()
    assert np.isfinite(model.score_samples(filled)).all()


def test_they_are_spread_as_the_model_has_them(model: pf.TableDensity) -> None:
    """Of its own rows: the rank of a part among those drawn is uniform, and it is as often 0, as the other part is."""
    rows, draws = model.sample(600, random_state=1).filter(pl.col("paid") > 0), 7
    filled = model.impute(holed(rows, "x", "y", "food", "rent"), draws=draws)
    drawn, own = filled["x"].to_numpy().reshape(draws, -1), rows["x"].to_numpy()
    ranks = np.bincount((drawn < own).sum(0), minlength=draws + 1) / len(own)
    np.testing.assert_allclose(ranks, 1 / (draws + 1), atol=0.05)
    for name in ("food", "rent"):
        assert (filled[name] == 0).mean() == pytest.approx((rows[name] == 0).mean(), abs=0.06)
    many = model.impute(holed(rows.head(40), "x", "y"), draws=40)["x"].to_numpy().reshape(40, -1)
    assert np.mean([len(np.unique(each)) for each in many.T]) > 36  # few candidates are drawn again and again


def test_a_total_is_given(model: pf.TableDensity) -> None:
    drawn = model.sample(200, given={"sum": 2.0})
    assert drawn["sum"].to_numpy() == pytest.approx(2.0, abs=1e-6)
    assert drawn["x"].mean() == pytest.approx(1.0, abs=0.25)
    given = pl.DataFrame({"paid": [0.0, 3.5], "region": ["north", "south"]})
    drawn = model.sample(20, given=given)
    assert drawn["paid"].to_list() == [0.0] * 20 + [3.5] * 20
    assert drawn["region"].to_list() == ["north"] * 20 + ["south"] * 20
    for ask in (
        lambda: model.sample(2, given={"paid": -5.0}),
        lambda: model.sample(2, given={"paid": 3.0, "x": (0, 1)}),
        lambda: model.region(["x"], given={"sum": 2.0}),
        lambda: model.region(["x"], given=pl.DataFrame({"y": [None, 1.0], "sum": [2.0, 2.0]})),
    ):
        with pytest.raises(InputError) as raised:
            ask()
        assert raised.value.argument == "given"


def test_a_label_of_a_total_is_given() -> None:
    """It follows from what follows itself, and tells of the parts that neither of them is drawn without."""
    a, b = np.random.default_rng(0).integers(0, 60, (2, N))
    rows = pl.DataFrame({"a": a, "b": b, "total": a + b, "passed": np.where(a + b >= 70, "yes", "no")})
    model = pf.TableDensity(**QUICK).fit(rows)
    assert {*model.schema.follow_names} == {"total", "passed"}
    for passed in ("yes", "no"):
        drawn = model.sample(100, given={"passed": passed})
        assert ((drawn["total"] >= 70) == (passed == "yes")).all()
        assert (drawn["passed"] == passed).all()
    filled = model.impute(holed(rows[:40], "a", "total"))
    assert filled["passed"].equals(rows["passed"][:40])
    assert filled["total"].equals(filled["a"] + filled["b"])
    assert model.probability("total > 90", given={"passed": "no"}) == 0
    assert abs(model.probability("total > 90", given={"passed": "yes"}) - 0.32) < 0.1  # 0.32 counted


def test_many_draws_are_drawn_in_pieces(model: pf.TableDensity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pushforward.tables.queries.query.BATCH", 256)
    drawn = model.sample(150, given={"sum": 2.0})
    assert drawn["sum"].to_numpy() == pytest.approx(2.0, abs=1e-6)
    assert drawn[:64]["x"].to_list() != drawn[64:128]["x"].to_list()
    with pytest.raises(InputError):
        model.sample(150, given={"paid": -5.0})


def test_of_rows_a_total_may_stand_beside_the_range_of_another(model: pf.TableDensity) -> None:
    drawn = model.sample(5, given={"paid": np.array([3.5, np.nan]), "x": [None, (0, 1)]})
    assert drawn["paid"].head(5).to_list() == [3.5] * 5
    assert drawn["x"].tail(5).is_between(0, 1).all()


@pytest.mark.slow
def test_probabilities_and_quantiles_given_a_total_are_those_of_draws(
    model: pf.TableDensity, monkeypatch: pytest.MonkeyPatch
) -> None:
    for draws in ("predict.MOVED", "predict.MOST", "probability.MOST"):  # fewer, with the larger errors that they state
        monkeypatch.setattr(f"pushforward.tables.queries.{draws}", 4096)
    drawn = model.sample(2000, given={"sum": 2.0}, random_state=1)
    value, error = model.probability("x > 1.2 AND food = 0", {"sum": 2.0}, errors=True)
    assert abs(value - ((drawn["x"] > 1.2) & (drawn["food"] == 0)).mean()) < 4 * np.hypot(error, 0.01)
    assert model.probability("x > 1.2", {"sum": 2.0}) + model.probability("x <= 1.2", {"sum": 2.0}) == pytest.approx(1)
    rows = pl.DataFrame({"x": [0.5, None], "sum": [2.0, 2.0], "region": ["north", "south"]})
    rest, any_part = model.probability("y BETWEEN 1.49 AND 1.51", given=rows)
    assert rest == pytest.approx(1.0)
    assert any_part < 0.1
    assert model.probability({"town": ["a", "b"]}, given=rows) == pytest.approx([1.0, 0.0])
    assert np.isnan(model.probability("x > 1", {"paid": -5.0}))
    middle, error = model.quantile("x", 0.5, {"sum": 2.0}, errors=True)
    assert abs(middle - drawn["x"].median()) < 4 * np.hypot(error, 0.02)
    shares = model.predict(rows.drop("x"), "town", "proba").to_numpy()
    assert shares[:, :2].sum(1) == pytest.approx([1.0, 0.0])
    totals = pl.DataFrame({"sum": [1.0, 2.0, 3.0, 2.0], "paid": [None, None, None, -5.0]})
    found = model.predict(totals, "x")
    assert np.isnan(found).tolist() == [False] * 3 + [True]
    assert "no answer" in predict(model, totals, "x", "mean", 0.9, 0, "the table")[1][-1]
    assert np.array_equal(model.predict(totals[::-1], "x"), found[::-1], equal_nan=True)  # whatever its place


@pytest.mark.slow
def test_what_follows_is_answered_through_what_it_follows_from(
    model: pf.TableDensity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pushforward.tables.queries.predict.MOST", 4096)  # with the larger errors that it states
    drawn = model.sample(2000, random_state=1)
    for name in ("sum", "paid"):
        found, error = model.quantile(name, [0.25, 0.5, 0.75], errors=True)
        expected = np.quantile(drawn[name].to_numpy(), [0.25, 0.5, 0.75])
        assert (np.abs(found - expected) < 4 * np.hypot(error, 0.04)).all()
    rows = accounts(1).head(200)
    np.testing.assert_allclose(model.predict(rows[:9], "sum", "median"), rows["sum"][:9].to_numpy(), atol=1e-6)
    assert model.predict(rows[:9], "region", "mode").tolist() == rows["region"][:9].to_list()
    one = pl.DataFrame({"x": [1.0, -1.0]})
    assert model.predict(one, "sum") == pytest.approx(one["x"].to_numpy() + model.predict(one, "y"), abs=0.05)
    assert model.predict(one, "region", "proba")["north"].to_numpy() == pytest.approx(
        model.probability({"region": "north"}, one), abs=0.03
    )
    ends = model.predict(rows.select("x"), "sum", "interval", level=0.8)  # of rows that it did not see
    assert 0.7 < rows["sum"].is_between(ends["low"], ends["high"]).mean() < 0.9
    given = {"region": "north", "paid": 3.5}
    assert model.quantile("sum", 0.5, given) == pytest.approx(model.sample(500, given)["sum"].median(), abs=0.25)
    with pytest.raises(InputError, match="given"):
        model.quantile("sum", 0.5, {"sum": 1.0})


def test_what_its_row_tells_is_answered_without_draws(model: pf.TableDensity, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = accounts(1).head(9)
    mixed = rows.with_columns(y=pl.when(pl.int_range(9) > 0).then("y"))
    beside = model.predict(mixed, "sum", "median")
    assert beside[1:] == pytest.approx(rows["sum"][1:].to_numpy(), abs=1e-12)
    assert np.isfinite(beside[0])
    monkeypatch.setattr(type(model.guided), "weighted", None)
    for kind in ("mean", "median", "mode"):
        assert model.predict(rows, "sum", kind) == pytest.approx(rows["sum"].to_numpy(), abs=1e-12)
    ends = model.predict(rows, "paid", "interval")
    assert ends["low"].equals(ends["high"])
    assert ends["low"].to_numpy() == pytest.approx(rows["paid"].to_numpy(), abs=1e-9)
    assert model.predict(rows, "region", "mode").tolist() == rows["region"].to_list()
    assert model.predict(rows, "x") == pytest.approx(rows["x"].to_numpy(), abs=1e-9)  # from y and the sum


def test_intervals_given_a_total_are_those_that_hold_their_share_of_rows_with_it() -> None:
    """Two numbers that are far closer to each other than a model of a few steps has learnt."""
    rng = np.random.default_rng(0)
    x, apart = rng.normal(size=(2, 2000))
    table = pl.DataFrame({"x": x, "y": x + 0.3 * apart, "sum": 2 * x + 0.3 * apart})
    model = pf.TableDensity(**{**QUICK, "steps": 1}, relations="sum = x + y").fit(table[:1000])
    fresh = table[1000:1200]
    ends = model.predict(fresh.select("sum"), "x", "interval", level=0.8)
    assert 0.7 < fresh["x"].is_between(ends["low"], ends["high"]).mean() < 0.9


def test_what_no_parts_add_up_to_stays_missing(model: pf.TableDensity) -> None:
    rows = holed(accounts(3).head(3), "food", "rent").with_columns(paid=pl.Series([1.0, -5.0, 0.0]))
    filled = model.impute(rows)
    assert filled["food"].is_null().to_list() == [False, True, False]
    assert len([note for note in model.notes_ if "row 2" in note]) == 1


def test_draws_that_agree_are_kept_if_more_candidates_meet_none(
    model: pf.TableDensity, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, tried = Told.drawn, []

    def unlucky(told: Told, model: Any, rows: Any, draws: int, seed: int, candidates: int, allowed: Any) -> Any:
        drawn, count = own(told, model, rows, draws, seed, candidates, allowed)
        tried.append(candidates)
        return (drawn, count.clamp_max(1.0)) if len(tried) == 1 else (drawn.fill_(math.nan), count.zero_())

    monkeypatch.setattr(Told, "drawn", unlucky)
    filled = model.impute(holed(accounts(1).head(3), "x", "y"))
    assert len(tried) > 1
    assert filled.null_count().sum_horizontal().item() == 0


def test_what_is_rounded_down_has_all_values_that_are_rounded_to_it() -> None:
    rng = np.random.default_rng(0)
    minutes = 60 * rng.integers(0, 150, 600) + rng.integers(5, 50, 600)  # none near the end of an hour
    frame = pl.DataFrame({"minutes": minutes, "hours": minutes // 60, "x": rng.normal(size=600) + minutes / 2500})
    model = pf.TableDensity("maf", steps=60, layers=1, hidden=(24,)).fit(frame)
    drawn = model.sample(400, random_state=1)
    assert drawn["hours"].equals(drawn["minutes"] // 60)
    inside = model.sample(300, given={"hours": 10}, random_state=1)["minutes"]
    assert (inside // 60 == 10).all()
    assert inside.n_unique() > 40
    told, error = model.probability("minutes > 630", given={"hours": 10}, errors=True)
    assert abs(told - model.probability("minutes > 630", given="minutes BETWEEN 600 AND 659")) < max(4 * error, 0.03)
    holed = frame.head(50).with_columns(minutes=pl.lit(None, pl.Int64))
    assert (model.impute(holed)["minutes"] // 60).equals(holed["hours"])
    assert np.isfinite(model.score_samples(frame, given=["hours", "minutes"])).all()
    with pytest.raises(InputError, match="'hours' follows from minutes") as caught:
        model.score_samples(frame, given=["hours"])
    assert caught.value.argument == "given"
