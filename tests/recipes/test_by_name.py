"""Flows by name: their weights come from a seed, and from nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.nets.made import MADE
from pushforward.nets.mlp import MLP
from pushforward.recipes.by_name import flow_by_name


def test_weights_are_those_of_the_seed_and_no_global_state_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("the GPUs' generators are seeded"))
    before = torch.get_rng_state()
    one, other = (flow_by_name("maf", 2, seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("hidden", [4, np.int64(4), [4]])
def test_one_hidden_layer_may_be_a_number_wherever_its_width_is_given(hidden: Any) -> None:
    sizes: dict[str, Any] = {"layers": 1, "hidden": hidden}
    normal = pf.fit_target(lambda x: -0.5 * x.square().sum(-1), 2, **sizes, steps=1, draws=200, progress=False)
    flows = [flow_by_name("maf", 2, **sizes), normal.flow]
    assert {m.weights[0].shape[0] for flow in flows for m in flow.modules() if isinstance(m, MADE | MLP)} == {4}
    assert pf.TableDensity(hidden=hidden).options.hidden in ((4,), [4])
