"""Densities integrate to one: quadrature of every recipe with random parameters, in one and two dimensions."""

from __future__ import annotations

import math

import pytest
import torch
import toys
from torch import Tensor

import pushforward as pf
from pushforward import distributions as D
from pushforward import transforms as T
from pushforward.testing import randomize

HIDDEN = (12, 12)
FLOWS = {
    "maf": lambda m: pf.maf(m, layers=2, hidden=HIDDEN),
    "iaf": lambda m: pf.iaf(m, layers=2, hidden=HIDDEN),
    "realnvp": lambda m: pf.realnvp(m, layers=4, hidden=HIDDEN),
    "nsf": lambda m: pf.nsf(m, layers=2, hidden=HIDDEN),
    "nsf coupling": lambda m: pf.nsf(m, layers=2, hidden=HIDDEN, coupling=True),
    "nsf linear": lambda m: pf.nsf(m, layers=3, hidden=HIDDEN, linear=True),
    "maf linear": lambda m: pf.maf(m, layers=3, hidden=HIDDEN, linear=True),
    "ffjord": lambda m: pf.ffjord(m, hidden=HIDDEN),
    "bnaf": lambda m: pf.bnaf(m, hidden=HIDDEN),
    "residual": lambda m: pf.residual(m, layers=3, hidden=HIDDEN),
    "planar": lambda m: pf.planar(m, layers=4),
    "sylvester": lambda m: pf.sylvester(m, layers=3),
    "triangular_spline": lambda m: pf.triangular_spline(m, layers=3),
    "nice": lambda m: pf.nice(m, layers=4, hidden=HIDDEN),
    "naf": lambda m: pf.naf(m, layers=2, hidden=HIDDEN),
    "unaf": lambda m: pf.unaf(m, layers=2, hidden=HIDDEN, signal=4, network=(8, 8), nodes=8),
    "bpf": lambda m: pf.bpf(m, layers=2, hidden=HIDDEN),
    "sospf": lambda m: pf.sospf(m, layers=2, hidden=HIDDEN),
    "gf": lambda m: pf.gf(m, layers=2),
    "made gaussian": lambda m: pf.made(m, hidden=HIDDEN),
    "made mixture": lambda m: pf.made(m, hidden=HIDDEN, conditional="mixture", components=3),
}
BASES = {
    "diagonal normal": D.DiagonalNormal,
    "full normal": D.FullNormal,
    "student t": lambda m: D.StudentT(m, 2.0),
    "generalised normal": lambda m: D.GeneralisedNormal(m, 1.5),
    "resampled": lambda m: D.Resampled(m, hidden=HIDDEN),
    "product": lambda m: D.Product([D.DiagonalNormal(1), *[D.StudentT(1)] * (m - 1)]),
    "gmm": lambda m: pf.gmm(m, components=3),
}
FLOWS |= {
    **{
        f"over {name}": lambda m, make=make: pf.Flow(pf.realnvp(m, layers=2, hidden=HIDDEN).transform, make(m))
        for name, make in BASES.items()
    },
    "heavy tails": lambda m: pf.constrain(pf.maf(m, layers=1, hidden=HIDDEN), T.HeavyTails(m)),
}
HEAVY = ("over student t", "over product", "heavy tails", "sospf")


def nodes(n: int, reach: float = 4) -> tuple[Tensor, Tensor]:
    """The trapezoidal rule for the whole line after x = sinh(u): exponentially accurate, and it reaches far out."""
    u = torch.linspace(-reach, reach, n, dtype=torch.float64)
    return u.sinh(), u.cosh() * (u[1] - u[0])


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", FLOWS)
def test_one_dimension(name: str, seed: int) -> None:
    torch.manual_seed(seed)  # of trained matrices
    flow = randomize(FLOWS[name](1).double(), seed=seed)
    x, weight = nodes(2001, reach=12 if name in HEAVY else 4)
    with torch.no_grad():
        total = (flow.log_prob(x[:, None]).exp() * weight).sum()
    assert abs(float(total) - 1) < 1e-3


