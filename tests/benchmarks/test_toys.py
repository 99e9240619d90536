"""Toys: what is drawn has the stated entropy, and comes from the generator that is given."""

import math

import pytest
import torch
import toys


@pytest.mark.parametrize("name", toys.ENTROPIES)
def test_draws_come_from_the_generator(name):
    draws = [toys.sample(name, 200, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert draws[0].shape == (200, 2)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("name", toys.ENTROPIES)
def test_entropy(name):
    """Kozachenko and Leonenko's estimate from nearest neighbours; its bias and spread are about 0.03 here."""
    n = 4000
    x = toys.sample(name, n, generator=torch.Generator().manual_seed(3)).double()
    nearest = torch.cat([torch.cdist(part, x).kthvalue(4, 1).values for part in x.split(1000)])  # itself and three more
    digamma_3 = 1 + 1 / 2 - 0.5772156649
    estimate = 2 * nearest.log().mean() + math.log(math.pi) + math.log(n - 1) - digamma_3
    assert float(estimate) == pytest.approx(toys.ENTROPIES[name], abs=0.1)


def curve(name):
    """Points, spread evenly over the toy before its noise is added; and the noise's standard deviation."""
    u = (torch.arange(1200, dtype=torch.float64) + 0.5) / 1200
    around = torch.stack([(2 * math.pi * u).cos(), (2 * math.pi * u).sin()], 1)
    half = torch.stack([(math.pi * u).cos(), (math.pi * u).sin()], 1)
    turn = 1.5 * math.pi * (1 + 2 * u[:, None])
    return {
        "8gaussians": (4 / math.sqrt(2) * around[75::150], 0.5 / math.sqrt(2)),
        "circles": (torch.cat([3 * around, 1.5 * around]), 0.24),
        "moons": (2 * torch.cat([half, torch.tensor([1, 0.5]) - half]) + torch.tensor([-1, -0.2]), 0.2),
        "rings": (torch.cat([around * radius for radius in (0.75, 1.5, 2.25, 3.0)]), 0.08),
        "swissroll": (turn * torch.cat([turn.cos(), turn.sin()], 1) / 5, 0.2),
    }[name]


@pytest.mark.parametrize("name", ["8gaussians", "circles", "moons", "rings", "swissroll"])
def test_entropy_by_integration(name):
    """-∫ p log p with p a sum of Gaussians along the curve, over squares narrower than the noise."""
    points, noise = curve(name)
    width = 0.7 * noise
    ticks = torch.arange(-4.8, 4.8, width, dtype=torch.float64)
    x, y = (torch.exp(-0.5 * ((ticks[:, None] - points[:, k]) / noise) ** 2) for k in (0, 1))
    p = x @ y.t() / (2 * math.pi * noise**2 * len(points))
    assert float(p.sum()) * width**2 == pytest.approx(1, abs=1e-4)
    assert float(-p.xlogy(p).sum()) * width**2 == pytest.approx(toys.ENTROPIES[name], abs=1e-3)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="name must be one of 8gaussians"):
        toys.sample("spiral", 3)
