"""Training: what is promised about seeds, best weights and lengths, and what is refused at the door."""

from __future__ import annotations

import itertools
import json
import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer

import pushforward as pf
from pushforward.objectives.divergences import Objective
from pushforward.training import loop


def rows(n=400, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, generator=generator) @ torch.tensor([[2.0, 0.5], [0.0, 0.7]]) + 1.0


def small_flow(**options):
    torch.manual_seed(0)
    return pf.realnvp(2, layers=2, hidden=(8,), **options)


def weights(flow):
    return torch.cat([p.detach().flatten() for p in flow.parameters()])


class Noisy(Objective):
    """Maximum likelihood of rows with fresh noise."""

    def forward(self, x, context=None):
        return self.held_out(x, context).mean()

    def held_out(self, x, context=None):
        return -self.flow(x + 0.1 * torch.randn_like(x), context)


class Drawn(Objective):
    """Reverse KL to N(0, 4 I), which draws its own samples."""

    uses_data = False

    def forward(self, n):
        return self.held_out(n).mean()

    def held_out(self, n):
        x, log_q = self.flow.rsample_and_log_prob((n,))
        return log_q + x.square().sum(-1) / 8 + math.log(8 * math.pi)


def test_training_lowers_the_held_out_loss_and_reports_it():
    flow = small_flow()
    result = pf.fit(flow, rows(), steps=100, lr=1e-2, batch_size=64)
    assert result.best_validation_loss < result.history[0]["validation_loss"] - 0.3
    assert result.flow is flow
    assert not flow.training
    held_out = -flow.log_prob(rows()[result.validation_index])
    assert math.isclose(held_out.mean().item(), result.best_validation_loss, rel_tol=1e-5)
    assert math.isclose(held_out.std().item() / len(held_out) ** 0.5, result.validation_se, rel_tol=0.02)


def test_one_held_out_row_tells_nothing_about_the_error_of_its_loss():
    result = pf.fit(small_flow(), rows(8), steps=1)
    assert len(result.validation_index) == 1
    assert result.validation_se is None


def test_images_between_0_and_1_are_not_taken_for_levels():
    images = torch.rand(20, 1, 4, 4)
    with pytest.raises(ValueError, match="x has 20 rows that are not the whole numbers"):
        pf.fit(pf.pixels(pf.glow((1, 4, 4), levels=1, steps=1, hidden=4)), images, steps=1)
    few, many = pf.pixelcnn((1, 4, 4), levels=4, hidden=4, layers=1), torch.full((20, 1, 4, 4), 3.0)
    many[1, 0, 0, 0] = 9
    with pytest.raises(ValueError, match=r"as many levels as it has.*row 1 has 3 to 9"):
        pf.fit(few, many, steps=1)


def test_the_split_covers_the_rows_once():
    result = pf.fit(small_flow(), rows(50), steps=1, validation=0.3)
    both = torch.cat([result.train_index, result.validation_index]).sort().values
    assert torch.equal(both, torch.arange(50))
    assert len(result.validation_index) == 15


def test_the_best_weights_are_kept_not_the_last():
    result = pf.fit(small_flow(), rows(60), steps=150, lr=0.5, batch_size=64, validation=0.3, validate_every=5)
    losses = {line["step"]: line["validation_loss"] for line in result.history}
    assert result.best_step == min(losses, key=losses.get) < result.steps
    assert result.best_validation_loss == losses[result.best_step]
    held_out = -result.flow.log_prob(rows(60)[result.validation_index]).mean()
    assert math.isclose(held_out.item(), result.best_validation_loss, rel_tol=1e-5)