@pytest.mark.parametrize("name", FLOWS)
def test_two_dimensions(name: str) -> None:
    flow = randomize(FLOWS[name](2).double())
    far = name in HEAVY or name == "maf linear"  # 4 % of it lie beyond sinh(4) = 27
    x, weight = nodes(401, reach=9) if far else nodes(241)
    grid = torch.cartesian_prod(x, x)
    with torch.no_grad():
        total = (flow.log_prob(grid).exp() * torch.outer(weight, weight).flatten()).sum()
    assert abs(float(total) - 1) < 1e-3


@pytest.mark.parametrize("features", [1, 2, 3])
def test_angles(features: int) -> None:
    """On the torus, where evenly spaced points are the best rule; the density is the same at both ends."""
    torch.manual_seed(0)
    flow = randomize(pf.ncsf(features, layers=2, hidden=HIDDEN).double())
    n = {1: 2000, 2: 300, 3: 60}[features]
    line = (torch.arange(n, dtype=torch.float64) / n - 0.5) * 2 * math.pi
    with torch.no_grad():
        total = flow.log_prob(torch.cartesian_prod(*[line] * features).view(-1, features)).exp().sum()
        ends = flow.log_prob(torch.tensor([[-math.pi], [math.pi], [3 * math.pi]]).double().expand(3, features))
    assert abs(float(total) * (2 * math.pi / n) ** features - 1) < 1e-3
    torch.testing.assert_close(ends, ends[:1].expand(3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("frequencies", [0, pytest.param(8, marks=pytest.mark.slow)])
def test_a_continuous_flow_that_has_learnt_a_toy(frequencies: int) -> None:
    torch.manual_seed(0)
    flow = pf.ffjord(2, hidden=(24, 24), frequencies=frequencies)
    objective = pf.FlowMatching(flow)
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.01)
    for _ in range(250):
        optimizer.zero_grad()
        objective(toys.sample("moons", 256)).backward()
        optimizer.step()
    line = torch.linspace(-5, 5, 81, dtype=torch.float64)
    fresh = toys.sample("moons", 500, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        log_prob, likelihood = flow.double().log_prob(torch.cartesian_prod(line, line)), flow.log_prob(fresh).mean()
    assert abs(float(log_prob.exp().sum()) * float(line[1] - line[0]) ** 2 - 1) < 1e-3
    assert -float(likelihood) < 3.1  # a Gaussian of the same moments has 3.29


DISCRETE = {
    "made bernoulli": (lambda: pf.made(6, hidden=HIDDEN, conditional="bernoulli"), 2, (6,)),
    "made categorical": (lambda: pf.made(4, hidden=HIDDEN, conditional="categorical", classes=3), 3, (4,)),
    "pixelcnn": (lambda: pf.pixelcnn((1, 2, 2), levels=3, hidden=8, layers=1), 3, (1, 2, 2)),
}


@pytest.mark.parametrize("name", DISCRETE)
def test_probabilities_of_all_values_add_up(name: str) -> None:
    make, levels, shape = DISCRETE[name]
    model = randomize(make().double())
    every = torch.cartesian_prod(*[torch.arange(levels, dtype=torch.float64)] * torch.Size(shape).numel())
    with torch.no_grad():
        total = model.log_prob(every.reshape(-1, *shape)).exp().sum()
    assert abs(float(total) - 1) < 1e-9


@pytest.mark.parametrize("name", ["glow", "realnvp"])
def test_image_recipes(name: str) -> None:
    """An image of two pixels or of one channel of 2 x 2, by importance sampling from a wide normal: 4 numbers."""
    shape = (1, 2, 2)
    flow = pf.glow(shape, levels=1, steps=1, hidden=4) if name == "glow" else pf.realnvp(shape, layers=2, hidden=(4,))
    flow = randomize(flow.double(), scale=0.2)
    generator = torch.Generator().manual_seed(0)
    x = 1.5 * torch.randn(200_000, *shape, generator=generator, dtype=torch.float64)
    proposal = torch.distributions.Normal(0.0, 1.5).log_prob(x).flatten(1).sum(1)
    with torch.no_grad():
        weights = (flow.log_prob(x) - proposal).exp()
    error = float(weights.std()) / len(weights) ** 0.5
    assert error < 0.02
    assert abs(float(weights.mean()) - 1) < 4 * error
