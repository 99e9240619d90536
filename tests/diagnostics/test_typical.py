"""Observations among simulations: what is one has a uniform p-value, what is none a small one."""

from __future__ import annotations

import pytest
import torch

import pushforward as pf
from pushforward.diagnostics import typical


def simulate(n: int, seed: int) -> torch.Tensor:
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    return torch.stack([x[:, 0], x[:, 0] ** 2 + 0.3 * x[:, 1], x[:, 2].exp()], 1)


@pytest.fixture(scope="module")
def density() -> pf.distributions.GaussianMixture:
    return pf.gmm(3, components=4).fit(simulate(600, seed=0))


@pytest.mark.parametrize("components", [1, 4])  # the one is a poor density
def test_p_values_of_new_simulations_are_uniform(components: int) -> None:
    density = pf.gmm(3, components=components).fit(simulate(600, seed=0))
    found = typical(density, simulate(4000, seed=1), simulate(2000, seed=2))
    for level in (0.01, 0.05, 0.5):
        assert (found.p_value <= level).double().mean().item() == pytest.approx(level, rel=0.25)
    assert found.log_prob.shape == found.less_likely.shape == (4000,)


def test_what_is_not_simulated_is_found_from_both_sides(density) -> None:
    simulations = simulate(2000, seed=2)
    unlike = typical(density, torch.tensor([2.0, -2.0, 1.0]), simulations)
    assert not unlike.trusted
    assert unlike.less_likely < 0.01
    assert "Unlike" in unlike.verdict
    peak = simulations[density.log_prob(simulations).argmax()]
    assert typical(density, peak, simulations).p_value < 0.01
    assert typical(density, simulate(1, seed=5)[0], simulations).trusted


def test_draws_of_the_density_stand_in_for_simulations(density) -> None:
    x = simulate(1, seed=5)[0]
    generator = torch.Generator().manual_seed(0)
    assert typical(density, x, draws=500, generator=generator).p_value == pytest.approx(
        typical(density, x, simulate(2000, seed=2)).p_value.item(), abs=0.2
    )


def test_what_has_no_density_is_not_like_the_simulations(density) -> None:
    positive = pf.constrain(pf.maf(2, hidden=(4,)), (torch.distributions.constraints.positive, 2))
    simulations = simulate(600, seed=2)[:, 1:].exp()
    outside = typical(positive, torch.tensor([-1.0, 1.0]), simulations)
    assert (outside.log_prob, outside.less_likely, outside.trusted) == (-torch.inf, 0.0, False)
    with pytest.raises(ValueError, match="none of them with these entries missing has a density"):
        typical(density, torch.tensor([0.0, torch.nan, 1.0]), simulate(600, seed=2))


def test_too_few_simulations_for_so_many_observations_are_no_evidence(density) -> None:
    far = torch.tensor([50.0, 0.0, 1.0])
    for x in (far, far.expand(3, 3)):
        found = typical(density, x, simulate(150, seed=2))
        assert not found.trusted
        assert f"give at least {200 * (x.numel() // 3)}" in found.verdict


def test_missing_entries_are_integrated_out() -> None:
    joint = pf.anyorder(3, hidden=(16,))
    pf.fit(joint, simulate(300, seed=0), steps=30, progress=False)
    found = typical(joint, torch.tensor([50.0, torch.nan, torch.nan]), simulate(200, seed=2))
    assert found.p_value == pytest.approx(2 / 201)
    with pytest.raises(ValueError, match="one observation"):
        typical(joint, torch.full((2, 3), torch.nan), simulate(200, seed=2))
    with pytest.raises(ValueError, match="at least 20"):
        typical(joint, torch.zeros(3), simulate(5, seed=2))


def test_observations_that_are_as_likely_as_many_simulations_are_like_these() -> None:
    flips = pf.made(2, hidden=(4,), conditional="bernoulli")
    with torch.no_grad():
        flips.net.weights[-1].zero_()
        flips.net.biases[-1].zero_()
    simulations = torch.randint(2, (300, 2), generator=torch.Generator().manual_seed(0)).float()
    found = typical(flips, torch.tensor([0.0, 1.0]), simulations)
    assert (float(found.p_value), found.trusted) == (1.0, True)
