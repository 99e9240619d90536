"""Orders of columns, found or stated, and kept in draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from schemas import prepared_schema

import pushforward as pf
from pushforward.errors import InputError

QUICK = {"flow": "maf", "layers": 1, "hidden": (16,), "steps": 40, "random_state": 0}


def wars(n: int = 300) -> pl.DataFrame:
    """A shortest length below a longest one, and counts of parts below totals."""
    rng = np.random.default_rng(0)
    low = rng.lognormal(2, 1, n).round(1)
    total = rng.integers(5, 100, n)
    part = rng.binomial(total, 0.5)
    return pl.DataFrame(
        {
            "shortest": low,
            "longest": (low * (1 + rng.exponential(0.3, n) * (rng.random(n) < 0.5))).round(1),
            "under5": rng.binomial(part, 0.4),
            "under18": part,
            "total": total,
            "cost": rng.normal(size=n),
        }
    )


def test_orders_are_found_without_those_that_follow():
    schema = prepared_schema(wars())
    assert {(order.low, order.high) for order in schema.orders} == {
        ("shortest", "longest"),
        ("under5", "under18"),
        ("under18", "total"),
    }


def test_an_order_of_few_rows_is_found_where_the_differences_end_sharply_at_none():
    rng = np.random.default_rng(1)
    married, start = 20 + rng.gamma(2.0, 3.0, 140), rng.normal(0, 1.6, 140)
    table = {"married": married, "age": married + rng.uniform(0, 30, 140)}
    table |= {"start": start, "later": start + rng.normal(3.85, 1, 140)}
    schema = prepared_schema(pl.DataFrame(table).select(pl.all().round(2)))
    assert [str(each) for each in schema.orders] == ["'married' <= 'age'"]


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    return pf.TableDensity(**QUICK).fit(wars())


def test_draws_keep_them_whatever_is_given(model):
    for drawn in (
        model.sample(2000, random_state=0),
        model.sample(300, given={"total": 40}, random_state=0),
        model.impute(wars().head(60).with_columns(under18=pl.lit(None), longest=pl.lit(None)), random_state=0),
    ):
        assert (drawn["shortest"] <= drawn["longest"]).all()
        assert (drawn["under5"] <= drawn["under18"]).all()
        assert (drawn["under18"] <= drawn["total"]).all()


def test_a_row_that_breaks_a_found_order_is_only_unlikely(model):
    odd = wars().head(20).with_columns(under18=pl.col("total") + 1)
    scores = model.score_samples(odd)
    assert np.isfinite(scores).all()
    assert (scores < model.score_samples(wars().head(20)) - 1).mean() > 0.8


def test_a_model_with_orders_is_saved_and_loaded(model, tmp_path):
    model.save(tmp_path / "model")
    again = pf.TableDensity.load(tmp_path / "model")
    assert np.array_equal(again.score_samples(wars()), model.score_samples(wars()))


def test_a_stated_order_makes_rows_that_break_it_impossible_and_none_is_looked_for_on_request():
    frame = wars().select("shortest", "longest", "cost")
    model = pf.TableDensity(order=[("shortest", "longest")], relations="none", queries=False, **QUICK).fit(frame)
    assert [order.stated for order in model.schema.orders] == [True]
    odd = frame.head(3).with_columns(longest=pl.lit(0.0))
    assert np.isneginf(model.score_samples(odd)).all()
    assert prepared_schema(frame, relations="none").orders == ()


def test_a_stated_order_is_strict_beside_one_that_is_found():
    frame = wars().select("shortest", "longest", "under18", "total")
    model = pf.TableDensity(order=[("shortest", "longest")], queries=False, **QUICK).fit(frame)
    assert {order.high: order.stated for order in model.schema.orders} == {"longest": True, "total": False}
    assert {*model.schema.orders} <= {*model.schema.relations}
    assert "'under18' <= 'total'" in repr(model.schema)
    assert np.isneginf(model.score_samples(frame.head(3).with_columns(longest=pl.lit(0.0)))).all()
    assert np.isfinite(model.score_samples(frame.head(3).with_columns(under18=pl.col("total") + 1))).all()
    drawn = model.sample(500, random_state=0)
    assert (drawn["shortest"] <= drawn["longest"]).all()
    assert (drawn["under18"] <= drawn["total"]).all()


def pigs(n: int = 400, seed: int = 0) -> pl.DataFrame:
    """Weights of animals, none below the animal's own at the start, which follows from its name."""
    rng = np.random.default_rng(seed)
    pig, start = rng.integers(12, size=n), 20 + 3 * np.random.default_rng(5).permutation(12) / 2
    weight = (start[pig] + rng.exponential(4, n) * (rng.random(n) < 0.8)).round(1)
    return pl.DataFrame({"pig": [f"p{i}" for i in pig], "start": start[pig], "weight": weight})


