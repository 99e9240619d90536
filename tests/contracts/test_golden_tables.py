"""Tables, images and targets saved by version 0.2 still load, and score as they did then."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import pushforward as pf
from pushforward.cli import app as cli

GOLDEN = Path(__file__).parents[1] / "golden" / "0.2"
TABLES = sorted(path.stem for path in GOLDEN.glob("*.parquet"))
IMAGES = sorted(path.name.removesuffix("-rows.npz") for path in GOLDEN.glob("*-rows.npz"))


def close(found, expected) -> bool:
    """Equal to float32's rounding of the largest; impossible rows stay impossible."""
    found, expected = np.asarray(found), np.asarray(expected)
    finite = np.isfinite(expected)
    off = np.abs(found[finite] - expected[finite]).max() / max(1.0, np.abs(expected[finite]).max())
    return bool((np.isneginf(found) == np.isneginf(expected)).all() and off < 1e-4)


def answers(name: str) -> dict:
    return json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.mark.parametrize("name", TABLES)
def test_a_table_scores_as_before(name, tmp_path):
    rows, model = pl.read_parquet(GOLDEN / f"{name}.parquet"), pf.TableDensity.load(GOLDEN / name)
    assert close(model.score_samples(rows), answers(name)["scores"])
    model.save(tmp_path / "again")
    assert close(pf.TableDensity.load(tmp_path / "again").score_samples(rows), answers(name)["scores"])


@pytest.mark.parametrize("model", [GOLDEN.parent / "table", GOLDEN / "t-kinds"])
def test_the_shell_and_python_give_one_score(model, tmp_path):
    rows, scores = tmp_path / "rows.csv", tmp_path / "scores.csv"
    if model.parent == GOLDEN:
        pl.read_parquet(model.with_suffix(".parquet")).write_csv(rows)
    else:
        pl.read_csv(model.with_suffix(".csv")).write_csv(rows)
    assert cli.main(["score", str(model), str(rows), "-o", str(scores), "--quiet"]) == 0
    found = pf.TableDensity.load(model).score_samples(str(rows))
    np.testing.assert_array_equal(found, pl.read_csv(scores)["log_density"].to_numpy())


@pytest.mark.parametrize("name", [name for name in TABLES if "types" in answers(name)])
def test_its_draws_have_the_same_types(name):
    rows, model = pl.read_parquet(GOLDEN / f"{name}.parquet"), pf.TableDensity.load(GOLDEN / name)
    given = rows.head(1).select(model.schema.given_names) if model.schema.given else None
    drawn = model.sample(3, given=given, random_state=0)
    assert {column: str(kind) for column, kind in drawn.schema.items()} == answers(name)["types"]


@pytest.mark.parametrize("name", [name for name in TABLES if "marginal" in answers(name)])
def test_its_guide_answers_as_before(name):
    asked = answers(name)["marginal"]
    rows, model = pl.read_parquet(GOLDEN / f"{name}.parquet"), pf.TableDensity.load(GOLDEN / name)
    value, error = model.score_samples(rows.head(10).select(asked["names"]), errors=True)
    assert (np.abs(value - asked["value"]) < 1e-3 + 4 * np.hypot(error, asked["error"])).all()


@pytest.mark.parametrize("name", IMAGES)
def test_images_score_as_before(name):
    data, model = np.load(GOLDEN / f"{name}-rows.npz"), pf.ImageDensity.load(GOLDEN / name)
    labels = [data["labels"]] if "labels" in data else []
    assert close(model.score_samples(data["images"], *labels), answers(name)["scores"])