@pytest.mark.parametrize("objective", [pf.ForwardKL, Noisy, Drawn])
def test_a_seed_fixes_the_weights_and_leaves_the_callers_random_numbers(objective):
    ends = []
    for seed in (3, 3, 4):
        flow = small_flow()
        before = torch.get_rng_state()
        x = rows() if objective.uses_data else None
        pf.fit(objective(flow), x, steps=20, batch_size=64, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(1)  # what happens outside has no influence
        ends.append(weights(flow))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_an_objective_that_draws_its_own_samples_is_trained():
    result = pf.fit(Drawn(small_flow()), steps=200, lr=2e-2, batch_size=128)
    assert result.history[0]["validation_loss"] > 0.4
    assert result.best_validation_loss < 0.05
    assert result.train_index is None


def test_a_context_and_held_out_rows_may_be_given():
    flow, x = small_flow(context=1), rows()
    context = x.sum(-1, keepdim=True)
    result = pf.fit(flow, x, context, validation=(x[:50], context[:50]), steps=10)
    assert result.validation_index is None
    expected = -flow.log_prob(x[:50], context[:50]).mean()
    assert math.isclose(result.best_validation_loss, expected.item(), rel_tol=1e-5)


def test_without_validation_the_last_weights_are_the_best():
    result = pf.fit(small_flow(), rows(), validation=None, steps=30)
    assert (result.best_step, result.best_validation_loss, result.validation_se) == (30, None, None)


def test_patience_stops_early():
    result = pf.fit(small_flow(), rows(60), steps=3000, lr=0.05, validation=0.3, validate_every=5, patience=4)
    assert result.steps == result.best_step + 20 < 3000


@pytest.mark.parametrize("tick", [1 / 256, 1 / 128])
def test_a_budget_is_kept_and_the_rate_follows_it(monkeypatch, tick):
    readings = itertools.count(1000.0, tick)  # a clock that advances so much whenever it is read
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(readings), perf_counter=time.perf_counter))
    result = pf.fit(small_flow(), rows(), budget=0.5, batch_size=64, validate_every=10)
    assert result.seconds == 0.5
    assert result.steps == 0.5 / tick - 1  # the clock is read before every step, and at last in place of one
    assert result.history[-1]["lr"] < 0.1 * max(line["lr"] for line in result.history)


def test_a_budget_is_of_wall_time():
    started = time.monotonic()
    result = pf.fit(small_flow(), rows(), budget=0.3, batch_size=64)
    assert 0.3 <= result.seconds <= time.monotonic() - started


def test_epochs_are_passes_through_the_rows():
    result = pf.fit(small_flow(), rows(1000), epochs=3, batch_size=np.int64(300))  # 900 rows in batches of 300
    assert result.steps == 9
    assert result.history[-1]["epoch"] == 3


@pytest.mark.slow
def test_unseen_rows_are_likelier_under_averaged_weights(monkeypatch):
    table = torch.tensor(load_breast_cancer().data[:, :6], dtype=torch.float32)
    train, held_out, unseen = ((table - table.mean(0)) / table.std(0)).split([120, 180, 269])
    newest, gains = loop.Training._newest, []
    for seed in range(2):
        found = []
        for share in (newest, lambda run: 1.0):  # 1: the current weights
            monkeypatch.setattr(loop.Training, "_newest", share)
            torch.manual_seed(seed)
            flow = pf.maf(6, layers=2, hidden=(64, 64))
            pf.fit(flow, train, validation=held_out, steps=400, lr=1e-2, batch_size=64, patience=5)
            with torch.no_grad():
                found.append(float(flow.log_prob(unseen).mean()))
        gains.append(found[0] - found[1])
    assert sum(gains) > 0.1  # 1.2; rounding alone moves a run by tenths


def test_averaged_weights_are_the_ones_that_are_kept():
    plain, averaged = small_flow(), small_flow()
    pf.fit(plain, rows(), steps=20, lr=1e-2, validate_every=20, validation=None)
    pf.fit(averaged, rows(), steps=20, lr=1e-2, validate_every=20, validation=None, ema=0.9)
    start = weights(small_flow())
    assert 0 < (weights(averaged) - start).norm() < 0.95 * (weights(plain) - start).norm()


def test_data_dependent_parameters_are_set_once(monkeypatch):
    calls = []
    flow = small_flow()
    monkeypatch.setattr(
        type(flow), "initialize", lambda self, *batch: calls.append([len(p) for p in batch if p is not None])
    )
    pf.fit(flow, rows(), steps=2, batch_size=64)
    pf.fit(flow, rows(), steps=2, batch_size=64, initialize=False)
    assert calls == [[60]]  # 360 rows in six batches


