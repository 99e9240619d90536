"""What training survives: non-finite steps, Ctrl-C, kill -9, and disks that refuse."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import pushforward as pf
from pushforward.objectives.divergences import Objective
from pushforward.saving.bundle import CheckpointError, read_config, read_tensors, write_bundle
from pushforward.training.batches import Batches
from pushforward.training.loop import TrainingError


def rows(n=400):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(1)) * 2 + 1


def small_flow():
    torch.manual_seed(0)
    return pf.realnvp(2, layers=2, hidden=(8,))


def weights(flow):
    return torch.cat([p.detach().flatten() for p in flow.parameters()])


class Faulty(Objective):
    """Maximum likelihood whose loss, or gradient, is not finite in some of its calls."""

    def __init__(self, flow, bad, gradient=False):
        super().__init__(flow)
        self.bad, self.gradient, self.calls = bad, gradient, 0

    def forward(self, x, context=None):
        loss = -self.flow(x, context).mean()
        self.calls += 1
        if not self.bad(self.calls):
            return loss
        if self.gradient:  # a finite loss with an infinite slope
            return loss + (weights_of(self) * 0).sum().sqrt()
        return loss * float("nan")

    def held_out(self, x, context=None):
        return -self.flow(x, context)

    def explain(self, *inputs):
        return "It is the test's fault."


def weights_of(objective):
    return torch.cat([p.flatten() for p in objective.flow.parameters()])


@pytest.mark.parametrize("gradient", [False, True])
def test_steps_that_are_not_finite_are_skipped_and_counted(gradient):
    objective = Faulty(small_flow(), lambda call: call % 5 == 2, gradient)
    result = pf.fit(objective, rows(), steps=50, lr=1e-2)
    assert result.skipped_steps == 10
    assert result.best_validation_loss < result.history[0]["validation_loss"]
    assert weights(objective.flow).isfinite().all()


def test_a_skipped_step_changes_nothing():
    skipping, plain = small_flow(), small_flow()
    pf.fit(Faulty(skipping, lambda call: call > 3), rows(), steps=10, validation=None)
    pf.fit(Faulty(plain, lambda call: False), rows(), steps=10, validation=None, batch_size=512)
    assert not torch.equal(weights(skipping), weights(plain))
    alone = small_flow()
    pf.fit(Faulty(alone, lambda call: call > 3), rows(), steps=10, validation=None, validate_every=3)
    assert torch.equal(weights(skipping), weights(alone))


def test_many_bad_steps_in_a_row_roll_back_and_go_on_with_smaller_steps():
    objective = Faulty(small_flow(), lambda call: 25 <= call < 42)
    result = pf.fit(objective, rows(), steps=100, lr=1e-2, validate_every=10)
    assert result.skipped_steps == 17
    rates = {line["step"]: line["lr"] for line in result.history}
    assert rates[50] < 0.6 * rates[20]
    assert result.best_step > 42


def test_training_gives_up_after_repeated_rollbacks_and_keeps_the_best_weights():
    flow = small_flow()
    objective = Faulty(flow, lambda call: call > 20)
    with pytest.raises(TrainingError, match=r"gave up at step 60: .* give lr below 0.01. It is the test's fault.$"):
        pf.fit(objective, rows(), steps=100, lr=1e-2, validate_every=10)
    expected = small_flow()
    pf.fit(Faulty(expected, lambda call: call > 20), rows(), steps=100, lr=1e-2, validate_every=10, patience=1)
    assert torch.equal(weights(flow), weights(expected))


def test_a_held_out_loss_that_is_never_finite_is_an_error():
    class Nowhere(Faulty):
        def held_out(self, x, context=None):
            return super().held_out(x, context) + float("inf")

    flow = small_flow()
    with pytest.raises(TrainingError, match="the held-out loss was never finite") as caught:
        pf.fit(Nowhere(flow, lambda call: False), rows(), steps=5)
    assert caught.value.flow is flow


@pytest.fixture
def heard():
    """SIGINT interrupts, also where the tests run in the background of a shell that has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_keeps_the_best_weights_and_returns(heard):
    def interrupt(call):
        if call == 31:
            os.kill(os.getpid(), signal.SIGINT)
        return False

    result = pf.fit(Faulty(small_flow(), interrupt), rows(), steps=10**6, lr=1e-2, validate_every=10)
    assert result.interrupted
    assert 30 <= result.steps < 40
    assert result.best_step in (10, 20, 30)
    held_out = -result.flow.log_prob(rows()[result.validation_index]).mean()
    torch.testing.assert_close(held_out.item(), result.best_validation_loss, rtol=1e-5, atol=0)


class Killed(Exception):
    pass


def killed_at(step, monkeypatch):
    batch = Batches.batch

    def dies(self, at):
        if at == step:
            raise Killed
        return batch(self, at)

    monkeypatch.setattr(Batches, "batch", dies)


