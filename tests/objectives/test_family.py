"""Families of targets, log pi(x | c): one flow for all contexts, judged and drawn from for each."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

import pushforward as pf
from pushforward.nets.encoders import Scaled

NOISE = 0.5
A = torch.tensor([[1.0, 0.4], [-0.3, 0.8], [0.5, 0.5]]).double()  # data y = A x + noise


def log_density(x: Tensor, y: Tensor) -> Tensor:
    return -0.5 * x.square().sum(-1) - 0.5 * ((y - x @ A.T) / NOISE).square().sum(-1)


def contexts(n: int) -> Tensor:
    x = torch.randn(n, 2, dtype=torch.float64)
    return x @ A.T + NOISE * torch.randn(n, 3, dtype=torch.float64)


def exact(y: Tensor) -> MultivariateNormal:
    precision = torch.eye(2).double() + A.T @ A / NOISE**2
    covariance = torch.linalg.inv(precision)
    return MultivariateNormal(covariance @ A.T @ y / NOISE**2, covariance)


@pytest.fixture(scope="module")
def fitted():
    return pf.fit_target(log_density, 2, contexts=contexts, layers=2, steps=20, progress=False)


def test_one_flow_holds_the_posterior_of_every_context(fitted):
    gaps = []
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(5)
    for y in contexts(20):
        x, log_q = fitted.flow.rsample_and_log_prob((500,), y, generator=generator)
        gaps.append((log_q - exact(y).log_prob(x)).mean())
    assert -0.002 < torch.stack(gaps).mean() < 0.01


def test_every_context_is_judged(fitted):
    found = fitted.importance
    assert found.trusted
    assert "contexts can be trusted" in found.verdict
    assert found.khat.shape == found.kl.shape == found.log_z.shape == (len(found.contexts),)
    assert json.dumps(found.summary())
    y = found.contexts[0]
    evidence = log_density(torch.zeros(1, 2).double(), y[None]) - exact(y).log_prob(torch.zeros(2).double())
    assert fitted.judge(y, 4000).log_z == pytest.approx(float(evidence), abs=0.05)


def test_draws_of_one_context_as_they_are_and_exact(fitted):
    y = torch.tensor([1.0, 0.5, -0.5]).double()
    assert fitted.draws(7, y).shape == (7, 2)
    found = fitted.chains(4000, y, generator=torch.Generator().manual_seed(0))
    assert found.trusted
    assert found.acceptance > 0.8
    assert ((found.draws.mean(0) - exact(y).mean).abs() < 5 * exact(y).stddev / found.ess.sqrt()).all()
    assert fitted.draws(9, y, exact="hmc").shape == (9, 2)


def test_it_is_saved_with_the_scale_of_its_contexts(fitted, tmp_path):
    pf.save(fitted.flow, tmp_path / "model")
    loaded = pf.load(tmp_path / "model")
    x, y = torch.zeros(5, 2).double(), contexts(5)
    torch.testing.assert_close(loaded.log_prob(x, y), fitted.flow.log_prob(x, y))


def test_reverse_kl_by_hand_and_contexts_to_choose_from():
    flow = pf.realnvp(2, context=3, layers=2, hidden=(16,)).double()
    objective = pf.ReverseKL(flow, log_density, contexts=contexts(50))
    before = objective.held_out(200).mean()
    pf.fit(objective, steps=60, batch_size=128, lr=1e-2, progress=False)
    assert objective.held_out(200).mean() < before
    assert objective.held_out(9).shape == (9,)


def test_rows_that_fail_count_as_density_0():
    def fails(x: Tensor, y: Tensor) -> Tensor:
        if bool((x[..., 0] > 2).any()):
            raise RuntimeError("no Cholesky factor")
        return log_density(x, y)

    flow = pf.realnvp(2, context=3, layers=2, hidden=(16,)).double()
    torch.manual_seed(0)

    def learn() -> list[Tensor]:
        objective = pf.ReverseKL(flow, fails, contexts=contexts)
        return [objective(256) for _ in range(5)]

    with pytest.warns(UserWarning, match="no Cholesky factor"):
        losses = learn()
    assert torch.stack(losses).isfinite().all()


@pytest.mark.parametrize(
    ("drawn", "error", "says"),
    [
        (lambda n: torch.zeros(n, 2), ValueError, "contexts have 2 features, but the flow was built with context=3"),
        (lambda n: torch.zeros(n), ValueError, r"contexts must give a tensor of shape \(16, features\), got \(16,\)"),
        (lambda n: torch.zeros(n + 1, 3), ValueError, r"shape \(16, features\), got \(17, 3\)"),
        (lambda n: [0.0] * n, TypeError, r"shape \(16, features\), got list"),
        (lambda n: torch.full((n, 3), torch.nan), ValueError, "contexts must be finite"),
        ("y", TypeError, "contexts must be a function of n or a tensor, got str"),
    ],
)
def test_contexts_that_do_not_fit_are_refused(drawn, error, says):
    flow = pf.realnvp(2, context=3, layers=2, hidden=(16,)).double()
    with pytest.raises(error, match=says):
        pf.ReverseKL(flow, log_density, contexts=drawn)
    with pytest.raises(error, match=says):
        pf.fit_target(log_density, 2, flow=flow, contexts=drawn, start="normal")


def test_what_else_does_not_fit(fitted):
    with pytest.raises(ValueError, match="context=3, but a target has no context: say which to draw with contexts="):
        pf.ReverseKL(pf.realnvp(2, context=3), log_density)
    with pytest.raises(ValueError, match="contexts have 3 features, but the flow was built with context=0"):
        pf.ReverseKL(pf.realnvp(2), log_density, contexts=contexts)
    with pytest.raises(ValueError, match=r"context must have shape \(3,\), got \(2,\)"):
        fitted.draws(5, torch.zeros(2))
    with pytest.raises(ValueError, match='contexts= goes only with modes=None and objective="reverse"'):
        pf.fit_target(log_density, 2, contexts=contexts, modes="search")
    with pytest.raises(TypeError, match="log_density must be a function of a batch, got int"):
        pf.fit_target(3, 2, contexts=contexts)
    with pytest.raises(ValueError, match="loc and a positive scale must have one shape"):
        Scaled([0.0], [0.0])
