"""Draws that are exact in the limit, from flows that are not: means, spreads and tails are the target's."""

from __future__ import annotations

import builtins
import json

import pytest
import torch
from torch.distributions import Gamma, constraints

import pushforward as pf
from pushforward.posterior.exact import Chains, chains
from pushforward.transforms import Standardize

GAMMA = Gamma(torch.tensor([3.0, 8.0]).double(), torch.tensor([1.0, 2.0]).double(), validate_args=False)


def log_density(x: torch.Tensor) -> torch.Tensor:
    return GAMMA.log_prob(x).sum(-1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def fitted():
    blocks = [(constraints.positive, 2)]
    return pf.fit_target(log_density, 2, blocks=blocks, layers=2, steps=1, draws=2000, progress=False)


@pytest.mark.parametrize("method", ["metropolis", "resampling", pytest.param("hmc", marks=pytest.mark.slow)])
def test_every_method_gives_the_target_and_says_how_well(fitted, method):
    n = 1500 if method == "hmc" else 8000
    found = fitted.chains(n, method=method, generator=seeded())
    assert found.trusted, found.verdict
    assert found.draws.shape == (n, 2)
    error = GAMMA.stddev / found.ess.sqrt()
    assert ((found.draws.mean(0) - GAMMA.mean).abs() < 4.5 * error).all()
    torch.testing.assert_close(found.draws.std(0), GAMMA.stddev, rtol=0.12, atol=0)
    summary = json.loads(json.dumps(found.summary()))
    assert summary["method"] == method
    assert summary["rhat"] < 1.02
    assert (summary["acceptance"] is None) == (method == "resampling")


def test_metropolis_corrects_a_flow_that_is_wrong_by_much():
    flow = pf.Flow(Standardize(torch.zeros(1), torch.full((1,), 2.0)).double(), 1).double()  # N(0, 4) for N(1, 1)
    found = chains(flow, lambda x: -0.5 * (x[:, 0] - 1).square(), 20_000, generator=seeded())
    assert found.draws.mean() == pytest.approx(1, abs=0.05)
    assert found.draws.std() == pytest.approx(1, abs=0.05)
    assert 0.3 < found.acceptance < 0.8


def test_density_0_outside_of_a_bound_and_no_number_there():
    flow = pf.Flow(Standardize(torch.zeros(1), torch.ones(1)).double(), 1).double()
    half = chains(flow, lambda x: -0.5 * x[:, 0].square() + 0 * x[:, 0].log(), 4000, generator=seeded())
    assert (half.draws > 0).all()
    assert half.draws.mean() == pytest.approx((2 / torch.pi) ** 0.5, abs=0.06)
    assert chains(flow, lambda x: x[:, 0].log().nan_to_num(-torch.inf), 200, method="hmc").draws.min() > 0


def test_one_call_gives_exact_draws_and_the_plain_ones_without(fitted):
    draws = fitted.draws(1001, exact=True, generator=seeded())
    assert draws.shape == (1001, 2)
    assert (draws > 0).all()
    assert fitted.draws(7).shape == (7, 2)
    torch.testing.assert_close(draws, fitted.draws(1001, exact="metropolis", generator=seeded()))


def test_chains_that_disagree_are_not_trusted():
    apart = torch.randn(4, 500, 2, generator=seeded()) + torch.arange(4.0).view(4, 1, 1)
    found = Chains(apart, "metropolis", 0.5)
    assert not found.trusted
    assert "Do not trust these draws: R-hat" in found.verdict


def test_a_chain_that_has_hardly_moved_is_said(fitted):
    with pytest.warns(UserWarning, match="Do not trust these draws"):
        fitted.draws(20, exact=True, generator=seeded())


def test_without_arviz_the_draws_are_there_and_the_measures_say_what_is_missing(fitted, monkeypatch):
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("arviz_stats"):
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert fitted.draws(20, exact=True).shape == (20, 2)
    with pytest.raises(ImportError, match=r'pip install "pushforward\[diagnostics\]"'):
        _ = fitted.chains(20).rhat


def test_bad_arguments(fitted):
    with pytest.raises(ValueError, match="method must be one of metropolis, hmc, resampling, got method='nuts'"):
        fitted.draws(10, exact="nuts")
    with pytest.raises(ValueError, match="n and chains must be at least 1 and warmup at least 0, got 0, 4 and None"):
        fitted.chains(0, method="metropolis")
    with pytest.raises(ValueError, match="not finite at any of"):
        chains(fitted.flow, lambda x: torch.full((len(x),), torch.nan), 10)
