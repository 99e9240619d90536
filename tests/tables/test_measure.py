"""Percentiles and p-values of fresh rows: of averages, of one flow, with weights, and of old models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import pushforward as pf
from pushforward.tables.measure import apart
from pushforward.tables.queries.explain import unseen


def table(rows: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    size, kind = rng.gamma(3.0, size=rows), rng.choice(["a", "b", "c"], rows, p=[0.6, 0.3, 0.1])
    return pl.DataFrame({"size": size, "price": size * rng.lognormal(0, 0.3, rows), "kind": kind})


FRESH = table(3000, 9)


@pytest.fixture(scope="module")
def few() -> pf.TableDensity:
    return pf.TableDensity(budget=1.5, queries=False).fit(table(84, 0))


def shares(model: pf.TableDensity) -> tuple[float, float]:
    """How many fresh rows are below the first percentile, and how many have a p-value of at most 0.05."""
    found = model.outliers(FRESH, level=0.05)
    return float((model.percentile(found["log_density"].to_numpy()) < 1).mean()), float(found["outlier"].mean())


def test_every_row_of_a_small_table_is_scored_by_densities_that_did_not_see_it(few: pf.TableDensity) -> None:
    scores, weights = unseen(few, "log_density")
    assert len(scores) == 84
    assert (weights == 1).all()
    assert few.outliers(FRESH, level=0.02)["p_value"].min() == pytest.approx(1 / 85)


def shared(rows: pl.DataFrame) -> pl.DataFrame:
    """The table with a column so narrow that its densities are near 1000."""
    return rows.with_columns(share=np.random.default_rng(0).uniform(0, 1e-3, rows.height))


@pytest.fixture(scope="module")
def several() -> pf.TableDensity:
    return pf.TableDensity("gmm", steps=20).fit(shared(table(300, 3)))


def test_p_values_stand_beside_all_rows_of_an_average_where_its_guide_left_out_few(several: pf.TableDensity) -> None:
    assert len(unseen(several, "log_tails")[0]) == 60
    found = several.outliers(shared(FRESH))  # three of these would be within the level
    assert found["p_value"].min() == pytest.approx(1 / 301)
    assert found["outlier"].mean() == pytest.approx(0.05, abs=0.03)
    assert several.outliers(shared(FRESH), level=0.2)["p_value"].min() == pytest.approx(1 / 61)


def test_rows_that_lack_a_column_are_not_judged_by_the_densities_of_others(several: pf.TableDensity) -> None:
    assert several.outliers(FRESH)["outlier"].mean() < 0.1


def test_rows_with_holes_are_not_judged_by_the_densities_of_whole_ones() -> None:
    at_random = pl.when(pl.int_range(pl.len()).hash(0) % 5 > 0).then("share")
    rows, fresh = (shared(each).with_columns(share=at_random) for each in (table(300, 3), FRESH))
    found = pf.TableDensity("gmm", steps=20).fit(rows).outliers(fresh).sort("row")
    holed = fresh["share"].is_null()
    assert found["outlier"].filter(holed).mean() < 0.1
    assert found["outlier"].filter(~holed).mean() > 0.01


def test_the_least_percentile_is_that_of_the_row_itself(few: pf.TableDensity) -> None:
    found = few.percentile(np.array([-np.inf, -1e6, 1e6]))
    np.testing.assert_allclose(found, [0.0, 100 / 85, 100.0])


def test_few_fresh_rows_are_below_the_first_percentile(few: pf.TableDensity) -> None:
    below, flagged = shares(few)
    assert below < 0.04
    assert 0.01 < flagged < 0.11  # of 84 rows


def heaped(rows: int, seed: int) -> pl.DataFrame:
    """Columns of days, half of which are one of six numbers."""
    rng = np.random.default_rng(seed)
    days, often = np.exp(rng.normal(3.5, 1.6, (rows, 4))).round(), rng.choice([0, 1, 7, 30, 90, 365], (rows, 4))
    return pl.DataFrame(np.where(rng.random((rows, 4)) < 0.5, often, days).astype(int), schema=list("abcd"))


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_do_not_count_in_the_histograms_that_judge_them(seed: int) -> None:
    model, fresh = pf.TableDensity("gmm", queries=False).fit(heaped(100, seed)), heaped(1000, 100 + seed)
    percentile = model.percentile(model.score_samples(fresh))
    assert (percentile <= 10).mean() == pytest.approx(0.1, abs=0.06)  # of 100 rows: 0.4 where they counted
    assert (percentile <= 50).mean() == pytest.approx(0.5, abs=0.2)


def test_samples_are_apart_if_chance_hardly_moves_them_as_far() -> None:
    many, few = (torch.rand(200, n, generator=torch.Generator().manual_seed(n)) for n in (1000, 60))
    found = [apart(some, others) for some, others in zip(few, many, strict=True)]
    assert np.mean(found) < 0.04
    assert apart(few[0] ** 2, many[0])
    assert not apart(few[0, :0], many[0])


def test_a_flow_that_overfits_is_judged_by_its_held_out_rows() -> None:
    model = pf.TableDensity("nsf", layers=2, hidden=(96, 96), steps=300, lr=5e-3, queries=False).fit(table(600, 1))
    assert len(unseen(model, "log_density")[0]) == 120
    below, flagged = shares(model)
    assert below < 0.05
    assert 0.01 < flagged < 0.11


def test_a_mixture_that_is_fitted_to_validation_rows_was_judged_by_them_before() -> None:
    rng = np.random.default_rng(0)
    rows, fresh = (pl.DataFrame(rng.normal(size=(n, 3)) + 6 * rng.integers(0, 3, (n, 1))) for n in (4000, 3000))
    model = pf.TableDensity(steps=20, queries=False).fit(rows)
    assert model.summary_["flow"] == "gmm"
    assert len(unseen(model, "log_density")[0]) == 800
    assert model.outliers(fresh)["outlier"].mean() == pytest.approx(0.05, abs=0.03)


def test_weights_count_among_unseen_rows() -> None:
    rows, weight = table(120, 2), np.where(np.arange(120) < 60, 3.0, 1.0)
    model = pf.TableDensity("gmm", columns=["size", "price"], queries=False).fit(rows, sample_weight=weight)
    weights = unseen(model, "log_density")[1]
    assert set(np.round(weights / weights.min(), 6)) == {1.0, 3.0}


def test_a_model_without_such_rows_has_its_held_out_ones(few: pf.TableDensity, tmp_path: Path) -> None:
    few.save(tmp_path / "model")
    old = pf.TableDensity.load(tmp_path / "model")
    told: Any = old.facts.pop("unseen")
    assert len(told["log_density"]) == 84
    assert len(unseen(old, "log_density")[0]) == 8
    assert old.outliers(FRESH, level=0.2)["p_value"].min() == pytest.approx(1 / 9)  # 8 of 84 rows
