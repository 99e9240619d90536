"""Both divergences: values, gradients by either estimator, annealing, pieces, and their duality."""

from __future__ import annotations

import copy

import pytest
import torch

import pushforward as pf
from pushforward.objectives.divergences import Objective


def test_forward_kl_is_the_mean_negative_log_likelihood():
    flow = pf.realnvp(2, context=1, layers=2, hidden=(8,))
    x, context = torch.randn(6, 2), torch.randn(6, 1)
    objective = pf.ForwardKL(flow)
    expected = -flow.log_prob(x, context)
    torch.testing.assert_close(objective(x, context), expected.mean())
    torch.testing.assert_close(objective.held_out(x, context), expected)


def test_forward_kl_gradient_reaches_every_parameter():
    flow = pf.maf(3, layers=2, hidden=(8,))
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    pf.ForwardKL(flow)(torch.randn(64, 3)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in flow.parameters())


def test_an_objective_needs_a_density():
    with pytest.raises(TypeError, match="flow must be a density"):
        pf.ForwardKL(torch.nn.Linear(2, 2))


def test_the_base_class_says_nothing_about_the_loss():
    with pytest.raises(NotImplementedError):
        Objective(pf.maf(2, layers=1, hidden=(4,))).held_out(torch.zeros(1, 2))


def test_objectives_of_ones_own_say_whether_rows_may_have_holes():
    class Stated(pf.ForwardKL):
        takes_missing = True

    class Computed(pf.ForwardKL):
        @property
        def takes_missing(self):
            return self.flow.event_shape == (2,)

    flow = pf.maf(2, layers=1, hidden=(4,))
    assert [kind(flow).takes_missing for kind in (pf.ForwardKL, Stated, Computed)] == [False, True, True]


def gaussian(x):
    return -0.5 * ((x - 1) / 0.5).square().flatten(1).sum(1) + 2.0


def random_flow(make, features=3, scale=0.3):
    torch.manual_seed(3)
    flow = make(features, layers=2, hidden=(8,)).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.normal_(0, scale)
    return flow


def gradient(objective, n):
    objective.flow.zero_grad()
    objective(n).backward()
    return torch.cat([p.grad.flatten() for p in objective.flow.parameters()])


def test_value_is_the_mean_of_log_q_minus_log_pi():
    flow = random_flow(pf.realnvp)
    losses = []
    for estimator in ("path", "reparameterised"):
        torch.manual_seed(0)
        losses.append(pf.ReverseKL(flow, gaussian, estimator)(64))
    torch.manual_seed(0)
    x, log_q = flow.rsample_and_log_prob((64,))
    torch.testing.assert_close(losses[0], (log_q - gaussian(x)).mean())
    torch.testing.assert_close(losses[1], losses[0])


@pytest.mark.parametrize("make", [pf.realnvp, pf.maf, pf.iaf])
def test_both_estimators_have_the_same_mean_gradient(make):
    flow = random_flow(make)
    differences = []
    for seed in range(40):  # equal draws, so the difference is the score alone, whose mean is zero
        pair = []
        for estimator in ("path", "reparameterised"):
            torch.manual_seed(seed)
            pair.append(gradient(pf.ReverseKL(flow, gaussian, estimator, check=False), 100))
        differences.append(pair[0] - pair[1])
    differences = torch.stack(differences)
    spread = differences.std(0) / 40**0.5
    moved = spread > 1e-12
    assert moved.sum() > 20
    assert (differences.mean(0)[moved].abs() / spread[moved]).max() < 5
    assert differences.mean(0)[~moved].abs().max() < 1e-10 if (~moved).any() else True


@pytest.mark.parametrize("make", [pf.realnvp, pf.maf, pf.iaf])
def test_path_gradient_vanishes_where_the_flow_equals_the_target(make):
    flow = random_flow(make)
    target = copy.deepcopy(flow).requires_grad_(False)
    assert gradient(pf.ReverseKL(flow, target), 16).abs().max() < 1e-10
    assert gradient(pf.ReverseKL(flow, target, "reparameterised"), 16).abs().max() > 1e-2


