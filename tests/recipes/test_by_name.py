"""Flows by name: their weights come from a seed, and from nothing else."""

from __future__ import annotations

import pytest
import torch

from pushforward.recipes.by_name import flow_by_name


def test_weights_are_those_of_the_seed_and_no_global_state_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("the GPUs' generators are seeded"))
    before = torch.get_rng_state()
    one, other = (flow_by_name("maf", 2, seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(before, torch.get_rng_state())