def test_compile_compiles_the_flow(monkeypatch):
    calls = []
    flow = small_flow()
    monkeypatch.setattr(type(flow), "compile", lambda self: calls.append(self))
    pf.fit(flow, rows(), steps=1, compile=True)
    assert calls == [flow]


@pytest.mark.parametrize("dtype", [torch.long, torch.bool])
def test_whole_numbers_train_as_log_prob_reads_them(dtype):
    x = torch.randint(2, (40, 2)).to(dtype)
    found, expected = (pf.fit(small_flow(), given, steps=2, validation=None) for given in (x, x.float()))
    torch.testing.assert_close(found.flow.log_prob(x), expected.flow.log_prob(x.float()), rtol=0, atol=0)


def test_metrics_are_the_history_as_json_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    result = pf.fit(small_flow(), rows(), steps=30, batch_size=64, metrics=path)
    assert [json.loads(line) for line in path.read_text().splitlines()] == result.history
    assert set(result.history[0]) == {"step", "epoch", "seconds", "train_loss", "validation_loss", "lr", "threads"}


def test_nothing_is_printed_where_there_is_no_terminal(capfd):
    pf.fit(small_flow(), rows(), steps=20)
    assert capfd.readouterr() == ("", "")


BAD = {
    "x is missing": ({"x": None}, "x is missing"),
    "complex": ({"x": torch.ones(9, 2, dtype=torch.cfloat)}, "x must be rows of real numbers"),
    "one dimension": ({"x": torch.ones(9)}, r"got torch.float32 of shape \(9,\)"),
    "NaN": ({"x": torch.tensor([[0.0, 1.0], [float("nan"), 1.0], [1.0, 1.0]])}, "1 rows with NaN.* the first is row 1"),
    "another event": ({"x": torch.ones(9, 3)}, r"x has rows of shape \(3,\), but the flow has \(2,\)"),
    "too few": ({"x": torch.ones(2, 2)}, "x has 2 rows, of which 1 are held out"),
    "none": ({"x": torch.ones(0, 2)}, "x has 0 rows"),
    "a context too many": ({"context": torch.ones(400, 1)}, "the flow was built with context=0"),
    "validation": ({"validation": 1.5}, r"validation must be a fraction in \[0, 1\)"),
    "held-out rows": ({"validation": torch.ones(5, 3)}, "validation has rows of shape"),
    "two lengths": (
        {"epochs": 1, "budget": 2.0},
        "give one of epochs, steps, budget and more, got epochs=1, budget=2.0",
    ),
    "no steps": ({"steps": 0}, "steps must be a positive integer, got 0"),
    "no budget": (
        {"budget": float("nan")},
        "^budget=nan: expected a positive number of seconds",
    ),
    "batch_size": ({"batch_size": 0}, "batch_size=0: expected a whole number, at least 1"),
    "lr": ({"lr": 0.0}, "lr must be positive, got lr=0.0"),
    "patience": ({"patience": 0}, "patience=0: expected a whole number"),
    "ema": ({"ema": 1.0}, r"ema must be in \[0, 1\), got ema=1.0"),
    "resume": ({"resume": "maybe"}, "resume must be one of auto, True, False, got resume='maybe'"),
    "nothing to resume": ({"resume": True}, "no state of training to resume"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    options, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        pf.fit(small_flow(), **{"x": rows()} | options)


def test_contexts_have_to_fit():
    flow = small_flow(context=2)
    with pytest.raises(ValueError, match="context is missing for x, but the flow was built with context=2"):
        pf.fit(flow, rows(), steps=1)
    with pytest.raises(ValueError, match=r"context has shape \(399, 2\), expected \(400, 2\)"):
        pf.fit(flow, rows(), torch.ones(399, 2), steps=1)


def test_rows_are_refused_where_none_are_used():
    with pytest.raises(ValueError, match="x, context and weights must be left out: Drawn draws its own samples"):
        pf.fit(Drawn(small_flow()), rows(), steps=1)
    with pytest.raises(ValueError, match="epochs=2, but the objective draws its own samples"):
        pf.fit(Drawn(small_flow()), epochs=2)


def test_a_flow_without_parameters_is_refused():
    flow = small_flow().requires_grad_(False)
    with pytest.raises(ValueError, match="no parameters to train"):
        pf.fit(flow, rows(), steps=1)


def test_images_may_be_bytes():
    images = torch.randint(0, 4, (40, 1, 2, 2), dtype=torch.uint8)
    results = []
    for x in (images, images.float()):
        torch.manual_seed(0)
        model = pf.pixelcnn((1, 2, 2), levels=4, hidden=4, layers=1)
        results.append(pf.fit(model, x, steps=5, progress=False).best_validation_loss)
    assert results[0] == results[1]


def test_a_weight_of_two_is_a_row_twice_in_training_and_validation():
    x, held_out = rows(100), rows(40, seed=2)
    counts = torch.arange(100) % 3  # rows of weight 0, too
    repeated = x.repeat_interleave(counts, dim=0)
    flow, other = small_flow(), small_flow()
    held = (held_out, None, torch.cat([torch.ones(20), torch.zeros(20)]))
    options = {"steps": 30, "lr": 1e-2, "batch_size": 512, "initialize": False}
    weighted = pf.fit(flow, x, weights=counts, validation=held, **options)
    plain = pf.fit(other, repeated, validation=held_out[:20], **options)
    torch.testing.assert_close(weights(flow), weights(other), rtol=1e-3, atol=1e-4)
    assert math.isclose(weighted.best_validation_loss, plain.best_validation_loss, rel_tol=1e-4)
    assert math.isclose(weighted.validation_se, plain.validation_se, rel_tol=1e-3)


def test_weights_go_with_their_rows_into_the_split():
    x = rows()
    heavy = (x[:, 0] > 1).float()
    flow = small_flow()
    result = pf.fit(flow, x, weights=heavy, steps=200, lr=1e-2)
    index = result.validation_index
    expected = -(flow.log_prob(x[index]) * heavy[index]).sum() / heavy[index].sum()
    assert math.isclose(result.best_validation_loss, expected.item(), rel_tol=1e-4)
    assert (flow.sample((500,))[:, 0] > 0.5).float().mean() > 0.9


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.ones(399), r"weights has shape \(399,\), expected \(400,\): one for each row of x"),
        (torch.ones(400, 1), r"weights has shape \(400, 1\)"),
        (torch.arange(400.0) - 3, "weights must be finite and not negative, got -3 for row 0"),
        (torch.tensor([1.0] * 7 + [float("nan")] * 393), "not negative, got nan for row 7"),
        (torch.tensor([1.0] * 7 + [float("inf")] * 393), "not negative, got inf for row 7"),
        (torch.zeros(400), "weights must not all be zero"),
        (torch.eye(400)[5], r"weights are zero for all \d+ rows to (train on|validate with)"),
    ],
)
def test_bad_weights_are_named(weights, message):
    with pytest.raises(ValueError, match=message):
        pf.fit(small_flow(), rows(), weights=weights, steps=1)


def test_weights_are_refused_where_nothing_weighs():
    with pytest.raises(ValueError, match="weights: Noisy does not weigh rows"):
        pf.fit(Noisy(small_flow()), rows(), weights=torch.ones(400), steps=1)
    with pytest.raises(ValueError, match="x, context and weights must be left out"):
        pf.fit(Drawn(small_flow()), weights=torch.ones(400), steps=1)


def test_a_context_may_have_more_dimensions_where_the_objective_takes_it():
    class Encoded(Objective):
        def forward(self, x, context=None):
            return self.held_out(x, context).mean()

        def held_out(self, x, context=None):
            return -self.flow(x, context.flatten(1).sum(1, keepdim=True))

    x = rows()
    pictures = x[:, :1, None, None].expand(-1, 1, 3, 3).contiguous() / 9
    result = pf.fit(Encoded(small_flow(context=1)), x, pictures, steps=5, initialize=False)
    assert result.steps == 5
    with pytest.raises(ValueError, match=r"context has shape \(399, 1, 3, 3\), expected \(400, 1\)"):
        pf.fit(Encoded(small_flow(context=1)), x, pictures[1:], steps=5)
