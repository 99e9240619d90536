"""Tables of few rows: averages that are fitted, asked, drawn from, explained, saved and reported like one flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import pushforward as pf
from pushforward.cli import app as cli
from pushforward.distributions.average import Average
from pushforward.errors import InputError
from pushforward.tables.options import TableOptions


def table(rows: int = 160, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    size = rng.gamma(3.0, 1.0, rows)
    colour = rng.choice(["red", "blue"], rows)
    price = np.exp(1 + np.log(size) + 0.3 * rng.normal(size=rows)) + 5 * (colour == "red")
    return pl.DataFrame({"size": size, "price": price, "count": rng.poisson(5 * size), "colour": colour})


TABLE = table()
QUICK: dict[str, Any] = {"flow": "maf", "members": 2, "layers": 1, "hidden": (8, 8), "steps": 15}


@pytest.fixture(scope="module")
def fitted() -> pf.TableDensity:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pushforward.tables.fit.FEW_STEPS", 50)  # of the guide
        return pf.TableDensity(budget=0.5).fit(TABLE)


def test_auto_averages_few_rows_and_is_ahead_of_the_gaussian(fitted: pf.TableDensity) -> None:
    assert isinstance(fitted.density.numbers.base, Average)
    assert sum(fitted.summary_["average"]["weights"].values()) == pytest.approx(1)
    assert fitted.overview("t")["Flow"] == f"an average of {fitted.summary_['average']['members']} densities"
    assert fitted.summary_["held_out"]["gain"] > 0
    assert fitted.summary_["verdict"] in fitted.notes_  # that time was over


@pytest.mark.slow
def test_every_verb_works(fitted: pf.TableDensity, tmp_path: Path) -> None:
    scores = fitted.score_samples(TABLE)
    fitted.save(tmp_path / "model")
    np.testing.assert_array_equal(pf.TableDensity.load(tmp_path / "model").score_samples(TABLE), scores)
    drawn = fitted.sample(300, random_state=0)
    assert drawn.columns == TABLE.columns
    assert abs(drawn["size"].mean() - TABLE["size"].mean()) < 1
    assert fitted.explain(TABLE[:3]).height == 3
    assert fitted.compare(fitted, TABLE)["rows"] > 0
    fitted.report(tmp_path / "report.html", TABLE)
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_encoded_points_bring_scores_back_to_the_tables_units() -> None:
    numbers = TABLE.select("size", "price", "count")
    model = pf.TableDensity(**QUICK).fit(numbers)
    points, slopes = model.encode(numbers)
    assert points.shape[1:] == (160, 3)
    assert slopes.shape == points.shape[:2]
    assert abs(points.mean()) < 0.2


def test_few_numbers_are_encoded_as_cells_between_them() -> None:
    rng = np.random.default_rng(0)
    level = rng.choice([1, 2, 5, 9], 200)
    numbers = pl.DataFrame({"level": level, "size": level + rng.normal(size=200)})
    model = pf.TableDensity(**QUICK).fit(numbers)
    points, slopes = model.encode(numbers)
    assert points.shape == (16, 200, 2)
    assert [len(np.unique(np.round(slopes[0] - slopes[0].min(), 4)))] == [4]  # cells of 1, 2, 3.5 and 4
    inside = np.exp(slopes.mean(0)[level == 1][0]) / np.exp(slopes.mean(0)[level == 5][0])
    assert inside == pytest.approx(1 / 3.5)
    spread = points[:, level == 2, 0]
    assert points[:, level == 1, 0].max() < spread.min() < spread.max() < points[:, level == 5, 0].min()


def test_numbers_that_are_names_are_encoded_as_the_numbers_that_they_are() -> None:
    rng = np.random.default_rng(0)
    pig = np.repeat([4601, 4605, 4823, 5001], 50)
    table = pl.DataFrame({"pig": pig, "size": rng.normal(size=200), "weight": rng.normal(size=200)})
    points, slopes = pf.TableDensity(**QUICK, categories=["pig"]).fit(table).encode(table)
    assert points.shape == (16, 200, 3)
    assert slopes.shape == (16, 200)
    assert points[:, pig == 4601, 0].max() < points[:, pig == 4823, 0].min()


@pytest.mark.slow
def test_members_of_a_named_flow_are_reproducible_by_seed() -> None:
    first, again = (pf.TableDensity(**QUICK).fit(TABLE) for _ in range(2))
    other = pf.TableDensity(**QUICK, random_state=1).fit(TABLE)
    assert len(first.density.numbers.base.members) == 2
    np.testing.assert_array_equal(first.score_samples(TABLE), again.score_samples(TABLE))
    assert not np.array_equal(first.score_samples(TABLE), other.score_samples(TABLE))


def test_conditional_on_columns() -> None:
    model = pf.TableDensity(given=["size", "colour"], **QUICK).fit(TABLE)
    assert model.sample(4, given={"size": 3.0, "colour": "red"}).height == 4
    assert np.isfinite(model.score_samples(TABLE)).all()


def test_a_length_or_a_size_makes_auto_one_flow() -> None:
    model = pf.TableDensity(steps=5, layers=1, hidden=(8, 8)).fit(TABLE)
    assert "average" not in model.summary_
    assert not isinstance(model.density.numbers.base, Average)


def test_gmm_is_an_average_of_mixtures_alone() -> None:
    model = pf.TableDensity("gmm", queries=False).fit(TABLE.select("size", "price"))
    assert {type(member).__name__ for member in model.density.base.members} == {"GaussianMixture"}


def test_a_number_that_nearly_follows_is_judged_on_the_scale_of_its_fits() -> None:
    x, noise = np.random.default_rng(0).normal(size=(2, 1200))
    rows = pl.DataFrame({"x": x, "y": 2 * x + 0.002 * noise})
    model = pf.TableDensity("gmm", columns=["y"], given=["x"], queries=False).fit(rows[:200])
    found, fresh = model.predict(rows[200:], "y", "interval"), rows["y"][200:]
    assert fresh.is_between(found["low"], found["high"]).mean() == pytest.approx(0.9, abs=0.06)
    assert (model.percentile(model.score_samples(rows[200:])) <= 10).mean() == pytest.approx(0.1, abs=0.06)


@pytest.mark.slow
def test_numbers_with_holes_depend_on_each_other_as_those_of_whole_rows() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=100)
    missing = np.where(x > 0, 0.6, 0.2)
    holed = {f"y{k}": np.where(rng.random(100) < missing, np.nan, x + 0.2 * rng.normal(size=100)) for k in range(3)}
    model = pf.TableDensity("gmm", steps=100).fit(pl.DataFrame({"x": x, **holed}).fill_nan(None))
    drawn = model.sample(2000, random_state=0)
    for name in holed:  # with noise in the holes, 0.67 to 0.84
        assert drawn.drop_nulls(name).select(pl.corr("x", name)).item() > 0.95


@pytest.mark.slow
def test_the_shell_takes_members(tmp_path: Path) -> None:
    TABLE.write_csv(tmp_path / "t.csv")
    line = f"fit {tmp_path}/t.csv -o {tmp_path}/m --flow maf --members 2 --steps 20 --layers 1 --hidden 8,8 --quiet"
    assert cli.main(line.split()) == 0
    assert pf.TableDensity.load(tmp_path / "m").summary_["average"]["members"] == 2


def test_bad_members_are_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match="members=0: expected a whole number of at least 1, or auto"):
        pf.TableDensity(members=0).fit(TABLE)
    with pytest.raises(InputError, match="members=90 must be at least 2 and at most half of the rows"):
        pf.TableDensity("maf", members=90).fit(TABLE)
    model = pf.TableDensity()
    model.options = TableOptions(flow="gmm", objective="matching")
    with pytest.raises(InputError, match="flow='gmm': is for columns of numbers in memory"):
        model.fit(TABLE.select("size", "price"))


def named_table(n: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(size=n), rng.uniform(size=n)
    often = np.where((x > 0.5) ^ (y > 0.5), 0.9, 0.1)
    name = np.where(rng.random(n) < often, "yes", np.where(rng.random(n) < 0.2, "maybe", "no"))
    return pl.DataFrame({"x": x, "y": y, "name": name})


NAMED, FRESH_NAMED = named_table(500, 0), named_table(500, 1)


@pytest.fixture(scope="module")
def classifier() -> pf.TableDensity:
    return pf.TableDensity(columns=["name"], given=["x", "y"], queries=False).fit(NAMED)


def test_both_are_tried_and_the_average_is_better_than_each_on_rows_not_seen(classifier: pf.TableDensity) -> None:
    found = classifier.summary_["average"]
    assert set(found["weights"]) == {"network", "network on trees"}
    logs = dict(found["log_likelihood"])
    average = logs.pop("average")
    assert all(average > value - 0.01 for value in logs.values())
    assert classifier.score(FRESH_NAMED) == pytest.approx(average, abs=0.15)


def test_probabilities_sum_to_one_and_hold_on_fresh_rows(classifier: pf.TableDensity) -> None:
    each = np.exp(
        [classifier.score_samples(FRESH_NAMED.with_columns(name=pl.lit(name))) for name in ("yes", "no", "maybe")]
    )
    np.testing.assert_allclose(each.sum(0), 1, atol=1e-5)
    sure = each[0] > 0.7
    assert (FRESH_NAMED["name"].to_numpy()[sure] == "yes").mean() == pytest.approx(each[0][sure].mean(), abs=0.1)


def test_it_is_saved_without_a_pickle(classifier: pf.TableDensity, tmp_path) -> None:
    classifier.save(tmp_path / "m")
    again = pf.TableDensity.load(tmp_path / "m")
    np.testing.assert_allclose(again.score_samples(FRESH_NAMED), classifier.score_samples(FRESH_NAMED), atol=1e-6)
    assert set(again.sample(50, given={"x": 0.2, "y": 0.8})["name"]) <= {"yes", "no", "maybe"}