@pytest.mark.slow
def test_an_order_of_a_number_that_a_name_implies_is_kept_in_draws(tmp_path):
    model = pf.TableDensity(**QUICK).fit(pigs())
    assert model.schema.follow_names == ["start"]
    assert [(order.low, order.high) for order in model.schema.orders] == [("start", "weight")]
    for drawn in (model.sample(1000, random_state=0), model.sample(100, given={"pig": "p3"}, random_state=0)):
        assert (drawn["start"] <= drawn["weight"]).all()
    model.save(tmp_path / "model")
    again = pf.TableDensity.load(tmp_path / "model")
    fresh = pigs(seed=1)
    assert np.array_equal(again.score_samples(fresh), model.score_samples(fresh))
    free = pf.TableDensity(**QUICK, relations="-weight").fit(pigs())
    assert model.score(fresh) > free.score(fresh)
    stated = pf.TableDensity(**QUICK, queries=False, order=[("start", "weight")]).fit(pigs())
    assert np.isneginf(stated.score_samples(fresh.with_columns(weight=pl.lit(1.0)))).all()


@pytest.mark.slow
def test_flags_that_are_equal_wherever_both_are_known_are_drawn_so():
    rng = np.random.default_rng(0)
    kind, x = rng.choice(["new", "old", "none"], 400), rng.normal(size=400)
    new = (kind == "new").astype(int)  # follows from the kind
    table = pl.DataFrame({"kind": kind, "new": new, "before": new, "x": x})
    table = table.with_columns(before=pl.when(pl.col("x") > -0.5).then("before"))
    model = pf.TableDensity(**QUICK).fit(table)
    assert {str(each) for each in model.schema.orders} == {"'before' <= 'new'", "'new' <= 'before'"}
    drawn = model.sample(1000, random_state=0)
    assert 500 < drawn["before"].count() < 900
    assert (drawn["new"] == drawn["before"]).drop_nulls().all()


