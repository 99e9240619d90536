"""Probabilities of regions and of SQL, quantiles, predictions and draws in ranges, beside shares of many draws."""

from __future__ import annotations

import datetime as dt
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import pushforward as pf
from pushforward.distributions.guided.anyorder import AnyOrder
from pushforward.errors import InputError
from pushforward.tables.options import TableOptions
from pushforward.tables.queries.probability import Share
from pushforward.tables.queries.where import Where, _wrong
from pushforward.tables.schema.decide import learn_schema
from pushforward.tables.schema.learner import Learner
from pushforward.tables.schema.schema import Schema

QUICK: dict[str, Any] = {"flow": "maf", "layers": 1, "hidden": (24,), "steps": 80, "lr": 0.02}
MANY = 30_000


def table(rows: int = 1500, seed: int = 0) -> pl.DataFrame:
    """A group that sets the mean of a number, that number with noise, a count, an age that is missing more often in one
    group, an amount that is often 0, a day, and a total of the count and a constant."""
    rng = np.random.default_rng(seed)
    group = rng.choice(["a", "b"], rows, p=[0.7, 0.3])
    x = rng.normal(size=rows) + 3.0 * (group == "b")
    age = pl.Series(rng.normal(40, 10, rows).round(), dtype=pl.Int64)
    n = rng.poisson(4, rows)
    return pl.DataFrame(
        {
            "kind": group,
            "x": x,
            "y": x + 0.5 * rng.normal(size=rows),
            "n": n,
            "age": age.set(pl.Series(rng.random(rows) < 0.1 + 0.2 * (group == "b")), None),
            "amount": np.where(rng.random(rows) < 0.3, 0, rng.gamma(2, size=rows)),
            "day": [dt.date(2024, 1, 1) + dt.timedelta(int(d)) for d in rng.integers(0, 300, rows)],
            "total": n + 10,
        }
    )


TABLE = table()


def three_kinds(rows: int) -> pl.DataFrame:
    """Three kinds that set the means of two numbers, and a shop."""
    rng = np.random.default_rng(1)
    kind, shop = rng.choice(3, rows, p=[0.5, 0.3, 0.2]), rng.choice(["p", "q", "r"], rows)
    x, y = kind + rng.normal(size=rows), 0.5 * kind + (shop == "p") + rng.normal(size=rows)
    return pl.DataFrame({"shop": shop, "kind": np.array(["a", "b", "c"])[kind], "x": x, "y": y})


@pytest.fixture(scope="module")
def of_three() -> pf.TableDensity:
    return pf.TableDensity(**QUICK).fit(three_kinds(1000))


