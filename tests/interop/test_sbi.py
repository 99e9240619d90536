"""A flow as sbi's density estimator, with the real library: neural posterior and likelihood estimation."""

from __future__ import annotations

import warnings

import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the library's own, on import
    inference = pytest.importorskip("sbi.inference", reason="sbi is not installed")

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


def simulate(n):
    theta = torch.randn(n, 2)
    return theta, theta + 0.5 * torch.randn(n, 2)


def test_the_estimator_keeps_the_shapes_of_sbi():
    from pushforward.interop.sbi import density_estimator

    theta, x = simulate(100)
    estimator = density_estimator("maf", layers=2, hidden=(16,))(theta, x)
    assert estimator.loss(theta, x).shape == (100,)
    assert estimator.log_prob(theta[None], x).shape == (1, 100)
    assert estimator.log_prob(torch.randn(7, 1, 2), x[:1]).shape == (7, 1)
    draws, log_prob = estimator.sample_and_log_prob((6,), x[:3])
    assert draws.shape == estimator.sample((6,), x[:3]).shape == (6, 3, 2)
    torch.testing.assert_close(log_prob, estimator.log_prob(draws, x[:3]), atol=1e-4, rtol=1e-4)


def test_evaluation_uses_the_average_of_the_weights():
    from pushforward.interop.sbi import density_estimator

    theta, x = simulate(100)
    estimator = density_estimator("maf", layers=2, hidden=(16,), average=0.9)(theta, x)
    optimizer = torch.optim.Adam(estimator.parameters(), lr=0.05)
    for _ in range(20):
        optimizer.zero_grad()
        estimator.loss(theta, x).mean().backward()
        optimizer.step()
    trained = estimator.loss(theta, x).detach()
    averaged = estimator.eval().loss(theta, x).detach()
    assert bool((trained - averaged).abs().max() > 1e-3)
    torch.testing.assert_close(-estimator.averaged[0](theta, estimator.averaged[1](x)), averaged)
    draws, log_prob = estimator.sample_and_log_prob((6,), x[:3])
    torch.testing.assert_close(log_prob, estimator.log_prob(draws, x[:3]), atol=1e-4, rtol=1e-4)
    fresh = density_estimator("maf", layers=2, hidden=(16,), average=0.9)(theta, x).eval()
    fresh.load_state_dict(estimator.state_dict())
    torch.testing.assert_close(fresh.loss(theta, x), averaged)


def test_members_are_trained_apart_and_averaged():
    from pushforward.interop.sbi import density_estimator

    theta, x = simulate(100)
    single, second, both = (
        density_estimator("maf", layers=2, hidden=(16,), average=0.0, **options)(theta, x)
        for options in ({}, {"seed": 1}, {"members": 2})
    )
    logs = torch.stack([net.log_prob(theta[None], x)[0] for net in (single, second)])
    torch.testing.assert_close(both.loss(theta, x), -logs.mean(0))
    torch.testing.assert_close(both.eval().loss(theta, x), -logs.logsumexp(0) + torch.tensor(2.0).log())
    draws, log_prob = both.sample_and_log_prob((6,), x[:3])
    assert draws.shape == both.sample((6,), x[:3]).shape == (6, 3, 2)
    torch.testing.assert_close(log_prob, both.log_prob(draws, x[:3]))
    with pytest.raises(ValueError, match="members must be at least 1, got members=0"):
        density_estimator(members=0)


def test_no_average_and_a_wrong_one():
    from pushforward.interop.sbi import density_estimator

    theta, x = simulate(100)
    estimator = density_estimator("maf", layers=2, hidden=(16,), average=0.0)(theta, x)
    assert estimator.averaged is None
    torch.testing.assert_close(estimator.loss(theta, x), estimator.eval().loss(theta, x))
    with pytest.raises(ValueError, match=r"average must be in \[0, 1\), got average=1.5"):
        density_estimator(average=1.5)


@pytest.mark.slow
def test_npe_finds_a_gaussian_posterior():
    from pushforward.interop.sbi import density_estimator

    torch.manual_seed(0)
    prior = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    trainer = inference.NPE(prior, density_estimator=density_estimator("maf", layers=2, hidden=(32,)))
    trainer.append_simulations(*simulate(3000)).train(max_num_epochs=30, show_train_summary=False)
    observed = torch.tensor([[1.0, -0.5]])
    draws = trainer.build_posterior().sample((3000,), x=observed, show_progress_bars=False)
    torch.testing.assert_close(draws.mean(0), observed[0] / 1.25, atol=0.1, rtol=0)  # precision 1 + 4
    torch.testing.assert_close(draws.std(0), torch.full((2,), 0.2**0.5), atol=0.08, rtol=0)