@pytest.mark.parametrize(("cut", "ema"), [(20, 0.0), (27, 0.9)])
def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path, monkeypatch, cut, ema):
    options = {"steps": 40, "batch_size": 64, "validate_every": 7, "ema": ema}
    straight = small_flow()
    expected = pf.fit(straight, rows(), **options)
    options |= {"checkpoint": tmp_path, "checkpoint_every": 10, "metrics": tmp_path / "metrics.jsonl"}
    killed_at(cut, monkeypatch)
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
    assert sorted(p.name for p in tmp_path.glob("*step*")) == ["step-00000030", "step-00000040"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == len(result.history)


def test_a_finished_run_is_not_trained_again(tmp_path):
    first, again = small_flow(), small_flow()
    pf.fit(first, rows(), steps=10, checkpoint=tmp_path)
    result = pf.fit(again, rows(), steps=10, checkpoint=tmp_path, resume=True)
    assert result.steps == 10
    assert torch.equal(weights(first), weights(again))


def test_the_state_of_another_run_is_refused_unless_it_is_removed(tmp_path):
    pf.fit(small_flow(), rows(), steps=5, checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match="state of another run: its seed is 0, here it is 1"):
        pf.fit(small_flow(), rows(), steps=5, checkpoint=tmp_path, seed=1)
    with pytest.raises(CheckpointError, match="its checksum is"):
        pf.fit(small_flow(), rows() + 1, steps=5, checkpoint=tmp_path)
    pf.fit(small_flow(), rows(), steps=4, checkpoint=tmp_path, seed=1, resume=False)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000004"]


def test_a_damaged_state_is_left_out_for_the_one_before(tmp_path):
    pf.fit(small_flow(), rows(), steps=20, checkpoint=tmp_path, checkpoint_every=10)
    file = tmp_path / "step-00000020" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="a damaged state of training is left out"):
        result = pf.fit(small_flow(), rows(), steps=20, checkpoint=tmp_path, checkpoint_every=10)
    assert result.steps == 20
    for state in tmp_path.iterdir():
        (state / "config.json").write_text("{")
    with (
        pytest.warns(UserWarning, match="a damaged state"),
        pytest.raises(CheckpointError, match=r"config.json cannot be read"),
    ):
        pf.fit(small_flow(), rows(), steps=20, checkpoint=tmp_path)


@pytest.mark.parametrize("forged", [{"position": {"step": 1, "no": 2}}, {"position": None}, {"position": {"step": 5}}])
def test_a_state_that_cannot_be_continued_is_refused_in_one_sentence(tmp_path, forged):
    pf.fit(small_flow(), rows(), steps=10, checkpoint=tmp_path)
    state = tmp_path / "step-00000010"
    config, tensors = read_config(state), read_tensors(state, "state", read_config(state))
    del config["sha256"], tensors["loop.sums"]
    write_bundle(state, "state", config | forged, tensors)
    with pytest.raises(CheckpointError, match=r"config.json is damaged|does not fit this run: 'loop.sums'"):
        pf.fit(small_flow(), rows(), steps=10, checkpoint=tmp_path)


@pytest.mark.parametrize("fault", ["full disk", "a file in the way", "removed"])
def test_a_disk_that_refuses_costs_the_state_and_not_the_training(tmp_path, monkeypatch, fault):
    folder, expected = tmp_path / "state", small_flow()
    pf.fit(expected, rows(), steps=20)
    if fault == "a file in the way":
        folder.write_text("")
    elif fault == "full disk":
        monkeypatch.setattr("pushforward.saving.bundle.write_file", refuse)
    else:
        monkeypatch.setattr(
            "pushforward.saving.bundle.replace_directory", lambda new, path: os.rename(folder / "gone", path)
        )
    flow = small_flow()
    with pytest.warns(UserWarning, match="the state of training was not saved, training goes on"):
        pf.fit(flow, rows(), steps=20, checkpoint=folder, checkpoint_every=10)
    assert torch.equal(weights(flow), weights(expected))
    assert not folder.is_dir() or list(folder.iterdir()) == []


def refuse(path, content):
    raise OSError(28, "No space left on device", str(path))


def test_metrics_that_cannot_be_written_are_given_up(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="the metrics are no longer written, training goes on"):
        result = pf.fit(small_flow(), rows(), steps=10, metrics=tmp_path / "file" / "metrics.jsonl")
    assert result.steps == 10


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
def test_kill_9_at_any_moment_leaves_a_state_and_a_model(tmp_path):
    command = [sys.executable, Path(__file__).with_name("killed.py"), tmp_path, "4"]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert run.returncode == 0, run.stderr
    assert "killed 8 times" in run.stdout


def test_an_old_state_is_found_wherever_the_process_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pf.fit(small_flow(), rows(), steps=5, checkpoint="state")
    shutil.move("state", "moved")
    assert pf.fit(small_flow(), rows(), steps=5, checkpoint="moved", resume=True).steps == 5
