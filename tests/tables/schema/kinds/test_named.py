"""Names, and those that no training row had."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
import torch

import pushforward as pf
from pushforward.tables.schema.kinds.base import Kind
from pushforward.tables.schema.kinds.named import Category


def publishers(rows: int, seed: int) -> pl.DataFrame:
    """Names of which many are held by few rows, and a number that depends on whether a name is frequent."""
    rng = np.random.default_rng(seed)
    place = np.minimum(rng.zipf(1.6, rows), 2000)
    return pl.DataFrame({"name": [f"n{k}" for k in place], "price": rng.normal(size=rows) + 3.0 * (place < 4)})


TRAIN, FRESH = publishers(200, 0), publishers(2000, 1)


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    return pf.TableDensity(budget=4.0).fit(TRAIN)


def test_about_as_many_rows_are_left_to_new_names_as_hold_names_of_their_own() -> None:
    kind = Category.of(TRAIN["name"])
    counts = np.array(kind.fill) * 200
    left = float((np.array(kind.unseen) * counts).sum())
    once = int((counts.round() == 1).sum())
    assert 0.5 * once < left <= once + 0.1
    assert Kind.from_json(json.loads(json.dumps(kind.to_json()))) == kind
    assert Category.of(pl.Series(["a", "b", "c"] * 20)).unseen == ()
    assert Category.of(pl.Series(["a"] * 20 + ["b"])).unseen == ()


def test_the_names_of_fresh_rows_have_probabilities_that_sum_to_one_with_those_that_are_new(
    model: pf.TableDensity,
) -> None:
    known = pl.DataFrame({"name": [*TRAIN["name"].unique().sort(), "another"]})
    value, error = model.score_samples(known, errors=True)
    p = np.exp(value)
    assert p.sum() == pytest.approx(1.0, abs=0.005 + 3 * p[-1] * error[-1])
    once = TRAIN["name"].value_counts()["count"].eq(1).sum() / TRAIN.height
    assert p[-1] == pytest.approx(once, rel=0.5)
    given = pl.concat([FRESH.head(1).with_columns(name=pl.lit(name)) for name in known["name"][:-1]])
    assert np.exp(model.score_samples(given, given=["price"])).sum() == pytest.approx(1.0, abs=1e-6)


def test_rows_of_a_new_name_are_as_likely_as_others_of_rare_names(model: pf.TableDensity) -> None:
    new = ~FRESH["name"].is_in(TRAIN["name"].to_list())
    value, error = model.score_samples(FRESH.filter(new), errors=True)
    assert np.isfinite(value).all()
    assert error.max() < 1.0
    assert (np.asarray(model.percentile(model.score_samples(FRESH))) < 1).mean() < 0.03
    assert model.outliers(FRESH)["outlier"].mean() < 0.09
    assert not set(model.sample(500)["name"]) - set(TRAIN["name"])
    assert np.isnan(model.score_samples(FRESH.filter(new).head(3), given=["name"])).all()


def test_rows_as_new_ones_count_their_own_name_once_less() -> None:
    kind = Category.of(pl.Series(["a"] * 9 + ["b", "b", "c", "d", "e", "e", "e"]))
    codes = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, -1.0, torch.nan])  # 5 is a missing value
    found = kind.as_new(codes)
    assert found[1] in (2, 3)
    assert found[[0, 2, 3, 4, 5, 6]].tolist() == [0, -1, -1, 4, 5, -1]
    assert found[7].isnan()


def test_names_of_many_rows_stay_what_they_are_as_new_ones_where_rarer_ones_share_a_place() -> None:
    names = [f"n{k:03d}" for k in range(250) for _ in range(max(40 - k // 5, 3))]
    kind = Category.of(pl.Series(names))
    shares = np.array(kind.fill[:-1])
    often = torch.from_numpy(np.flatnonzero(shares > 1.1 * shares.min())).double()
    assert kind.grouped
    assert len(often) > 150
    assert kind.as_new(often).tolist() == often.tolist()


def test_a_budget_is_for_the_guide_and_the_figures_as_well(model: pf.TableDensity) -> None:
    assert {"guide", "held_out", "sampling"} <= model.summary_.keys()
    assert model.summary_["seconds"] < 2 * 4.0


def test_names_that_were_kept_from_spreadsheets() -> None:
    kind = Category.of(pl.Series(["=1+1", "@home", "it's", "plain"] * 3))
    read = kind.read(pl.Series(["'=1+1", "=1+1", "'@home", "'plain", "it's"]))
    assert [kind.shown(code) for code in read] == ["=1+1", "=1+1", "@home", "(unknown)", "it's"]
    long = kind.read(pl.Series(["'=1+1", "'plain"] * 400))
    assert [kind.shown(code) for code in long[:2]] == ["=1+1", "(unknown)"]
    both = Category.of(pl.Series(["=1+1", "'=1+1"] * 3))
    assert [both.shown(code) for code in both.read(pl.Series(["'=1+1", "=1+1"]))] == ["'=1+1", "=1+1"]
