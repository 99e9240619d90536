"""A flow as sbi's density estimator, with the real library: neural posterior and likelihood estimation."""

from __future__ import annotations

import pickle
import warnings
from copy import deepcopy

import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the library's own, on import
    inference = pytest.importorskip("sbi.inference", reason="sbi is not installed")

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


def simulate(n):
    theta = torch.randn(n, 2)
    return theta, theta + 0.5 * torch.randn(n, 2)


def trained(estimator, theta, x, steps=20, lr=0.02):
    optimizer = torch.optim.Adam(estimator.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        estimator.loss(theta, x).mean().backward()
        optimizer.step()
    return estimator


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
    trained(estimator, theta, x)
    latest = estimator.loss(theta, x).detach()
    averaged = estimator.eval().loss(theta, x).detach()
    assert bool((latest - averaged).abs().max() > 1e-3)
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
    trained(estimator, theta, x)
    torch.testing.assert_close(estimator.loss(theta, x), estimator.eval().loss(theta, x))
    with pytest.raises(ValueError, match=r"average must be in \[0, 1\), got average=1.5"):
        density_estimator(average=1.5)


@pytest.mark.parametrize("name", ["nsf", "nsf-coupling", "maf", "realnvp", "bnaf", "residual", "naf", "gf"])
def test_a_gain_lengthens_steps_and_changes_no_density(name):
    from pushforward.interop.sbi import density_estimator

    theta, x = simulate(50)
    single, triple = (
        density_estimator(name, layers=1, hidden=(8,), average=0.5, gain=gain)(theta, x) for gain in (1, 3)
    )
    for estimator in (single, triple):
        estimator.loss(theta, x).mean().backward()
    torch.testing.assert_close(triple.loss(theta, x), single.loss(theta, x))
    for slow, fast in zip(single.net.parameters(), triple.net.parameters(), strict=True):
        torch.testing.assert_close(3 * fast, slow)
        torch.testing.assert_close(fast.grad, slow.grad, atol=1e-4, rtol=1e-3)
    trained(single, theta, x, steps=3, lr=3e-3)
    trained(triple, theta, x, steps=3, lr=1e-3)
    torch.testing.assert_close(triple.loss(theta, x), single.loss(theta, x), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(triple.eval().loss(theta, x), single.eval().loss(theta, x), atol=1e-3, rtol=1e-3)


def test_a_gain_is_for_the_flow_alone_and_above_0():
    from pushforward.interop.sbi import density_estimator

    theta, x = simulate(100)
    assert density_estimator("ffjord", hidden=(8,))(theta, x).net.gain == 1  # its backward pass runs its network again
    embedding = torch.nn.Linear(2, 3)
    before = embedding.weight.detach().clone()
    estimator = density_estimator("maf", layers=2, hidden=(16,), embedding=embedding)(theta, x)
    torch.testing.assert_close(estimator.embedding.weight, before)
    trained(estimator, theta, x, steps=1, lr=0.01)
    assert bool(((embedding.weight - before).abs() < 0.0101).all())
    with pytest.raises(ValueError, match="gain must be above 0, got gain=0"):
        density_estimator(gain=0)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_copies_pickles_and_states_are_the_same_estimator(average):
    from pushforward.interop.sbi import density_estimator

    theta, x = simulate(100)
    make = density_estimator("nsf", layers=1, hidden=(8,), members=2, average=average)
    estimator = trained(make(theta, x), theta, x)
    loaded = make(theta, x)
    loaded.load_state_dict(estimator.state_dict())
    for copy in (deepcopy(estimator), pickle.loads(pickle.dumps(estimator)), loaded, deepcopy(estimator).double()):
        dtype = next(copy.parameters()).dtype
        for mode in (True, False):
            with torch.no_grad():  # so that no average moves
                expected = estimator.train(mode).log_prob(theta[None], x).to(dtype)
                found = copy.train(mode).log_prob(theta[None].to(dtype), x.to(dtype))
            torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("flow", ["nsf", "maf"])
def test_networks_are_plain_and_weights_between_hidden_layers_start_small(flow):
    from pushforward.interop.sbi import density_estimator

    theta, x = simulate(100)
    estimator = density_estimator(flow, average=0.0, gain=1)(theta, x)
    nets = [module for module in estimator.modules() if hasattr(module, "masks")]
    assert not any(net.residual for net in nets)
    assert {part.floor for part in estimator.modules() if hasattr(part, "floor")} == (
        {0.05} if flow == "nsf" else set()
    )
    between = [weight for net in nets for weight in list(net.weights)[1:-1]]
    assert len(between) == 4 * len(nets) > 0
    for weight in between:
        assert 0.9 < float(weight.abs().max()) / (0.8 / 50**0.5) <= 1.0 + 1e-6


def test_sbi_trains_an_embedding_and_members_and_copies_them():
    from pushforward.interop.sbi import density_estimator

    torch.manual_seed(0)
    theta, x = simulate(300)
    embedding = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    make = density_estimator("maf", layers=2, hidden=(16,), embedding=embedding, members=2)
    prior = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    trainer = inference.NPE(prior, density_estimator=make, show_progress_bars=False).append_simulations(theta, x)
    estimator = trainer.train(max_num_epochs=30, learning_rate=5e-3)
    marginal = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2)).log_prob(theta).mean()
    assert estimator.log_prob(theta[None], x).mean() > marginal + 0.3  # what x says of theta is 1.6 nats
    posterior = pickle.loads(pickle.dumps(trainer.build_posterior()))
    draws = posterior.sample((200,), x=torch.tensor([[1.0, -0.5]]), show_progress_bars=False)
    assert draws.shape == (200, 2)
    assert float(draws.std(0).max()) < 0.9


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


def test_missing_observations_are_left_out_of_the_posterior():
    """theta ~ N(0, 1), x_k = theta + N(0, 1/4) for three k, of which any may be missing: with s seen, the posterior has
    precision 1 + 4 s and mean 4 sum(x) / precision."""
    from pushforward.interop.sbi import any_conditional

    torch.manual_seed(0)
    theta = torch.randn(2000, 1)
    x = theta + 0.5 * torch.randn(2000, 3)
    x = x.masked_fill(torch.rand(x.shape) < 0.3, torch.nan)
    trainer = inference.NPE(density_estimator=any_conditional(hidden=(32, 32), layers=1), show_progress_bars=False)
    trainer.append_simulations(theta, x, exclude_invalid_x=False)
    estimator = trainer.train(max_num_epochs=15)
    for seen in (1, 3):
        observed = torch.full((1, 3), torch.nan)
        observed[0, :seen] = torch.tensor([0.8, 0.5, 1.0])[:seen]
        precision = 1 + 4 * seen
        exact = torch.distributions.Normal(4 * observed.nansum() / precision, precision**-0.5)
        draws = estimator.sample((2000,), observed)
        assert draws.shape == (2000, 1, 1)
        assert abs(draws.mean() - exact.mean) < 0.3 * exact.stddev
        assert draws.std() / exact.stddev == pytest.approx(1, abs=0.2)
        log_prob = estimator.log_prob(draws, observed)
        assert (exact.log_prob(draws[..., 0]) - log_prob).mean() < 0.1
    filled = estimator.net.sample(given=torch.tensor([0.5, 0.4, torch.nan, 0.6]).expand(500, 4))
    assert filled[:, 2].mean() == pytest.approx(0.5, abs=0.2)
