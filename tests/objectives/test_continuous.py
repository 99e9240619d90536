"""Flow matching and regularised likelihood: what they minimise, whom they couple, what they refuse."""

import itertools

import pytest
import torch
from torch import nn

import pushforward as pf
from pushforward.nets.field import MLPField
from pushforward.objectives.continuous import optimal_partners
from pushforward.testing import randomize
from pushforward.transforms import Compose, Continuous, Standardize


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Towards(nn.Module):
    """The field of straight lines to one point: (target - z) / (1 - t)."""

    def __init__(self, target):
        super().__init__()
        self.register_buffer("target", target)

    def forward(self, t, z, context=None):
        return (self.target - z) / (1 - t)


def test_the_field_of_the_straight_lines_has_no_error():
    point = torch.tensor([1.0, -2.0])
    objective = pf.FlowMatching(pf.Flow(Continuous(Towards(point)), 2))
    x = point.expand(64, 2)
    assert objective(x).item() < 1e-4
    assert objective(x + 1).item() > 0.5


def test_error_of_a_field_at_rest_is_the_mean_squared_velocity():
    objective = pf.FlowMatching(pf.ffjord(3, hidden=(8, 8)))
    x = 2 * normal(20_000, 3)
    assert objective(x).item() == pytest.approx(5, rel=0.05)  # Var(x) + Var(z)
    losses = objective.held_out(x)
    assert losses.shape == (20_000,)
    assert losses.mean().item() == pytest.approx(5, rel=0.05)


@pytest.mark.parametrize(("late", "mean"), [(1.0, 1 / 2), (2.0, 2 / 3)])
def test_late_times_are_closer_to_the_data(late, mean):
    class Clock(nn.Module):
        def forward(self, t, z, context=None):
            self.seen = t
            return torch.zeros_like(z)

    flow = pf.Flow(Continuous(Clock()), 2)
    for loss in (pf.FlowMatching(flow, late=late), pf.FlowMatching(flow, late=late).held_out):
        loss(normal(20_000, 2))
        seen = flow.transform.field.seen
        assert float(seen.mean()) == pytest.approx(mean, abs=0.01)  # E[1 - u^late] = late / (late + 1)
        assert 0 <= float(seen.min()) < float(seen.max()) <= 1


def test_preprocessing_comes_before_the_lines():
    field = Continuous(Towards(torch.zeros(2)))
    flow = pf.Flow(Compose([Standardize(torch.tensor([5.0, 5.0]), torch.ones(2)), field]), 2)
    assert pf.FlowMatching(flow)(torch.full((64, 2), 5.0)).item() < 1e-4


@pytest.mark.parametrize("coupling", ["independent", pytest.param("optimal", marks=pytest.mark.slow)])
def test_matching_learns_a_density_with_a_context(coupling):
    pytest.importorskip("scipy", reason="optimal coupling needs SciPy")
    torch.manual_seed(0)
    flow = pf.ffjord(1, context=1, hidden=(32, 32))
    objective = pf.FlowMatching(flow, coupling)
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.02)
    for _ in range(300):
        c = torch.randint(0, 2, (128, 1)).float()
        loss = objective(3 * c + 0.5 * torch.randn(128, 1), c)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for value in (0.0, 1.0):
        drawn = flow.sample((2000,), torch.tensor([value]))
        assert float(drawn.mean()) == pytest.approx(3 * value, abs=0.25)
        assert float(drawn.std()) == pytest.approx(0.5, abs=0.2)


def test_optimal_partners_are_the_best_permutation():
    pytest.importorskip("scipy", reason="optimal coupling needs SciPy")
    x, z = normal(5, 2), normal(5, 2, seed=1)

    def cost(order):
        return float((x - z[list(order)]).square().sum())

    best = optimal_partners(x, z).tolist()
    assert sorted(best) == list(range(5))
    assert cost(best) == pytest.approx(min(map(cost, itertools.permutations(range(5)))))


def test_partners_stay_with_their_context_where_contexts_are_apart():
    pytest.importorskip("scipy", reason="optimal coupling needs SciPy")
    x, z = normal(40, 2), normal(40, 2, seed=1)
    c = (torch.arange(40) % 2).float()[:, None]
    assert torch.equal(c[optimal_partners(x, z, c, context_cost=100.0)], c)
    assert not torch.equal(c[optimal_partners(x, z, c, context_cost=0.0)], c)


