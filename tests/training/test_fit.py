"""Training: what is promised about seeds, best weights, faults, and what reaches the disk."""

from __future__ import annotations

import json
import math

import pytest
import torch

import pushforward as pf
from pushforward.training.batches import Batches


def rows(n=400, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, generator=generator) @ torch.tensor([[2.0, 0.5], [0.0, 0.7]]) + 1.0


def small_flow(**options):
    torch.manual_seed(0)
    return pf.realnvp(2, layers=2, hidden=(8,), **options)


def weights(flow):
    return torch.cat([p.detach().flatten() for p in flow.parameters()])


def test_training_lowers_the_held_out_loss_and_reports_it():
    flow = small_flow()
    result = pf.fit(flow, rows(), steps=100, lr=1e-2, batch_size=64)
    first = result.history[0]["validation_loss"]
    assert result.best_validation_loss < first - 0.3
    assert result.flow is flow
    held_out = -flow.log_prob(rows()[result.validation_index])
    assert math.isclose(held_out.mean().item(), result.best_validation_loss, rel_tol=1e-5)
    assert math.isclose(held_out.std().item() / len(held_out) ** 0.5, result.validation_se, rel_tol=0.02)


def test_a_seed_fixes_the_weights_and_leaves_the_callers_random_numbers():
    ends = []
    for seed in (3, 3, 4):
        flow = small_flow()
        before = torch.get_rng_state()
        pf.fit(flow, rows(), steps=20, batch_size=64, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        ends.append(weights(flow))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_metrics_are_the_history_as_json_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    result = pf.fit(small_flow(), rows(), steps=30, batch_size=64, metrics=path)
    assert [json.loads(line) for line in path.read_text().splitlines()] == result.history
    assert set(result.history[0]) == {"step", "epoch", "seconds", "train_loss", "validation_loss", "lr"}


@pytest.mark.parametrize("cut", [20, 27])
def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path, monkeypatch, cut):
    straight = small_flow()
    expected = pf.fit(straight, rows(), steps=40, batch_size=64, validate_every=7)

    class Killed(Exception):
        pass

    def dies(self, step):
        if step == cut:
            raise Killed
        return batch(self, step)

    batch = Batches.batch
    options = {"steps": 40, "batch_size": 64, "validate_every": 7, "checkpoint": tmp_path, "checkpoint_every": 10}
    monkeypatch.setattr(Batches, "batch", dies)
    with pytest.raises(Killed):
        pf.fit(small_flow(), rows(), **options)
    monkeypatch.undo()
    resumed = small_flow()
    result = pf.fit(resumed, rows(), **options)
    assert torch.equal(weights(resumed), weights(straight))
    keys = ("step", "train_loss", "validation_loss", "lr")
    assert [[line[k] for k in keys] for line in result.history] == [
        [line[k] for k in keys] for line in expected.history
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000030", "step-00000040"]
