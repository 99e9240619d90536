"""Distributions of PyTorch as bases: densities, draws, training and saving are the distribution's own."""

from __future__ import annotations

import pytest
import torch
from torch import distributions as torchs
from torch import nn

import pushforward as pf

ONES = torch.ones(3)
BASES = {
    "independent": torchs.Independent(torchs.StudentT(5.0 * ONES, 0 * ONES, 2 * ONES), 1),
    "batch": torchs.Laplace(0 * ONES, ONES),
    "covariance": torchs.MultivariateNormal(ONES, covariance_matrix=torch.eye(3) + 0.5),
    "precision": torchs.MultivariateNormal(ONES, precision_matrix=torch.eye(3) + 0.5),
    "low rank": torchs.LowRankMultivariateNormal(0 * ONES, torch.ones(3, 1), ONES),
}


@pytest.mark.parametrize("name", BASES)
def test_a_flow_over_it_is_the_distribution_moved(name: str, tmp_path) -> None:
    base = BASES[name]
    flow = pf.Flow(pf.transforms.Diagonal(3), base)
    with torch.no_grad():
        flow.transform.shift.fill_(1.0)
    x = torch.randn(5, 3)
    expected = base.log_prob(x + 1)
    expected = expected.sum(-1) if expected.dim() == 2 else expected
    torch.testing.assert_close(flow.log_prob(x).detach(), expected)
    pf.save(flow, tmp_path / "model")
    torch.testing.assert_close(pf.load(tmp_path / "model").log_prob(x), flow.log_prob(x))
    draws = flow.sample((20_000,), generator=torch.Generator().manual_seed(0))
    again = flow.sample((20_000,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(draws, again)
    torch.testing.assert_close(draws.mean(0), base.mean - 1, atol=0.1, rtol=0)
    colder = flow.base.sample((20_000,), temperature=0.5)
    torch.testing.assert_close(colder.std(0), 0.5 * base.stddev, atol=0.1, rtol=0)


def test_its_parameters_are_trained() -> None:
    scale = nn.Parameter(torch.ones(2))
    flow = pf.Flow(pf.transforms.Permutation([1, 0]), torchs.Normal(torch.zeros(2), scale))
    flow.log_prob(torch.ones(4, 2)).sum().backward()
    assert torch.equal(scale.grad, torch.zeros(2))  # the slope of -x²/2s² - log s at x = s = 1
    flow.rsample_and_log_prob((4,))[1].sum().backward()
    assert bool((scale.grad != 0).all())


def test_moments_and_divergences_are_its_own() -> None:
    view = pf.distributions.TorchDistribution.of(BASES["covariance"], 1).condition()
    torch.testing.assert_close(view.mean, ONES)
    assert view.entropy() == BASES["covariance"].entropy()
    assert torchs.kl_divergence(view, BASES["covariance"]) == 0


def test_what_is_made_of_others_is_refused() -> None:
    parts = torchs.MixtureSameFamily(torchs.Categorical(torch.ones(2)), torchs.Normal(torch.zeros(2), 1.0))
    with pytest.raises(ValueError, match="got MixtureSameFamily"):
        pf.Flow(pf.transforms.Permutation([0]), parts)
    with pytest.raises(ValueError, match="family"):
        pf.distributions.TorchDistribution("kl_divergence", {})


def test_a_product_takes_them_too(tmp_path) -> None:
    product = pf.distributions.Product([torchs.Laplace(torch.zeros(1), torch.ones(1)), 2])
    x = torch.randn(5, 3)
    normal = torchs.Normal(0.0, 1.0).log_prob(x[:, 1:]).sum(-1)
    torch.testing.assert_close(product.log_prob(x), torchs.Laplace(0.0, 1.0).log_prob(x[:, 0]) + normal)
    pf.save(product, tmp_path / "product")
    torch.testing.assert_close(pf.load(tmp_path / "product").log_prob(x), product.log_prob(x))
