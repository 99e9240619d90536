"""A number given others, where trees predict best: they get weight, and what is said is exact, saved and held out."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import pushforward as pf
from pushforward.tables.selection.members import MemberOptions


def table(n: int, seed: int) -> pl.DataFrame:
    """A number that jumps with the interaction of others."""
    rng = np.random.default_rng(seed)
    x, y, kind = rng.uniform(size=n), rng.uniform(size=n), rng.choice(["a", "b", "c"], n)
    level = np.where((x > 0.4) ^ (y > 0.6), 5.0, 0.0) + np.where(kind == "b", 3.0, 0.0)
    return pl.DataFrame({"x": x, "y": y, "kind": kind, "z": level + 0.3 * rng.normal(size=n)})


TABLE, FRESH = table(250, 0), table(300, 1)
SHORT = MemberOptions(steps=20, every=10)  # of flows beside the trees


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pushforward.tables.selection.cross_fitting.member_options", lambda *_: SHORT)
        return pf.TableDensity(columns=["z"], given=["x", "y", "kind"], queries=False).fit(TABLE)


@pytest.mark.slow
def test_trees_get_the_weight_that_they_earn(model: pf.TableDensity) -> None:
    average = model.summary_["average"]
    logs = dict(average["log_likelihood"])
    together = logs.pop("average")
    assert sum(weight for name, weight in average["weights"].items() if name.endswith("trees")) > 0.2
    alone = max(value for name, value in logs.items() if "trees" not in name)
    assert together > alone + 0.1
    assert model.score(FRESH) == pytest.approx(together - np.log(TABLE["z"].std()), abs=0.6)


@pytest.mark.slow
def test_its_density_integrates_to_one_and_draws_stay_near(model: pf.TableDensity) -> None:
    grid = np.linspace(-20, 30, 3001)
    same = pl.concat([FRESH[:1]] * len(grid)).with_columns(z=grid)
    assert np.trapezoid(np.exp(model.score_samples(same)), grid) == pytest.approx(1, abs=0.01)
    low, high = TABLE["z"].min(), TABLE["z"].max()
    drawn = model.sample(20, given=FRESH.drop("z"), random_state=0)["z"]
    assert drawn.min() > low - (high - low)
    assert drawn.max() < high + (high - low)


@pytest.mark.slow
def test_it_is_saved_without_a_pickle_and_explained(model: pf.TableDensity, tmp_path) -> None:
    model.save(tmp_path / "m")
    again = pf.TableDensity.load(tmp_path / "m")
    np.testing.assert_allclose(again.score_samples(FRESH), model.score_samples(FRESH), atol=1e-5)
    odd = FRESH[:5].with_columns(z=pl.Series([50.0] * 5))
    assert model.explain(odd)["unlikely_because"].to_list() == ["z"] * 5


@pytest.mark.slow
def test_scores_do_not_depend_on_the_other_rows(model: pf.TableDensity) -> None:
    together = model.score_samples(FRESH)
    np.testing.assert_allclose(model.score_samples(FRESH[7:9]), together[7:9], atol=1e-4)


@pytest.mark.parametrize(
    ("columns", "given", "trees"), [(["z"], ["x"], True), (["z"], [], False), (["z", "y"], ["x"], False)]
)
def test_trees_are_for_one_number_given_others(
    columns: list[str], given: list[str], trees: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pushforward.tables.selection.cross_fitting.member_options", lambda *_: SHORT)
    found = pf.TableDensity(columns=columns, given=given, queries=False).fit(TABLE[:24])
    assert any("trees" in name for name in found.summary_["average"]["weights"]) == trees
