"""Few numbers leave something for those that no training row had, and all of it sums to one."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import torch

import pushforward as pf
from pushforward.tables.schema.kinds.few_values import FewValues

RNG = np.random.default_rng(0)
QUICK = {"flow": "maf", "steps": 20, "random_state": 0, "queries": False}


def column(values: np.ndarray) -> FewValues:
    return FewValues.of(pl.Series("x", values))


def probabilities(known: FewValues, values: np.ndarray) -> np.ndarray:
    """p of numbers, with the training rows' shares for the numbers that were seen."""
    codes = known.read(pl.Series("x", values))
    shares = np.array(known.fill)[np.floor(codes).clip(0).astype(int)]
    return np.where(codes < 0, 0.0, shares * known.log_unseen(torch.from_numpy(codes)).exp().numpy())


@pytest.mark.parametrize(
    ("values", "grid"),
    [
        (RNG.poisson(1.5, 300), np.arange(0, 3000)),
        (RNG.choice([-2, 0, 3, 7], 30), np.arange(-3000, 3000)),
        (RNG.choice([58, 60, 60.2, 61.5, 65, 70.3], 50), np.arange(0, 3000) / 10),
        (np.array([0.52, 0.58, 0.61, 0.7215] * 3, np.float32), np.arange(-40_000, 40_000) / 1e4),
    ],
)
def test_all_numbers_that_can_be_have_probability_one(values: np.ndarray, grid: np.ndarray) -> None:
    known = column(values.astype(float))
    found = probabilities(known, grid.astype(float))
    assert (found > 0).all()
    assert found.sum() == pytest.approx(1.0, abs=2e-4)
    seen = np.isin(np.round(grid, 4), np.round(values.astype(float), 4))
    expected = (1 + 2 * (np.unique(values, return_counts=True)[1] == 2).sum()) / len(values)
    assert 0 < found[~seen].sum() < 0.05 + expected
    np.testing.assert_allclose(known.amounts(known.read(pl.Series("x", grid.astype(float)))), grid, atol=1e-6)


def test_what_is_left_is_about_what_good_and_turing_expect() -> None:
    once, often = np.arange(0.0, 120, 6), np.arange(3.0, 120, 6)
    values = np.concatenate([once, np.repeat(often, 30)])
    known = column(values)
    left = float((np.array(known.fill) * np.array(known.unseen)).sum())
    assert left == pytest.approx(len(once) / len(values), rel=0.25)


def test_flags_and_numbers_that_many_rows_hold_are_all_that_there_is() -> None:
    assert not column(np.array([0.0, 1.0] * 5)).unseen
    rated = column(np.repeat([1.0, 2.0, 3.0], 10))
    assert not rated.unseen
    assert rated.read(pl.Series("x", [4.0]))[0] == -1
    counts = column(np.repeat([0.0, 1.0, 2.0, 3.0], [50, 20, 3, 1]))
    assert counts.read(pl.Series("x", [-1.0, 2.5]))[0] == -1
    assert counts.read(pl.Series("x", [2.5]))[0] == -1


def test_a_row_with_an_unseen_count_is_scored_explained_and_never_drawn() -> None:
    n = 400
    frame = pl.DataFrame({"count": RNG.poisson(1.0, n), "size": RNG.normal(size=n)})
    highest = frame["count"].max()
    model = pf.TableDensity(**QUICK).fit(frame)
    rows = pl.DataFrame({"count": [0, highest, highest + 1, highest + 4, -1], "size": [0.0] * 5})
    scores = model.score_samples(rows)
    assert np.isfinite(scores[:4]).all()
    assert scores[4] == -math.inf
    assert scores[1] > scores[2] > scores[3]
    assert model.explain(rows)["unlikely_because"][3] == "count"
    assert set(model.sample(2000)["count"]) <= set(frame["count"])
    text = rows.with_columns(pl.col("count").cast(pl.String))
    np.testing.assert_array_equal(model.score_samples(text), scores)


def test_scores_of_all_counts_integrate_to_one() -> None:
    n = 300
    frame = pl.DataFrame({"count": RNG.poisson(1.0, n), "group": RNG.choice(["a", "b"], n)})
    model = pf.TableDensity(**QUICK).fit(frame)
    rows = pl.DataFrame({"count": np.repeat(np.arange(5000), 2), "group": ["a", "b"] * 5000})
    assert np.exp(model.score_samples(rows)).sum() == pytest.approx(1.0, abs=1e-4)


def test_a_sum_with_an_unseen_part_still_holds() -> None:
    n = 400
    counts = RNG.poisson(1.0, n)
    other = RNG.integers(0, 50, n)
    frame = pl.DataFrame({"count": counts, "other": other, "total": counts + other})
    model = pf.TableDensity(**QUICK).fit(frame)
    assert model.schema.relations
    unseen = int(counts.max()) + 2
    rows = pl.DataFrame({"count": [unseen, unseen], "other": [10, 10], "total": [10 + unseen, 11 + unseen]})
    scores = model.score_samples(rows)
    assert np.isfinite(scores[0])
    assert scores[1] == -math.inf


def test_a_copy_of_a_value_that_no_training_row_had_is_a_copy() -> None:
    values = np.log(np.repeat(np.arange(2, 60), 6)).round(6)
    frame = pl.DataFrame({"a": values, "b": values, "c": RNG.normal(size=len(values))})
    model = pf.TableDensity(**QUICK).fit(frame)
    assert model.schema.relations
    new = round(math.log(12.5), 6)
    scores = model.score_samples(pl.DataFrame({"a": [new, new], "b": [new, new + 0.01], "c": [0.0, 0.0]}))
    assert np.isfinite(scores[0])
    assert scores[1] == -math.inf


def test_a_column_of_one_number_and_holes_is_fitted() -> None:
    flag = [1 if there else None for there in RNG.random(200) < 0.5]
    frame = pl.DataFrame({"flag": flag, "size": RNG.normal(size=200), "count": RNG.integers(0, 5, 200)})
    assert np.isfinite(pf.TableDensity(**QUICK).fit(frame).score_samples(frame)).all()


def test_what_follows_from_numbers_is_drawn_as_it_was_rounded() -> None:
    income = RNG.integers(0, 25, 400) + 0.5
    rows = pl.DataFrame({"income": income, "log": np.log(income).astype(np.float32).astype(float)})
    model = pf.TableDensity(**QUICK).fit(rows)
    assert "'log' is log('income')" in map(str, model.schema.relations)
    assert {*model.sample(200)["log"]} <= {*rows["log"]}
    assert np.isfinite(model.score_samples(rows.with_columns(log=np.log(rows["income"])))).all()
