"""What a model says of itself: one line that a reader can run, its columns; its keywords as scikit-learn has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone

import pushforward as pf
from pushforward.errors import InputError

TABLE = {"size": np.random.default_rng(0).gamma(3.0, size=80), "colour": ["red", "blue"] * 40}


@pytest.fixture(scope="module")
def fitted() -> pf.TableDensity:
    """A model of a table of five columns: one with holes that are no accident, one given, one that follows."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    holed = np.where(x > 0.5, np.nan, x + rng.normal(size=300))
    table = {"x": x, "holed": holed, "kind": rng.choice(["a", "b"], 300), "g": rng.normal(size=300), "twice": 2 * x}
    model = pf.TableDensity("maf", layers=1, hidden=(8,), steps=5, given=["g"], queries=False)
    return model.fit(pl.DataFrame(table).with_columns(pl.col("holed").fill_nan(None)))


def test_a_loaded_model_shows_how_to_load_it(fitted: pf.TableDensity, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m")
    assert repr(fitted).startswith("TableDensity(flow='maf', ")
    loaded = pf.TableDensity.load(tmp_path / "m")
    assert repr(loaded).startswith(f"TableDensity.load('{tmp_path / 'm'}'), fitted to ")
    again = eval(repr(loaded).partition(", fitted")[0], {"TableDensity": pf.TableDensity})
    assert again.summary_ == loaded.summary_


def test_a_schema_shows_the_columns_of_the_table(fitted: pf.TableDensity, tmp_path: Path) -> None:
    lines = repr(fitted.schema).splitlines()
    assert lines[0] == "Schema of 5 columns"
    assert [line.split()[0] for line in lines[1:5]] == ["column", "x", "holed", "kind"]
    assert "  given g: a number" in lines
    assert max(map(len, lines)) < 160
    fitted.report(tmp_path / "r.html")
    assert "fitted to a table of 5 columns" in (tmp_path / "r.html").read_text()


def test_a_clone_has_the_same_parameters_and_is_not_fitted() -> None:
    model = pf.TableDensity("maf", steps=2, columns=["size", "colour"], bounds={"size": (0, None)}).fit(TABLE)
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    assert twin.options == model.options
    assert not hasattr(twin, "density")
    assert np.array_equal(twin.fit(TABLE).score_samples(TABLE), model.score_samples(TABLE))


def test_parameters_can_be_changed_before_the_next_fit() -> None:
    model = pf.TableDensity("maf", steps=2)
    assert model.set_params(steps=None, budget="2m") is model
    assert (model.options.training.steps, model.options.training.budget) == (None, 120)
    assert model.get_params()["flow"] == "maf"
    with pytest.raises(InputError) as caught:
        model.set_params(step=2)
    assert caught.value.argument == "step"


def test_images_have_parameters_too() -> None:
    model = clone(pf.ImageDensity("glow", levels=4, given=("class",)))
    assert (model.options.flow, model.options.levels, model.options.given) == ("glow", 4, ("class",))
    assert model.expression == "ImageDensity(model='glow', levels=4, given=('class',))"


def test_a_class_of_ones_own_may_take_other_arguments() -> None:
    class Brief(pf.TableDensity):
        def __init__(self, **options: Any) -> None:
            super().__init__("maf", steps=1, queries=False, **options)

    assert Brief(layers=1).expression == "Brief(layers=1)"