@pytest.fixture(autouse=True)
def _fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where few draws leave too large an error, a tenth of those that would be taken."""
    monkeypatch.setattr("pushforward.tables.queries.probability.PRECISE", (0.05, 0.016))
    monkeypatch.setattr("pushforward.tables.queries.probability.COUNTED", 8_000)
    monkeypatch.setattr("pushforward.tables.queries.probability.DRAWN", 12_500)
    monkeypatch.setattr("pushforward.tables.queries.predict.MOST", 16_384)


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    return pf.TableDensity(**QUICK).fit(TABLE)


@pytest.fixture(scope="module")
def drawn(model: pf.TableDensity) -> pl.DataFrame:
    return model.sample(MANY, random_state=7)


QUESTIONS: list[tuple[Any, str]] = [
    ({"kind": "a"}, "kind = 'a'"),
    ({"x": (3, None), "kind": "a"}, "x >= 3 AND kind = 'a'"),
    ({"n": (2, 4), "kind": ["a", "b"]}, "n BETWEEN 2 AND 4"),
    ({"age": (30, 40)}, "age BETWEEN 30 AND 40"),
    ({"amount": 0, "x": (None, -1)}, "amount = 0 AND x <= -1"),
    ({"day": (dt.date(2024, 3, 1), dt.date(2024, 5, 1))}, "day BETWEEN DATE '2024-03-01' AND DATE '2024-05-01'"),
    ({"total": (12, 14)}, "total BETWEEN 12 AND 14"),
]
TEXTS = [
    "x > y AND kind = 'b'",
    "age IS NULL",
    "NOT (age BETWEEN 30 AND 40)",
    "ABS(x) > 2",
    "n % 2 = 0",
    "x > 2 OR y < -1",
    "kind LIKE 'b%' AND (n < 2 OR n > 6)",
    "day - DATE '2024-01-01' > INTERVAL '99 days'",
    "2 * (day - DATE '2024-01-01') > INTERVAL '9 days' * 22",
]


def share(drawn: pl.DataFrame, text: str) -> tuple[float, float]:
    """The share of draws for which SQL holds, and its standard error."""
    held = drawn.select(pl.sql_expr(text).fill_null(False).alias("held"))["held"]
    return float(held.mean() or 0.0), float(np.sqrt((held.mean() * (1 - held.mean()) + 1e-4) / len(held)))


@pytest.mark.parametrize(("where", "text"), [*QUESTIONS, *((text, text) for text in TEXTS)], ids=str)
def test_probabilities_are_shares_of_draws(where: Any, text: str, model: pf.TableDensity, drawn: pl.DataFrame) -> None:
    truth, around = share(drawn, text)
    value, error = model.probability(where, errors=True)
    assert abs(value - truth) < 4 * np.hypot(error, around) + 0.001
    assert error < 0.02
    if where != text:
        assert model.probability(text) == pytest.approx(value, abs=4 * error + 0.001)


def test_first_categories_are_exact(model: pf.TableDensity) -> None:
    each = [model.probability({"kind": name}, errors=True) for name in "ab"]
    assert sum(value for value, _ in each) == pytest.approx(1.0, abs=1e-5)
    assert [error for _, error in each] == [0.0, 0.0]
    assert model.probability({"kind": ["a", "b"]}) == pytest.approx(1.0, abs=1e-5)


def test_of_categories_alone_all_shares_are_exact() -> None:
    rng = np.random.default_rng(0)
    first = rng.choice(list("abc"), 400)
    frame = pl.DataFrame({"first": first, "second": np.where(rng.random(400) < 0.6, first, "d")})
    model = pf.TableDensity(steps=30).fit(frame)
    each = {name: model.probability({"second": name}, errors=True) for name in "abcd"}
    assert sum(value for value, _ in each.values()) == pytest.approx(1.0, abs=1e-5)
    assert [error for _, error in each.values()] == [0.0] * 4
    assert model.probability("second <> 'd'") + each["d"][0] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.slow
def test_what_holds_and_what_does_not_sum_to_one_and_chains_agree(model: pf.TableDensity) -> None:
    assert model.probability("x > 1") + model.probability("x <= 1") == pytest.approx(1.0, abs=1e-6)
    assert model.probability("x > 1", {"kind": "a"}) + model.probability("NOT (x > 1)", {"kind": "a"}) == pytest.approx(
        1
    )
    both, error = model.probability("x > 1 AND n > 4", errors=True)
    first, one = model.probability("x > 1", errors=True)
    then, other = model.probability("n > 4", "x > 1", errors=True)
    assert abs(both - first * then) < 4 * np.hypot(error, np.hypot(one * then, other * first))


@pytest.mark.parametrize(
    "given", [{"x": 1.2}, {"x": (1.0, 2.0)}, {"x": 1.2, "shop": ["p", "q"]}, {"shop": "p", "y": 0}]
)
def test_the_values_of_a_category_sum_to_one_given_numbers(given: dict[str, Any], of_three: pf.TableDensity) -> None:
    each, errors = zip(*(of_three.probability({"kind": v}, given, errors=True) for v in "abc"), strict=True)
    assert sum(each) == pytest.approx(1, abs=1e-12)
    assert 0 < max(errors) < 0.02
    assert of_three.probability([{"kind": v} for v in "abc"], given) == pytest.approx(each, abs=1e-6)
    assert of_three.probability("kind IN ('a', 'b')", given) == pytest.approx(each[0] + each[1], abs=1e-12)
    assert of_three.probability("kind <> 'a'", given) == pytest.approx(each[1] + each[2], abs=1e-12)


def test_the_values_of_any_category_sum_to_one_given_others() -> None:
    rng = np.random.default_rng(2)
    frame = three_kinds(600).with_columns(amount=np.where(rng.random(600) < 0.4, 0.0, rng.gamma(2, size=600)))
    model = pf.TableDensity(**QUICK).fit(frame)
    for given in ({}, {"shop": "p"}, {"shop": ["p", "q"]}, {"amount": 0}):
        for name in {"shop", "kind"} - {*given}:
            shares = model.probability([{name: value} for value in frame[name].unique()], given)
            assert shares.sum() == pytest.approx(1, abs=1e-7)  # exact ones are of single precision


def test_the_probability_of_a_category_is_that_of_its_prediction(of_three: pf.TableDensity) -> None:
    rows = three_kinds(20).drop("kind")
    predicted = of_three.predict(rows, "kind", "proba")
    for value in "abc":
        assert of_three.probability({"kind": value}, rows) == pytest.approx(predicted[value].to_numpy(), abs=1e-6)


def test_the_opposite_of_a_range_that_ends_at_a_repeated_value_leaves_it_out(model: pf.TableDensity) -> None:
    for where in ("amount <= 0", "amount < 0", "amount BETWEEN 0 AND 1"):
        assert model.probability(where) + model.probability(f"NOT ({where})") == pytest.approx(1.0, abs=0.03)
    assert model.probability("amount > 0") == pytest.approx(1 - model.probability({"amount": (None, 0)}), abs=0.03)


def test_rare_regions_have_small_relative_errors(model: pf.TableDensity) -> None:
    where = {"x": (5, None), "n": (9, None), "age": (None, 25)}
    value, error = model.probability(where, errors=True)
    assert 0 < value < 1e-3
    assert error < 0.2 * value


@pytest.mark.slow
def test_conditions_given_values_ranges_and_frames(model: pf.TableDensity, drawn: pl.DataFrame) -> None:
    some = drawn.filter(pl.col("x").is_between(0, 1))
    truth, around = share(some, "kind = 'b'")
    value, error = model.probability({"kind": "b"}, given={"x": (0, 1)}, errors=True)
    assert abs(value - truth) < 4 * np.hypot(error, around) + 0.002
    given = pl.DataFrame({"x": [0.0, 2.0, None], "kind": ["a", "b", "a"]})
    values, errors = model.probability("y > 1", given=given, errors=True)
    assert values.shape == errors.shape == (3,)
    assert values[0] < values[2] < values[1]
    alone = model.probability("y > 1", given={"x": 2.0, "kind": "b"})
    assert alone == pytest.approx(values[1], abs=0.03)
    ranges = pd.DataFrame({"x": [(0, 1), None, 2.0], "kind": [["a", "b"], "a", ["b"]]})
    mixed = model.probability("y > 1", given=ranges)
    assert mixed[2] == pytest.approx(values[1], abs=0.03)
    assert model.probability({"x": (0, 1)}, given={"x": 0.5}) == 1.0
    assert model.probability({"x": (0, 1)}, given={"x": 2.0}) == 0.0
    assert model.probability({"kind": "b"}, {"x": 1.0}, errors=True)[1] < 0.003  # though the first draws leave 0.004
    assert model.probability({}) == model.probability({"x": None}, given={"kind": "a"}) == 1.0  # nothing is asked
    assert np.isnan(model.probability("y > 1", given=pl.DataFrame({"kind": ["never seen"]})))[0]


@pytest.mark.slow
def test_several_conditions_are_answered_as_each_alone(model: pf.TableDensity) -> None:
    asked = [{"age": (30, 40)}, {"age": (30, 40), "x": (0, 1)}, "age IS NULL", "x > 2 OR y < -1", {"kind": "a"}]
    values, errors = model.probability(asked, errors=True)
    each = np.array([model.probability(one, errors=True) for one in asked])
    assert (np.abs(values - each[:, 0]) <= 2 * np.hypot(errors, each[:, 1]) + 1e-6).all()
    rows = pl.DataFrame({"x": [0.0, 2.0]})
    beside = model.probability(["y > 1", "y > 3"], given=rows)
    assert beside == pytest.approx(
        [model.probability("y > 1", given=rows)[0], model.probability("y > 3", given=rows)[1]]
    )
    for given, where in ((rows, ["y > 1"] * 3), (None, [])):
        with pytest.raises(InputError) as error:
            model.probability(where, given=given)
        assert error.value.argument == "where"


@pytest.mark.slow
def test_a_half_open_range_beside_a_closed_one_keeps_its_answer(model: pf.TableDensity) -> None:
    asked: list[Any] = [{"x": (0, None)}, {"x": (-1, 1)}, "x < -1 OR x > 1"]
    found, errors = model.probability(asked, given={"y": 1.0}, errors=True)
    each = np.array([model.probability(one, given={"y": 1.0}, errors=True) for one in asked])
    assert (np.abs(found - each[:, 0]) <= 4 * np.hypot(errors, each[:, 1]) + 1e-6).all()


@pytest.mark.slow
def test_what_is_not_rare_is_as_certain_as_many_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even with a guide that has learnt nothing, whose weights vary."""
    monkeypatch.setattr("pushforward.tables.fit.train_guide", lambda *_, **__: {})
    rng = np.random.default_rng(0)
    x = rng.normal(size=1500)
    bent = pl.DataFrame({
        "x": x, "y": 3 * x**2 + 0.1 * rng.normal(size=1500), "z": np.sin(3 * x) + 0.1 * rng.normal(size=1500),
        "side": np.where(x + rng.normal(size=1500) > 0, "right", "left"),
    })  # fmt: skip
    model = pf.TableDensity("nsf", layers=1, hidden=(32,), steps=100, lr=0.02).fit(bent)
    value, error = model.probability({"z": (0.5, None)}, errors=True)
    assert error < 0.0024  # 0.055 by the guide alone, 0.0045 by the first draws
    with monkeypatch.context() as wide:
        wide.setattr("pushforward.tables.queries.probability.WIDE", 1)
        assert 0.0024 < model.probability({"z": (0.5, None)}, errors=True)[1] < 0.005
    drawn = model.sample(20_000, random_state=3)
    assert abs(value - (drawn["z"] >= 0.5).mean()) < 4 * np.hypot(error, 0.0035)
    monkeypatch.setattr("pushforward.tables.queries.probability.POINTS", 50_000)
    beside = model.probability({"z": (0.5, None)}, pl.DataFrame({"x": [None, *[0.5] * 9]}), errors=True)
    assert beside[1][0] == pytest.approx(error, rel=0.1)  # rows of which numbers are known share other draws
    for given, text in (("x > 0", "x > 0"), ({"side": "right"}, "side = 'right'")):
        value, error = model.probability({"z": (0.5, None)}, given, errors=True)
        assert error < 0.005
        assert abs(value - (drawn.filter(pl.sql_expr(text))["z"] >= 0.5).mean()) < 4 * np.hypot(error, 0.005)
    near = drawn.filter(pl.col("x").is_between(0.45, 0.55))["y"]
    truth = (near >= 0.75).mean()
    for found in (
        model.probability({"y": (0.75, None)}, {"x": 0.5}, errors=True),
        model.probability("y >= 0.75 OR x > 5", {"x": 0.5}, errors=True),
    ):
        assert abs(found[0] - truth) < 4 * np.hypot(found[1], 0.5 / np.sqrt(len(near))) + 0.03
    assert model.quantile("y", 0.5, {"x": 0.5}) == pytest.approx(near.median(), abs=0.1)


