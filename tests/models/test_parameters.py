"""Keywords of tables and images are parameters as scikit-learn knows them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

import pushforward as pf
from pushforward.errors import InputError

TABLE = {"size": np.random.default_rng(0).gamma(3.0, size=80), "colour": ["red", "blue"] * 40}


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