def test_annealing_flattens_the_target_at_first_and_never_in_validation():
    flow = random_flow(pf.realnvp)
    plain, annealed = pf.ReverseKL(flow, gaussian), pf.ReverseKL(flow, gaussian, anneal=4)
    values = []
    for _ in range(5):
        torch.manual_seed(0)
        values.append(annealed(32).item())
    torch.manual_seed(0)
    x, log_q = flow.rsample_and_log_prob((32,))
    expected = [(log_q - beta * gaussian(x)).mean().item() for beta in (0.25, 0.5, 0.75, 1.0, 1.0)]
    assert values == pytest.approx(expected)
    torch.manual_seed(0)
    held_out = pf.ReverseKL(flow, gaussian, anneal=4).held_out(32)
    torch.manual_seed(0)
    torch.testing.assert_close(held_out.mean(), plain(32).detach())
    assert annealed.state_dict()["calls"] == 5  # so that a resumed run anneals on where it stopped


def test_pieces_give_the_same_gradient():
    flow, sizes = random_flow(pf.realnvp), []

    def target(x):
        sizes.append(len(x))
        return gaussian(x)

    gradients = []
    for chunk in (None, 7):
        torch.manual_seed(0)
        gradients.append(gradient(pf.ReverseKL(flow, target, chunk=chunk, check=False), 20))
    assert sizes == [20, 7, 7, 6]
    torch.testing.assert_close(*gradients)


@pytest.mark.slow
def test_training_finds_a_gaussian_and_its_normalising_constant():
    torch.manual_seed(0)
    flow = pf.realnvp(2, layers=2, hidden=(8,))
    objective = pf.ReverseKL(flow, gaussian)
    optimizer = torch.optim.Adam(flow.parameters(), 0.02)
    for _ in range(400):
        optimizer.zero_grad()
        loss = objective(32)
        loss.backward()
        optimizer.step()
    log_z = 2.0 + torch.log(torch.tensor(2 * torch.pi * 0.25)).item()
    assert loss.item() == pytest.approx(-log_z, abs=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"estimator": "score"}, "estimator must be"),
        ({"anneal": -1}, "anneal must be"),
        ({"chunk": 0}, "chunk at least"),
    ],
)
def test_arguments_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        pf.ReverseKL(pf.realnvp(2, layers=1), gaussian, **change)


def test_flows_that_cannot_be_fitted_to_a_target():
    with pytest.raises(ValueError, match="context=2, but a target has no context"):
        pf.ReverseKL(pf.realnvp(2, layers=1, context=2), gaussian)


def test_a_target_that_is_not_finite_can_be_explained():
    objective = pf.ReverseKL(random_flow(pf.realnvp), lambda x: x[:, 0].log(), check=False)
    assert objective(100).isnan()
    assert "log_density is nan at x = [" in objective.explain(100)
    assert pf.ReverseKL(random_flow(pf.realnvp), gaussian).explain(100) == ""


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_duality_of_data_space_and_latent_space(direction):
    """KL(pi || p_theta) of x is KL(p(z | theta) || p(z)) of z = f(x), and so in the other direction."""
    flow = random_flow(pf.realnvp, features=2)
    pi = torch.distributions.Independent(
        torch.distributions.Normal(torch.tensor([0.3, -0.2]).double(), torch.tensor([0.8, 1.2]).double()), 1
    )

    def latent_log_prob(z):  # the density of f(x) for x from pi
        x, logdet = flow.transform.inverse(z)
        return pi.log_prob(x) + logdet

    torch.manual_seed(0)
    n = 20_000
    with torch.no_grad():
        if direction == "forward":
            x, x_again = pi.sample((n,)), pi.sample((n,))
            z = flow.transform(x_again)[0]
            data_space = pi.log_prob(x) - flow.log_prob(x)
            latent_space = latent_log_prob(z) - flow.base.log_prob(z)
        else:
            x, z = flow.sample((n,)), flow.base.sample((n,))
            data_space = flow.log_prob(x) - pi.log_prob(x)
            latent_space = flow.base.log_prob(z) - latent_log_prob(z)
    error = ((data_space.var() + latent_space.var()) / n).sqrt()  # of two independent estimates
    assert data_space.mean() > 5 * error  # something is measured
    assert (data_space.mean() - latent_space.mean()).abs() < 4 * error