def test_quantiles_are_those_of_draws_where_few_weights_count(
    model: pf.TableDensity, drawn: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pushforward.tables.queries.predict.EFFECTIVE", math.inf)
    among = drawn.filter(pl.col("kind") == "b")["x"].to_numpy()
    found = model.quantile("x", [0.1, 0.5, 0.9], given={"kind": "b"})
    assert np.abs(found - np.quantile(among, [0.1, 0.5, 0.9])).max() < 0.1
    assert model.quantile("x", 0.5, given={"kind": "b", "y": 3.0}) > 2.0  # no draw has this y


@pytest.mark.parametrize("given", ["kind = 'a' AND kind = 'b'", "x > 1 AND x < 0"])
def test_what_no_row_can_be_is_refused(model: pf.TableDensity, given: str) -> None:
    for ask in (lambda: model.quantile("y", 0.5, given=given), lambda: model.sample(2, given=given)):
        with pytest.raises(InputError) as error:
            ask()
        assert error.value.argument == "given"


@pytest.mark.slow
def test_names_that_are_missing_at_random_are_so_in_their_share() -> None:
    holes = np.random.default_rng(2).random(len(TABLE)) < 0.2
    frame = TABLE.select("x", kind=pl.when(pl.Series(~holes)).then("kind"))
    model = pf.TableDensity("maf", layers=1, hidden=(16,), steps=30).fit(frame)
    assert model.probability("kind IS NULL") == pytest.approx(holes.mean(), abs=0.03)
    assert model.probability("kind = 'a' OR kind IS NULL") > model.probability("kind = 'a'") + 0.1
    value, error = model.probability({"kind": "a", "x": (0, None)}, errors=True)
    assert abs(value - share(model.sample(MANY), "kind = 'a' AND x >= 0")[0]) < 4 * np.hypot(error, 0.003)
    assert error < 0.0025


@pytest.mark.slow
def test_where_a_share_is_exact_so_is_that_of_all_others() -> None:
    holes = pl.Series(np.random.default_rng(2).random(len(TABLE)) < 0.2)
    model = pf.TableDensity("maf", layers=1, hidden=(16,), steps=30).fit(TABLE.select(x=pl.when(~holes).then("x")))
    none, there = (model.probability(f"x IS {said}NULL", errors=True) for said in ("", "NOT "))
    assert there == pytest.approx((1 - none[0], 0.0), abs=1e-9)
    assert none[1] == 0


def test_draws_stay_in_ranges(model: pf.TableDensity, drawn: pl.DataFrame) -> None:
    given = {"x": (0, 1), "age": (30, 40), "n": [2, 3], "amount": (0.5, None), "kind": None}
    rows = model.sample(400, given=given)
    assert rows["x"].is_between(0, 1).all()
    assert rows["age"].is_between(30, 40).all()
    assert set(rows["n"]) == {2, 3}
    assert (rows["amount"] >= 0.5).all()
    assert rows.null_count().sum_horizontal().sum() == 0
    assert set(rows["kind"]) == {"a", "b"}
    where = "x BETWEEN 0 AND 1 AND age BETWEEN 30 AND 40"
    text = model.sample(50, given=where)
    assert text.select(pl.sql_expr(where))["x"].all()
    likewise = drawn.filter(pl.col("x").is_between(0, 1))["y"]
    assert model.sample(500, given={"x": (0, 1)})["y"].mean() == pytest.approx(likewise.mean(), abs=0.15)
    rare = model.sample(20, given={"x": (5, None), "n": (9, None)})
    assert (rare["x"] >= 5).all()
    assert (rare["n"] >= 9).all()
    assert model.sample(30, given={"total": (12, 14)})["total"].is_between(12, 14).all()
    cells = pd.DataFrame({"x": [(0, 1), None], "kind": ["a", ["b"]]})
    each = model.sample(5, given=cells)
    assert each["x"][:5].is_between(0, 1).all()
    assert each["kind"].to_list() == ["a"] * 5 + ["b"] * 5


@pytest.mark.slow
def test_quantiles(model: pf.TableDensity, drawn: pl.DataFrame) -> None:
    q = [0.1, 0.5, 0.9]
    values, errors = model.quantile("y", q, errors=True)
    truth = np.quantile(drawn["y"], q)
    assert (np.abs(values - truth) < 4 * np.hypot(errors, 0.02) + 0.02).all()
    frame = pl.DataFrame({"x": [2.0] * 40})  # of many rows each has fewer draws
    middle = model.quantile("y", 0.5, given=frame)
    assert middle.shape == (40,)
    assert middle == pytest.approx(2.0, abs=0.3)
    few = model.quantile("n", q, given=frame[:3])
    assert few.shape == (3, 3)
    assert (few % 1 == 0).all()
    middle = model.quantile("day", 0.5)
    assert abs(middle - np.datetime64("2024-05-30")) < np.timedelta64(25, "D")


@pytest.mark.slow
def test_predictions(model: pf.TableDensity) -> None:
    test = table(100, seed=1)
    mean, median = (model.predict(test, "y", kind) for kind in ("mean", "median"))
    for found in (mean, median):
        assert np.abs(found - test["x"].to_numpy()).mean() < 0.3
    assert model.predict(test.drop("y")[:5], "y") == pytest.approx(mean[:5], abs=0.05)
    proba = model.predict(test, "kind", "proba")
    assert proba.columns == ["a", "b"]
    assert proba.sum_horizontal().to_numpy() == pytest.approx(1.0, abs=1e-6)
    mode = model.predict(test, "kind", "mode")
    assert (mode == test["kind"].to_numpy()).mean() > 0.85
    assert model.predict(test[:4], "n", "median").dtype.kind == "i"
    assert np.abs(model.predict(test[:50], "y", "mode") - test["x"][:50].to_numpy()).mean() < 0.6


@pytest.mark.slow
def test_intervals_hold_their_level_on_rows_not_seen(model: pf.TableDensity) -> None:
    test = table(300, seed=2)
    for rows, level in ((test, 0.5), (test, 0.9), (test.select("kind"), 0.9)):
        found = model.predict(rows, "y", "interval", level=level)
        held = (found["low"] <= test["y"]) & (test["y"] <= found["high"])
        assert held.mean() == pytest.approx(level, abs=0.09)  # calibrated by 150 rows


@pytest.mark.parametrize(
    ("where", "argument"),
    [
        ({"nothing": 1}, "where"),
        ("nothing > 1", "where"),
        ({"x": "much"}, "where"),
        ({"x": (2, 1)}, "where"),
        ({"x": (1, 2, 3)}, "where"),
        ({"kind": []}, "where"),
        ({"kind": "c"}, "where"),
        ({"kind": ("a", "b")}, "where"),
        ({"n": (-9, -5)}, "where"),
        ({"n": 2.5}, "where"),
        ({"x": {"low": 1}}, "where"),
        ({"x": np.array([1, 2])}, "where"),
        ({"kind": ["a", None]}, "where"),
        ({"total": 12.5}, "where"),
        ({"total": (1, 2, 3)}, "where"),
        (5, "where"),
        ("x + kind > 1", "where"),
        ("x >", "where"),
        ("x + 1", "where"),
        ("1 = 1", "where"),
        ("x > AVG(x)", "where"),
        ("day > 'soon'", "where"),
        ("NOT (day > 3)", "where"),
        ("day > 3 OR x > 0", "where"),
        ("day > n", "where"),
        ("x > 0 AND day IN (3, 5)", "where"),
        ("day - DATE '2024-01-01' > 3", "where"),
        ("3 < day - DATE '2024-01-01' OR x > 0", "where"),
        ("kind = a", "where"),
    ],
    ids=str,
)
def test_bad_questions_are_refused(where: Any, argument: str, model: pf.TableDensity) -> None:
    with pytest.raises(InputError) as error:
        model.probability(where)
    assert error.value.argument == argument
    assert len(str(error.value).splitlines()) == 1


def test_other_bad_arguments_are_refused(model: pf.TableDensity) -> None:
    for ask in (
        lambda: model.sample(1, given={"x": (2, 1)}),
        lambda: model.sample(1, given={"kind": []}),
        lambda: model.quantile("kind", 0.5),
        lambda: model.sample(1.5),  # type: ignore[arg-type]
        lambda: model.sample(1, given={"day": 2024}),
        lambda: model.probability({"day": (2024, 2025)}),
        lambda: model.probability("x > 1", given=pl.DataFrame({"X": [1.0]})),
        lambda: model.predict(pl.DataFrame({"X": [1.0]}), "y"),
        lambda: model.quantile("y", 1.5),
        lambda: model.quantile("y", []),
        lambda: model.quantile("y", "half"),
        lambda: model.quantile("y", 0.5, given={"y": 1.0}),
        lambda: model.region(["total"]),
        lambda: model.predict(TABLE[:2], "nothing"),
        lambda: model.predict(TABLE[:2], "y", "average"),  # type: ignore[arg-type]
        lambda: model.predict(TABLE[:2], "y", "proba"),
        lambda: model.predict(TABLE[:2], "kind", "mean"),
        lambda: model.predict(TABLE[:2], "y", "interval", level=1.0),
        lambda: model.predict(TABLE[:2], "y", "interval", level="high"),  # type: ignore[arg-type]
    ):
        with pytest.raises(InputError):
            ask()


def test_a_region_without_mass_has_none_and_says_so(model: pf.TableDensity) -> None:
    value, error = model.probability("n < 0 AND x > 0", errors=True)
    assert value == 0.0
    assert error >= 0.0
    assert any("n < 0" in note for note in model.notes_)
    assert np.isnan(model.probability("n > 3", given={"x": (50, 60), "y": (-60, -50)}))
    assert "as given" in model.notes_[-1]
    assert model.probability({"x": (-np.inf, np.inf)}) == pytest.approx(1.0)


def test_what_and_joins_about_single_columns_is_a_region_whatever_its_parentheses(model: pf.TableDensity) -> None:
    plain = Where.of(model, "x > 1.5 AND n < 4 AND day >= DATE '2024-03-03' AND kind = 'a'")
    nested = Where.of(model, "(x > 1.5 AND (n < 4 AND day >= DATE '2024-03-01' + INTERVAL '2 days')) AND kind = 'a'")
    assert plain.rest == nested.rest == ()
    assert all(np.array_equal(part, nested.region.parts[j]) for j, part in plain.region.parts.items())


def test_no_answer_is_never_better_than_one() -> None:
    value, error = torch.tensor([[0.9, 0.5, math.nan], [0.2, 0.01, math.nan]])
    poor, good, none = Share(value, error).of_odds()
    assert good < poor < none


def test_two_answers_are_averaged_by_how_certain_they_are() -> None:
    one = Share(torch.tensor([0.5, 0.5, math.nan, math.nan]), torch.tensor([0.02, 0.02, math.nan, math.nan]))
    other = Share(torch.tensor([0.6, math.nan, 0.2, math.nan]), torch.tensor([0.02, math.nan, 0.1, math.nan]))
    value, error = one.beside(other)
    assert 0.5 < value[0] < 0.55  # an error of 0.02 is more beside 0.6 than beside 0.5
    assert error[0] == pytest.approx(0.02 / 2**0.5, rel=0.01)
    assert value[1:3].tolist() == [0.5, pytest.approx(0.2)]
    assert error[1:3].tolist() == pytest.approx([0.02, 0.1])
    assert value[3].isnan()


def test_a_share_of_a_whole_that_was_told_as_smaller_is_one() -> None:
    part, whole = (Share(torch.tensor([value]), torch.tensor([0.1])) for value in (0.05, 0.04))
    value, error = part.of(whole)
    assert value.item() == 1.0
    assert error.item() > 1.0
    none = Share(torch.tensor([0.0]), torch.tensor([0.1]))
    assert none.of(whole).error.item() == pytest.approx(2.5)
    assert whole.of(none).value.isnan()


def test_a_list_of_many_numbers_takes_fewer_draws(
    model: pf.TableDensity, drawn: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    met, noise_of_ends = list[int](), AnyOrder.noise_of_ends
    monkeypatch.setattr(
        AnyOrder,
        "noise_of_ends",
        lambda guide, j, ends, *more: met.append(ends.numel()) or noise_of_ends(guide, j, ends, *more),
    )
    odd = list(range(1, 400, 2))
    median, error = model.quantile("x", 0.5, {"n": odd}, errors=True)
    assert abs(median - drawn.filter(pl.col("n").is_in(odd))["x"].median()) < 4 * error + 0.05  # type: ignore[operator]
    assert 0 < sum(met) < 1_000_000  # a fifteenth of what 16,384 draws meet


def test_what_no_first_draw_tells_is_asked_of_more(model: pf.TableDensity) -> None:
    value, error = model.probability("n + x > -100", errors=True)
    assert (value, error) == (1.0, pytest.approx(0.0, abs=3.1 / 8_000))
    drawn = model.sample(MANY, random_state=8)
    rare = drawn.filter(pl.col("n") + pl.col("x") > 14)
    assert 0 < len(rare) < MANY / 256
    value, error = model.probability("kind = 'b'", "n + x > 14", errors=True)
    assert abs(value - (rare["kind"] == "b").mean()) < 4 * np.hypot(error, 0.5 / len(rare) ** 0.5)


@pytest.mark.slow
def test_draws_far_from_the_training_rows_count_as_little_as_they_are_drawn(
    model: pf.TableDensity, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = model.schema.features.index("x")
    monkeypatch.setattr(type(model.schema), "far", lambda _, x: x[..., where] > 2)
    monkeypatch.setattr(model, "_known", {})
    value, error = model.probability("x > 1", errors=True)
    assert abs(value - (model.sample(10_000, random_state=5)["x"] > 1).mean()) < 4 * np.hypot(error, 0.004)
    monkeypatch.delattr("pushforward.tables.queries.probability.near_draws")  # the next question needs no others
    assert model.probability("x > 1 AND y > x") <= value


@pytest.mark.slow
def test_far_rows_do_not_count_given_a_number_or_in_what_is_asked(
    model: pf.TableDensity, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = map(model.schema.features.index, "xy")
    low, high = (ends.clone() for ends in model.schema.reach)
    high[[x, y]] = torch.tensor([2.0, 1.0], dtype=torch.float64)
    monkeypatch.setitem(vars(model.schema), "reach", (low, high))
    monkeypatch.setattr(model, "_known", {})
    for where, given in (
        ("x > 1", {"n": 5}),
        ("y > 0.5 AND x > 1", {"n": 5}),
        ("kind = 'a'", None),
        ("y > 0", {"x": 1.0}),
    ):
        drawn = model.sample(4_000, given=given, random_state=6)
        share = pl.SQLContext(drawn=drawn).execute(f"SELECT ({where}) AS held FROM drawn").collect()["held"].mean()
        value, error = model.probability(where, given, errors=True)
        assert abs(value - share) < 4 * np.hypot(error, 0.008)
    assert model.probability("x > 2.5") == model.probability("x > 2.5", {"n": 5}) == 0
    high[y] = torch.inf
    assert model.probability("x > 2.5", {"x": (2.25, None)}) > 0  # as it was asked for
    assert model.sample(50, given={"x": (1.5, None)})["x"].max() <= 2
    assert model.sample(50, given={"x": (2.5, None)})["x"].min() >= 2.5


@pytest.mark.slow
def test_a_question_of_many_rows_is_judged_once_among_their_common_draws(
    model: pf.TableDensity, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, sizes = Schema.decode, list[int]()
    monkeypatch.setattr(
        Schema, "decode", lambda schema, x, *choices: sizes.append(len(x)) or decode(schema, x, *choices)
    )
    found = model.probability("x > y", pl.DataFrame({"kind": ["a", "b"] * 4}))
    assert len([size for size in sizes if size >= 12_500]) == 2  # draws, and four times as many
    assert len({*found.tolist()}) == 2


def test_truth_values_may_be_written_in_quotes_and_are_no_other_text() -> None:
    x, yes = np.random.default_rng(0).normal(size=200), np.random.default_rng(1).random(200) < 0.3
    frame = pl.DataFrame({"x": x, "yes": yes, "again": yes, "name": ["TRUE", "other"] * 100})
    model = pf.TableDensity("maf", steps=5, layers=1, queries=False).fit(frame)
    assert model.schema.follow_names == ["again"]
    for name in ("yes", "again"):
        plain = model.probability(name)
        for text in (f"{name} = 'TRUE'", f"{name} IN ('true')", f"NOT {name} = 'False' AND name LIKE '%E%' OR {name}"):
            assert model.probability(text) == plain
        assert model.probability({name: "TRUE"}) == plain
    with pytest.raises(InputError, match="truth value"):
        model.probability("yes = 'Y'")


def test_categories_that_are_numbers_are_compared_as_such_and_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    size, name = rng.choice([5, 10, 20], 200), rng.choice(["10", "other"], 200)
    frame = pd.DataFrame({"size": pd.Categorical(size), "name": pd.Categorical(name), "x": rng.normal(size=200)})
    model = pf.TableDensity("maf", steps=5, layers=1, queries=False).fit(frame)
    for text, value in (("size = 10", 10), ("size = '10'", 10), ("size IN (5, 10)", [5, 10]), ("size > 5", [10, 20])):
        assert model.probability(text) == model.probability({"size": value})
    assert model.probability("x < size AND size >= 10") == pytest.approx(model.probability("size > 9"), abs=0.05)
    assert {*map(int, model.sample(20, given="size < 20")["size"])} == {5, 10}
    with pytest.raises(InputError, match="categorical"):
        model.probability("name = 10")
    model._known.clear()
    monkeypatch.setattr("pushforward.tables.queries.probability.near_draws", None)  # refused before any draw
    for text in ("x > 1 OR name > 5", "x > 1 OR x > AVG(x)"):
        with pytest.raises(InputError):
            model.probability(text)


def test_what_follows_from_others_is_asked_for_as_its_values_are_read() -> None:
    rng = np.random.default_rng(0)
    x, yes, code = rng.normal(size=300), rng.random(300) < 0.3, rng.choice(["9", "10", "11"], 300)
    table = pl.DataFrame({"x": x, "yes": yes, "code": code, "twice": 2 * x, "also": yes, "same": code})
    schema = learn_schema(table, Learner(TableOptions(columns=table.columns, categories=["code", "same"]), "table"))
    assert {*schema.follow_names} == {"also", "twice", "same"}
    model: Any = SimpleNamespace(schema=schema, called="model")
    for asked in (True, "True", "1", 1.0):
        assert Where.of(model, {"also": asked}).counts(table).tolist() == yes.tolist()
    assert Where.of(model, {"twice": (1, None)}).counts(table).tolist() == (2 * x >= 1).tolist()
    assert Where.of(model, {"same": [10]}).counts(table).tolist() == (code == "10").tolist()


def test_durations_are_asked_for_in_sql() -> None:
    spans = (3600 * np.random.default_rng(0).gamma(3, size=200)).round()
    table = pl.DataFrame({"took": [dt.timedelta(seconds=each) for each in spans]})
    model: Any = SimpleNamespace(
        schema=learn_schema(table, Learner(TableOptions(columns=["took"]), "table")), called="model"
    )
    found = Where.of(model, "took BETWEEN INTERVAL '1 hour' AND INTERVAL '3 hours'")
    asked = Where.of(model, {"took": (dt.timedelta(hours=1), dt.timedelta(hours=3))})
    assert found.rest == ()
    np.testing.assert_array_equal(found.region.parts[0], asked.region.parts[0])
    with pytest.raises(InputError, match="Duration"):
        Where.of(model, "took > '1 hour'")


def test_a_column_that_a_missing_value_implies_is_given_by_value_as_in_sql() -> None:
    """Hours are missing of those who do not work, so 'work' follows from 'hours', and says whether there are any."""
    rng = np.random.default_rng(0)
    work = rng.choice(["yes", "no"], 300)
    hours = np.where(work == "yes", rng.choice(["20", "30", "40"], 300), None).tolist()
    table = pl.DataFrame({"work": work, "hours": hours, "x": rng.normal(size=300) + (work == "yes")})
    model = pf.TableDensity("maf", layers=1, hidden=(16,), steps=60, random_state=0).fit(table)
    assert model.schema.follow_names == ["work"]
    for given in ({"work": "no"}, {"work": ["no"]}, {"work": "no", "x": 0.5}, pl.DataFrame({"work": ["no"]})):
        np.testing.assert_allclose(model.probability("hours IS NULL", given=given), 1.0)
    assert model.probability("hours IS NULL", given={"work": "yes"}) == 0.0
    drawn = model.sample(20, given={"work": "yes"}, random_state=0)
    assert drawn["hours"].null_count() == 0
    assert model.impute(table, random_state=0)["hours"].equals(table["hours"])
    plain, sql = (model.probability({"x": (0, None)}, given=each) for each in ({"work": "yes"}, "work = 'yes'"))
    assert plain == pytest.approx(sql, abs=0.02)


@pytest.mark.parametrize("asked", ["sent - day > 7", "x > 0 AND sent > 7", "sent - day > INTERVAL '7 days'"])
def test_dates_that_came_as_text_are_no_numbers_either(asked: str) -> None:
    days = pl.Series([dt.date(2024, 1, 1) + dt.timedelta(days=k) for k in range(60)])
    table = pl.DataFrame({"day": days.dt.to_string(), "sent": (days + dt.timedelta(days=9)).dt.to_string()})
    table = table.with_columns(x=pl.Series(np.random.default_rng(0).normal(size=60)))
    said = TableOptions(columns=["day", "sent", "x"], relations="none")
    model: Any = SimpleNamespace(schema=learn_schema(table, Learner(said, "table")), called="model")
    if "INTERVAL" in asked:
        assert Where.of(model, asked).counts(table).all()
    else:
        with pytest.raises(InputError, match="INTERVAL '3 days'"):
            Where.of(model, asked)


def test_a_condition_that_the_typical_values_do_not_show_is_counted_among_draws() -> None:
    """The hours of a moment and the last digits of a number are no ranges, though no typical value may lie there."""
    days = np.arange(400)
    rare = days % 99 == 55  # none of them a quantile
    seconds = 86_400 * days + 3600 * np.where(rare, 20, 9)
    t = pl.Series(seconds * 1_000_000).cast(pl.Duration("us")) + dt.datetime(2024, 1, 1)
    table = pl.DataFrame({"t": t, "x": 10 * days + np.where(rare, 7, 0)})
    schema = learn_schema(table, Learner(TableOptions(columns=table.columns), "table"))
    model: Any = SimpleNamespace(schema=schema, called="model")
    for text in ("EXTRACT(hour FROM t) >= 18", "x % 10 = 7"):
        assert Where.of(model, text).counts(table).sum() == 4
    assert Where.of(model, "t > TIMESTAMP '2024-03-01 00:00:00'").rest == ()


def test_dates_that_are_text_have_an_order_only_where_it_is_that_of_time() -> None:
    days = [dt.date(2020, 1, 1) + dt.timedelta(int(day)) for day in np.random.default_rng(0).integers(0, 900, 200)]
    frame = pl.DataFrame(
        {name: [day.strftime(form) for day in days] for name, form in (("a", "%d.%m.%Y"), ("b", "%Y-%m-%d"))}
    )
    model = pf.TableDensity("maf", steps=5, layers=1, queries=False, relations="none").fit(frame)
    for text in ("a > '01.06.2021'", "b > '2021-06-01' AND NOT '01.06.2021' >= a", "EXTRACT(month FROM a) = 5"):
        with pytest.raises(InputError, match=r"DATE\(") as caught:
            model.probability(text)
        assert caught.value.argument == "where"
    asked = ("DATE(a, '%d.%m.%Y') > DATE '2021-06-01'", "a = '01.06.2021' OR b > '2021-06-01'", "b > DATE '2021-06-01'")
    for probability in map(model.probability, asked):
        assert 0.2 < probability < 0.8
    assert model.probability("b > DATE '2021-06-01'") == model.probability("b > '2021-06-01'")


@pytest.fixture(scope="module")
def unfitted() -> Any:
    """What reads conditions on the table, without a density."""
    return SimpleNamespace(
        schema=learn_schema(TABLE, Learner(TableOptions(columns=TABLE.columns), "table")), called="model"
    )


@pytest.mark.parametrize(
    "condition",
    [
        *("x > AVG(x)", "x > FIRST(x)", "x > MIN(x) - 1", "x <= MAX(x) AND y < x", "kind = 'a' OR x < MEDIAN(x) + 99"),
        *("COUNT(x) > 0", "COUNT(*) > 0 AND x > 1", "x > 1 OR COUNT(DISTINCT kind) = 2", "STDDEV(x) > 0 AND x > 0"),
        *("SUM(n) >= n", "n <= MAX(n) OVER (PARTITION BY kind)", "ROW_NUMBER() OVER (ORDER BY x) > 0"),
        *("x IS NOT NULL AND MIN(x) IS NOT NULL", "CASE WHEN SUM(x) > 0 THEN x > 0 ELSE x < 9 END", "VARIANCE(x) >= 0"),
    ],
)
def test_a_condition_that_other_rows_decide_is_refused_even_if_it_always_holds(condition: str, unfitted: Any) -> None:
    with pytest.raises(InputError, match="in each row"):
        Where.of(unfitted, condition)


def test_a_chain_of_comparisons_is_refused(unfitted: Any) -> None:
    for text in ("x > y > 1", "kind = 'a' OR 1 < x < 2", "NOT (0 < n <= 3)"):
        with pytest.raises(InputError, match="1 < x < 2 as x > 1 AND x < 2"):
            Where.of(unfitted, text)
    for text in (
        "(x > 0) = TRUE",
        "CASE WHEN x > 0 THEN 1 ELSE 0 END = 1",
        "(x > 0)::INT + n > 2",
        "n IN (1, 2) AND x > 1",
    ):
        Where.of(unfitted, text)


@pytest.mark.slow
def test_alternatives_may_be_many_and_are_a_list(unfitted: Any) -> None:
    some = list(range(1, 1000, 2))
    for text in (" OR ".join(f"n = {k}" for k in some), f"n IN ({', '.join(map(str, some))})"):
        np.testing.assert_array_equal(
            Where.of(unfitted, text).region.parts[TABLE.columns.index("n")],
            Where.of(unfitted, {"n": some}).region.parts[TABLE.columns.index("n")],
        )
    several = Where.of(unfitted, " OR ".join(f"n = {k} AND kind = 'a'" for k in some[:15]))
    assert several.counts(TABLE).tolist() == ((TABLE["n"] % 2 == 1) & (TABLE["kind"] == "a")).to_list()
    assert Where.of(unfitted, "x > y AND TRUE").counts(TABLE).tolist() == (TABLE["x"] > TABLE["y"]).to_list()


@pytest.mark.parametrize(
    ("where", "said"),
    [
        *(
            (where, "can be c;")
            for where in ({"kind": ["a", "c"]}, "kind IN ('a', 'c')", "x > 1 OR kind IN ('c', 'b')")
        ),
        *((where, r"can be 2\.5;") for where in ({"n": [2, 2.5]}, "n IN (2, 2.5)", "kind = 'a' OR n IN (2, 2.5)")),
    ],
    ids=str,
)
def test_a_list_with_what_cannot_be_is_refused(where: Any, said: str, unfitted: Any) -> None:
    with pytest.raises(InputError, match=said) as caught:
        Where.of(unfitted, where)
    assert caught.value.argument == "where"


def test_a_list_of_what_it_is_none_of_may_have_what_cannot_be(unfitted: Any, model: pf.TableDensity) -> None:
    for text in ("kind NOT IN ('a', 'c')", "NOT kind IN ('a', 'c')", "x > 1 AND kind NOT IN ('c', 'a') AND y > 1"):
        found = Where.of(unfitted, text)
        assert found.region.parts[0].tolist() == [False, True]
        assert [note.startswith("no value of 'kind' can be c;") for note in found.notes] == [True]
    same = model.probability("kind NOT IN ('a')", given="kind NOT IN ('c')")
    assert any("can be c;" in note for note in model.notes_)
    assert model.probability("kind NOT IN ('a', 'c')") == pytest.approx(same)
    assert any("can be c;" in note for note in model.notes_)


@pytest.mark.parametrize("text", ["x > 5_000", "x > 5 y", "x > 5 AND kind = 'a' AS b"])
def test_what_sql_would_take_for_a_name_is_refused(text: str, unfitted: Any) -> None:
    with pytest.raises(InputError, match="would name it"):
        Where.of(unfitted, text)


def test_dates_need_no_word_before_them(unfitted: Any) -> None:
    for plain, dated in (
        ("day > '2024-03-01'", "day > DATE '2024-03-01'"),
        ("day BETWEEN '2024-03-01' AND '2024-04-01'", "day BETWEEN DATE '2024-03-01' AND DATE '2024-04-01'"),
        ("day IN ('2024-03-01') AND kind = 'a'", "day IN (DATE '2024-03-01') AND kind = 'a'"),
        ("day >= '2024-03-01 00:00'", "day >= TIMESTAMP '2024-03-01 00:00:00'"),
        ("STRFTIME(day, '%Y-%m-%d') > '2024-03-01'", "day > DATE '2024-03-01'"),
    ):
        found = [Where.of(unfitted, text) for text in (plain, dated)]
        for parts in zip(*(each.region.parts.values() for each in found), strict=True):
            np.testing.assert_array_equal(*parts)
        np.testing.assert_array_equal(*(each.counts(TABLE) for each in found))
    for text in ("day > '1.3.2024'", "day = 'a' AND day > '2024-03-01'"):
        with pytest.raises(InputError, match="DATE"):
            Where.of(unfitted, text)


def test_truth_values_are_0_and_1_only_where_nothing_else_is() -> None:
    frame = TABLE.select("x", "n", flag=(TABLE["x"] > 1).cast(int), few=TABLE["n"] % 3)
    schema = learn_schema(frame, Learner(TableOptions(columns=frame.columns, relations="none"), "table"))
    unfitted: Any = SimpleNamespace(schema=schema, called="model")
    for text in ("flag = (x > 1)", "NOT flag <> (x > 1)", "(1 < x) = flag"):
        assert Where.of(unfitted, text).counts(frame).all()
    for text in ("flag = TRUE", "flag = 1"):
        assert Where.of(unfitted, text).region.parts[2].tolist() == [False, True]
    assert Where.of(unfitted, {"flag": True}).region.parts[2].tolist() == [False, True]
    for text in ("n = (x > 1)", "few = TRUE", "flag < (x > 1)", "1 = (x > 1)", "x = n = 1", "x > x > x > 0.5"):
        with pytest.raises(InputError, match="is no number"):
            Where.of(unfitted, text)
    for asked in ({"n": True}, {"few": [True, 2]}, {"n": (np.True_, None)}):
        with pytest.raises(InputError, match="takes a number"):
            Where.of(unfitted, asked)


def test_a_truth_value_is_given_to_no_number(model: pf.TableDensity) -> None:
    for given in ({"n": True}, {"total": np.False_}, {"x": [True]}):
        with pytest.raises(InputError, match="takes a number") as caught:
            model.probability("kind = 'a'", given=given)
        assert caught.value.argument == "given"


def test_text_of_which_half_the_examples_are_no_numbers_is_left_to_what_refuses_it():
    cells = pl.DataFrame({"kind": ["-", "1", "2", "3"]})
    for each in (cells, cells.reverse()):
        assert _wrong(each, pl.sql_expr("CAST(kind AS INT) > 1 OR kind = '-'")) == ""
