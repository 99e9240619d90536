"""Saved models are refused if no training can have written them."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.errors import InputError


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    x = np.random.default_rng(0).normal(size=(60, 2))
    return pf.TableDensity("maf", steps=1, queries=False).fit({"a": x[:, 0], "b": x[:, 1]})


@pytest.mark.parametrize("weight", [math.nan, math.inf, -1e38])
@pytest.mark.parametrize("trained", [True, False])
def test_weights_that_are_no_sound_numbers_are_refused(model, tmp_path, weight, trained):
    bad = copy.deepcopy(model)
    numbers = bad.density.parameters() if trained else filter(torch.is_floating_point, bad.density.buffers())
    with torch.no_grad():
        next(numbers).view(-1)[0] = weight
    bad.save(tmp_path / "model")
    with pytest.raises(InputError):
        pf.TableDensity.load(tmp_path / "model")


def test_a_device_that_is_not_there_is_no_fault_of_the_model(model, tmp_path):
    model.save(tmp_path / "model")
    with pytest.raises(InputError) as caught:
        pf.TableDensity.load(tmp_path / "model", device="nowhere")
    assert caught.value.argument == "device"
