"""Runs that end by themselves, what is said of every run's end, and going on."""

from __future__ import annotations

import itertools
import time
from types import SimpleNamespace

import pytest
import torch

import pushforward as pf
from pushforward.training import loop
from pushforward.training.options import Length, OpenEnded, Schedule, duration, plateau
from pushforward.training.records import Progress
from pushforward.training.verdict import judge


def rows(n=400, seed=1):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)) * 2 + 1


def small_flow():
    torch.manual_seed(0)
    return pf.realnvp(2, layers=2, hidden=(8,))


def weights(flow):
    return torch.cat([p.detach().flatten() for p in flow.parameters()])


def history(losses, every=10, seconds=1.0):
    return [{"step": i * every, "seconds": i * seconds, "validation_loss": loss} for i, loss in enumerate(losses)]


def at_end(losses, **options):
    progress = Progress(history=history(losses), best_loss=min(losses), step=10 * (len(losses) - 1), **options)
    progress.best_step = 10 * losses.index(progress.best_loss)
    return progress


FALLING = [10 - 0.1 * i for i in range(60)]
FLAT = [10 - min(0.1 * i, 2.0) for i in range(60)]
RISING = [10 - min(0.1 * i, 4.0 - 0.1 * i) for i in range(60)]
STEPS = Schedule(1e-3, 590, None, 10)


def test_a_plateau_is_a_third_of_the_steps_without_an_improvement():
    assert not plateau(history(FALLING), 0)
    assert not plateau(history(FLAT[:28]), 0)
    assert plateau(history(FLAT[:40]), 0)
    assert plateau(history(RISING[:40]), 0)
    assert not plateau(history([1.0] * 19), 0), "too few validations to tell"
    assert not plateau(history(FLAT[:40]), 300), "only what this part of the run has brought counts"
    assert not plateau(history([None] * 10 + FALLING), 0)


@pytest.mark.parametrize(
    ("losses", "kind", "words"),
    [
        (FALLING, "improving", "not done: it was still improving by 6 nats a minute when its time was over"),
        (FLAT, "converged", "converged: the held-out loss has stopped improving (best at step 200 of 590)"),
        (RISING, "overfitting", "overfitting from step 200 on, so the weights of step 200 are kept"),
        ([10.0, 9.0], "improving", "still improving by 60 nats a minute"),
        ([100.0, 90.0], "improving", "still improving by 600 nats a minute"),
    ],
)
def test_the_curve_decides_on_the_verdict(losses, kind, words):
    verdict = judge(at_end(losses), STEPS, stale=False)
    assert verdict.kind == kind
    assert words in verdict.text
    assert verdict.done == (kind != "improving")
    assert ("more='2m'" in str(verdict)) == (kind == "improving")
    assert verdict.to_json()["kind"] == kind


def test_without_held_out_rows_nothing_is_claimed():
    result = pf.fit(small_flow(), rows(), validation=None, steps=10)
    assert result.verdict.kind == "unknown"
    assert "no rows were held out" in str(result.verdict)


def test_cooling_for_want_of_time_is_not_taken_for_improvement():
    cooled = [*FLAT, 7.5, 7.0]  # the drop of a falling rate
    schedule = OpenEnded(1e-3, 610, None, 10)
    assert judge(at_end(cooled, cooling=0.97), schedule, stale=False).kind == "converged"
    assert judge(at_end(cooled), STEPS, stale=False).kind == "improving"


def test_the_rate_is_constant_until_the_plateau_and_falls_to_zero():
    schedule = OpenEnded(1e-3, 1000, None, warmup=10)
    assert schedule.rate(500, 0.5, None) == 1e-3
    assert schedule.end(0.5) == 0.65
    assert schedule.rate(500, 0.5, 0.5) == pytest.approx(1e-3)
    assert schedule.rate(575, 0.575, 0.5) == pytest.approx(5e-4)
    assert schedule.rate(650, 0.65, 0.5) == pytest.approx(0.0)
    assert schedule.end(schedule.latest) == 1.0


def test_by_default_a_run_ends_when_it_has_converged():
    result = pf.fit(small_flow(), rows(), lr=1e-2)
    assert 100 < result.steps < 5000
    assert result.verdict.kind in ("converged", "overfitting")
    held_out = -result.flow.log_prob(rows()[result.validation_index]).mean()
    assert held_out.item() == pytest.approx(result.best_validation_loss, rel=1e-5)
    assert result.history[-1]["lr"] < 0.1 * max(line["lr"] for line in result.history)


