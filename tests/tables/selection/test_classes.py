"""One column of classes given others: networks and trees, weighted by rows that they did not see."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import pushforward as pf


def table(n: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(size=n), rng.uniform(size=n)
    often = np.where((x > 0.5) ^ (y > 0.5), 0.9, 0.1)
    name = np.where(rng.random(n) < often, "yes", np.where(rng.random(n) < 0.2, "maybe", "no"))
    return pl.DataFrame({"x": x, "y": y, "name": name})


TABLE, FRESH = table(500, 0), table(500, 1)


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    return pf.TableDensity(columns=["name"], given=["x", "y"], queries=False).fit(TABLE)


def test_both_are_tried_and_the_average_is_better_than_each_on_rows_not_seen(model: pf.TableDensity) -> None:
    found = model.summary_["average"]
    assert set(found["weights"]) == {"network", "scores on trees"}
    logs = dict(found["log_likelihood"])
    average = logs.pop("average")
    assert all(average > value - 0.01 for value in logs.values())
    assert model.score(FRESH) == pytest.approx(average, abs=0.15)


def test_probabilities_sum_to_one_and_hold_on_fresh_rows(model: pf.TableDensity) -> None:
    each = np.exp([model.score_samples(FRESH.with_columns(name=pl.lit(name))) for name in ("yes", "no", "maybe")])
    np.testing.assert_allclose(each.sum(0), 1, atol=1e-5)
    sure = each[0] > 0.7
    assert (FRESH["name"].to_numpy()[sure] == "yes").mean() == pytest.approx(each[0][sure].mean(), abs=0.1)


def test_it_is_saved_without_a_pickle(model: pf.TableDensity, tmp_path) -> None:
    model.save(tmp_path / "m")
    again = pf.TableDensity.load(tmp_path / "m")
    np.testing.assert_allclose(again.score_samples(FRESH), model.score_samples(FRESH), atol=1e-6)
    assert set(again.sample(50, given={"x": 0.2, "y": 0.8})["name"]) <= {"yes", "no", "maybe"}