def smokers(n: int, seed: int = 0) -> pl.DataFrame:
    """Flags of which no row has two, one that may be with any, and one that all rows with the first have."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(4, n, p=[0.3, 0.25, 0.25, 0.2])
    flags = {name: (kind == k).astype(int) for k, name in enumerate(["never", "former", "light"])}
    free = rng.random(n) < 0.5
    told = np.where((kind == 0) | free, "yes", "no")
    return pl.DataFrame({**flags, "male": rng.random(n) < 0.5, "asked": told, "age": rng.normal(50 - 5 * kind, 9)})


def helps_and_is_saved(model: pf.TableDensity, table: pl.DataFrame, fresh: pl.DataFrame, folder: Path) -> None:
    """Fresh rows are likelier by a model than by one without relations, and as likely by the loaded one."""
    free = pf.TableDensity(**QUICK, relations="none", queries=False).fit(table)
    assert model.score(fresh) > free.score(fresh)
    model.save(folder / "model")
    again = pf.TableDensity.load(folder / "model")
    assert np.array_equal(again.score_samples(fresh), model.score_samples(fresh))


@pytest.mark.slow
def test_flags_that_exclude_each_other_are_found_said_and_drawn_so(tmp_path):
    model = pf.TableDensity(**QUICK).fit(smokers(400))
    found = {*model.schema.orders}
    assert {each.names for each in found} == {("never", "former", "light"), ("never", "asked")}
    assert "at most one of 'never' = 1, 'former' = 1, 'light' = 1" in repr(model.schema)
    for drawn in (model.sample(1000, random_state=0), model.sample(50, given={"light": 1}, random_state=0)):
        assert (drawn["never"] + drawn["former"] + drawn["light"] <= 1).all()
    holes = smokers(30).with_columns(former=pl.lit(None, pl.Int64), never=pl.lit(None, pl.Int64))
    filled = model.impute(holes, random_state=0)
    assert (filled["never"] + filled["former"] + filled["light"] <= 1).all()
    both = smokers(400, 1).filter(pl.col("never") == 1).with_columns(former=pl.lit(1))
    assert np.isfinite(model.score_samples(both)).all()
    helps_and_is_saved(model, smokers(400), smokers(300, 2), tmp_path)


def test_flags_exclude_each_other_where_both_are_known_and_beside_one_that_is_left_alone():
    asked = np.random.default_rng(0).random(400) < 0.5
    answers = {
        name: pl.when(pl.Series(who)).then(pl.col("male")).alias(name) for name, who in [("she", asked), ("he", ~asked)]
    }
    apart = smokers(400).select("former", "light", "never", "asked", **answers)
    schema = prepared_schema(apart, relations="-light")
    assert {each.names for each in schema.orders} == {("former", "never"), ("never", "asked")}


def test_an_order_that_rows_break_is_refused_with_the_row():
    with pytest.raises(InputError, match="row 1") as caught:
        pf.TableDensity("gmm", order=[("longest", "cost")]).fit(wars())
    assert caught.value.argument == "order"


def schooling(n: int, seed: int = 0) -> pl.DataFrame:
    """Fathers' years of school, their mean in place of unknown ones and a flag of these; wages and where one lives."""
    rng = np.random.default_rng(seed)
    unknown, years = rng.random(n) < 0.2, rng.binomial(18, 0.55, n).astype(float)
    return pl.DataFrame(
        {
            "father": np.where(unknown, 9.94, years),
            "unknown": np.where(unknown, "yes", "no"),
            "south": rng.choice(["yes", "no"], n),
            "wage": (rng.lognormal(6, 0.4, n) * (1 - 0.3 * unknown)).round(2),
        }
    )


def test_a_flag_of_what_stands_for_missing_numbers_is_found_said_and_drawn_so(tmp_path):
    table = schooling(600)
    model = pf.TableDensity(**QUICK).fit(table)
    assert "'unknown' = yes just where 'father' is 9.94" in repr(model.schema)
    for drawn in (
        model.sample(1000, random_state=0),
        model.sample(50, given={"unknown": "yes"}, random_state=0),
        model.sample(50, given={"wage": (300, 400)}, random_state=0),
    ):
        assert ((drawn["father"] == 9.94) == (drawn["unknown"] == "yes")).all()
    filled = model.impute(table.with_columns(father=pl.lit(None, pl.Float64)), random_state=0)
    assert ((filled["father"] == 9.94) == (filled["unknown"] == "yes")).all()
    odd = pl.DataFrame(
        {"father": [9.94, 11.0], "unknown": ["no", "yes"], "south": ["no", "no"], "wage": [400.0, 400.0]}
    )
    right = odd.with_columns(unknown=pl.Series(["yes", "no"]))
    assert np.isfinite(model.score_samples(odd)).all()
    assert (model.score_samples(odd) < model.score_samples(right) - 3).all()
    helps_and_is_saved(model, table, schooling(400, 1), tmp_path)


def test_flags_tell_no_value_of_whole_numbers_but_in_all_rows_and_are_left_alone_on_request():
    rng = np.random.default_rng(3)
    age = rng.integers(20, 90, 800)
    table = pl.DataFrame({"age": age, "fifty": np.where(age == 50, "a", "b"), "near": np.where(age == 60, "a", "b")})
    table = table.with_columns(near=pl.when(pl.int_range(800) < 20).then(pl.lit("a")).otherwise("near"))
    found = [str(each) for each in prepared_schema(table, numbers=["age"]).orders]
    assert [each for each in found if "just where" in each] == ["'fifty' = a just where 'age' is 50"]
    assert not prepared_schema(table, numbers=["age"], relations="-fifty").orders
    shuffled = table.select(pl.col(name).shuffle(seed) for seed, name in enumerate(table.columns))
    assert not [each for each in prepared_schema(shuffled, numbers=["age"]).orders if "just" in str(each)]