@pytest.mark.slow
def test_a_few_rows_and_a_large_flow_overfit_and_the_run_says_from_where():
    torch.manual_seed(0)
    result = pf.fit(pf.nsf(2, layers=2, hidden=(64, 64)), rows(40), lr=1e-2, validation=rows(100, seed=2))
    assert result.verdict.kind == "overfitting"
    assert result.verdict.step < result.steps
    assert f"overfitting from step {result.verdict.step:,} on" in str(result.verdict)


def test_a_limit_ends_a_run_that_would_go_on_with_a_rate_of_zero(monkeypatch):
    readings = itertools.count(1000.0, 1 / 64)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(readings), perf_counter=time.perf_counter))
    result = pf.fit(small_flow(), rows(), limit="1s", batch_size=64, lr=1e-3)
    assert result.seconds == 1.0
    assert result.verdict.kind == "improving"
    assert result.verdict.nats_a_minute > 0
    assert result.history[-1]["lr"] < 0.2e-3


@pytest.mark.slow
def test_a_resumed_open_run_ends_like_an_uninterrupted_one(tmp_path, monkeypatch):
    straight, resumed = small_flow(), small_flow()
    expected = pf.fit(straight, rows(), lr=1e-2)

    def fails(self, at, tensors, write=loop.Store.write):
        write(self, at, tensors)
        raise InterruptedError

    monkeypatch.setattr(loop.Store, "write", fails)
    options = {"checkpoint": tmp_path, "checkpoint_every": expected.steps * 9 // 10, "lr": 1e-2}
    with pytest.raises(InterruptedError):
        pf.fit(small_flow(), rows(), **options)
    monkeypatch.undo()
    result = pf.fit(resumed, rows(), **options)
    assert torch.equal(weights(resumed), weights(straight))
    assert result.verdict == expected.verdict


def test_more_goes_on_from_the_weights_and_never_ends_worse():
    flow = small_flow()
    first = pf.fit(flow, rows(), steps=30, lr=1e-2)
    before = weights(flow)
    second = pf.fit(flow, rows(), more=0.5, lr=1e-2)
    assert second.history[0]["validation_loss"] == pytest.approx(first.best_validation_loss, rel=1e-6)
    assert second.best_validation_loss < first.best_validation_loss - 0.05
    assert not torch.equal(before, weights(flow))
    third = pf.fit(flow, rows(), more=0.05, lr=10.0, clip=1e6)
    assert third.best_validation_loss <= second.best_validation_loss


def test_more_goes_on_from_a_state_with_its_steps_and_its_time(tmp_path):
    first = pf.fit(small_flow(), rows(), steps=30, lr=1e-2, checkpoint=tmp_path)
    flow = small_flow()
    second = pf.fit(flow, rows(), more="0.2s", lr=1e-2, checkpoint=tmp_path)
    assert second.history[: len(first.history)] == first.history
    assert second.steps > 30
    assert 0.2 <= second.seconds - first.seconds < 0.5
    assert second.best_validation_loss < first.best_validation_loss


def test_times_are_numbers_or_texts():
    assert [duration(v, "more") for v in (90, "90", "90s", "1.5m", "1h")] == [90, 90, 90, 90, 3600]
    for bad in ("soon", "-1s", 0, float("nan"), "1x", None):
        with pytest.raises(ValueError, match=r"^more.*: expected a positive number of seconds"):
            duration(bad, "more")


def test_lengths_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="give one of epochs, steps, budget and more, got steps=3, more=2m"):
        pf.fit(small_flow(), rows(), steps=3, more="2m")
    with pytest.raises(ValueError, match="limit is for a run that ends by itself: leave out limit=60 or budget"):
        pf.fit(small_flow(), rows(), budget=3, limit=60)


def test_without_held_out_rows_the_length_is_known_in_advance():
    blind, judged = (Length().schedule(1e-3, 512, 3, validates) for validates in (False, True))
    assert type(blind) is Schedule
    assert blind.steps == 600
    assert type(judged) is OpenEnded
    for most, steps in ((900, 900), (None, 20_000), (10**6, 20_000)):
        assert Length(most=most).schedule(1e-3, 512, 3, True).steps == steps