def test_regularised_likelihood_adds_the_energies():
    flow = randomize(pf.ffjord(3, hidden=(8, 8)).double(), scale=1.5)
    x = normal(50, 3).double()
    free = pf.RegularisedLikelihood(flow, kinetic=0, jacobian=0)(x)
    torch.testing.assert_close(free, pf.ForwardKL(flow)(x), rtol=1e-6, atol=1e-6)
    priced = pf.RegularisedLikelihood(flow, kinetic=1, jacobian=0)(x)
    torch.manual_seed(1)
    flat = pf.RegularisedLikelihood(flow, kinetic=0, jacobian=1)(x)
    torch.manual_seed(1)  # the same directions of the Jacobian
    solution = flow.transform.solve(x, energies=True)
    torch.testing.assert_close(priced - free, solution.kinetic.mean())
    torch.testing.assert_close(flat - free, solution.jacobian.mean())
    # The shortest way from x to z takes |x - z|^2 of kinetic energy, and every way at least that.
    assert (solution.kinetic >= (solution.z - x).square().sum(1) * (1 - 1e-6)).all()
    assert (solution.jacobian > 0).all()
    priced.backward()
    assert all(p.grad is not None for p in flow.parameters())


def test_the_gradient_of_the_prices_is_that_of_their_integrals():
    torch.manual_seed(0)
    flow = pf.Flow(Continuous(randomize(MLPField(2, hidden=(5,)).double(), scale=1.5), steps=2), 2)
    objective, x = pf.RegularisedLikelihood(flow, kinetic=0.7, jacobian=0.3), normal(4, 2).double()

    def loss(*parameters):
        torch.manual_seed(1)  # the same signs v in every call
        return objective(x)

    assert torch.autograd.gradcheck(loss, tuple(flow.parameters()), eps=1e-5, atol=1e-6, rtol=1e-5, fast_mode=True)


@pytest.mark.slow
def test_a_price_makes_the_trained_field_slower_and_flatter():
    spent = []
    for price in (0.0, 1.0):
        torch.manual_seed(0)
        flow = pf.Flow(Continuous(MLPField(2, hidden=(12,)), steps=4), 2)
        objective = pf.RegularisedLikelihood(flow, kinetic=price, jacobian=price)
        optimizer = torch.optim.Adam(flow.parameters(), lr=0.06)
        for _ in range(12):
            optimizer.zero_grad()
            objective(normal(64, 2) * 0.3 + 1).backward()
            optimizer.step()
        with torch.no_grad():
            solution = flow.transform.solve(normal(64, 2) * 0.3 + 1, energies=True)
        spent.append((float(solution.kinetic.mean()), float(solution.jacobian.mean())))
    assert spent[1][0] < 0.8 * spent[0][0]
    assert spent[1][1] < 0.8 * spent[0][1]


def test_energies_of_a_linear_field():
    class Linear(nn.Module):
        def forward(self, t, z, context=None):
            return 2 * z

    x = torch.ones(2, 3, dtype=torch.float64)
    solution = Continuous(Linear(), rtol=1e-9, atol=1e-9).solve(x, energies=True)
    # z(t) = exp(2 (t - 1)): the integral of |2 z|^2 is 3 (1 - exp(-4)), and |J v|^2 = 4 |v|^2 = 12
    torch.testing.assert_close(solution.kinetic, torch.full((2,), 3.0).double() * (1 - torch.tensor(-4.0).exp()))
    torch.testing.assert_close(solution.jacobian, torch.full((2,), 12.0).double())


@pytest.mark.parametrize("objective", [pf.FlowMatching, pf.RegularisedLikelihood])
def test_a_discrete_flow_is_refused(objective):
    with pytest.raises(ValueError, match="exactly one Continuous transform, but it has 0"):
        objective(pf.maf(3, layers=1))


def test_wrong_arguments_are_named():
    flow = pf.ffjord(2)
    with pytest.raises(ValueError, match="coupling must be"):
        pf.FlowMatching(flow, "random")
    with pytest.raises(ValueError, match="context_cost"):
        pf.FlowMatching(flow, context_cost=-1.0)
    with pytest.raises(ValueError, match="late must be positive"):
        pf.FlowMatching(flow, late=0.0)
    with pytest.raises(ValueError, match="kinetic"):
        pf.RegularisedLikelihood(flow, kinetic=-1.0)
