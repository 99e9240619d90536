"""Draws that stay inside a region, and its mass, against the truth of a mixture."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward.distributions.base import Density
from pushforward.distributions.guided import Guided
from pushforward.distributions.guided.region import Region, into, masses
from pushforward.distributions.mixture import GaussianMixture

INF = math.inf


class Hidden(Density):
    """A density without its closed forms."""

    def __init__(self, density: Density) -> None:
        super().__init__()
        self.density, self.event_shape = density, density.event_shape

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.density.log_prob(x)


@pytest.fixture(scope="module")
def mixture() -> GaussianMixture:
    torch.manual_seed(0)
    x = torch.randn(3000, 2) @ torch.tensor([[1.0, 0.8], [0.0, 0.6]])
    x[1500:] += torch.tensor([2.0, -2.0])
    return GaussianMixture(2, 2).fit(x)


@pytest.fixture(scope="module")
def guide(mixture: GaussianMixture) -> pf.distributions.AnyOrder:
    torch.manual_seed(0)
    guide = pf.anyorder(2, layers=1, hidden=(32, 32))
    pf.fit(guide, mixture.sample((3000,)), steps=150, progress=False)
    return guide


def region(**intervals: list[list[float]]) -> Region:
    """Intervals of x0, x1, for one row."""
    ends = {int(name[1:]): torch.tensor(each, dtype=torch.float64).T[..., None] for name, each in intervals.items()}
    return Region(ends, {})


def inside(x: Tensor, some: Region) -> Tensor:
    held = torch.ones(x.shape[:-1], dtype=torch.bool)
    for j, ends in some.numbers.items():
        held &= ((x[..., j, None] >= ends[0, :, 0]) & (x[..., j, None] <= ends[1, :, 0])).any(-1)
    return held


REGIONS = {
    "half": region(x0=[[0.0, INF]]),
    "two intervals": region(x0=[[-1.0, 0.0], [2.0, 3.0]]),
    "box": region(x0=[[0.0, 1.0]], x1=[[-INF, 0.0]]),
    "far": region(x0=[[4.4, INF]], x1=[[0.5, INF]]),
}


@pytest.mark.parametrize("name", REGIONS)
def test_masses_are_those_of_the_joint_and_no_draw_is_rejected(
    name: str, mixture: GaussianMixture, guide: pf.distributions.AnyOrder
) -> None:
    x = mixture.sample((400_000,), generator=torch.Generator().manual_seed(1))
    truth = float(inside(x, REGIONS[name]).double().mean())
    for joint in (mixture, Hidden(mixture)):
        guided, nothing = Guided(joint, guide), torch.full((1, 2), math.nan)
        answer = guided.marginal(nothing, region=REGIONS[name], draws=1024, most=4096, precise=0.02)
        slack = 4 * float(answer.error) * truth + 4 * math.sqrt(truth / len(x))
        assert float(answer.value.exp()) == pytest.approx(truth, abs=slack)
        drawn, _ = guided.fill(nothing, region=REGIONS[name], draws=300)
        assert inside(drawn, REGIONS[name]).all()


def test_every_row_has_its_own_region(mixture: GaussianMixture, guide: pf.distributions.AnyOrder) -> None:
    ends = torch.tensor([[[0.0, 1.0]], [[1.0, 2.0]]], dtype=torch.float64)  # from 0 to 1, and from 1 to 2
    drawn, _ = Guided(mixture, guide).fill(torch.full((2, 2), math.nan), region=Region({1: ends}, {}), draws=50)
    assert ((drawn[:, 0, 1] >= 0) & (drawn[:, 0, 1] <= 1)).all()
    assert ((drawn[:, 1, 1] >= 1) & (drawn[:, 1, 1] <= 2)).all()


def test_a_row_names_its_own_entries_and_a_region_that_no_draw_reaches_has_no_mass(
    mixture: GaussianMixture, guide: pf.distributions.AnyOrder
) -> None:
    ends = torch.tensor([[[0.0, 0.0, 1e4]], [[INF, INF, 2e4]]], dtype=torch.float64)
    other = torch.tensor([[[math.nan, 0.0, 0.0]], [[math.nan, INF, INF]]], dtype=torch.float64)
    guided, nothing = Guided(Hidden(mixture), guide), torch.full((3, 2), math.nan)
    both = guided.marginal(nothing, region=Region({0: ends, 1: other}, {}), draws=4096)
    alone = guided.marginal(nothing[:1], region=Region({0: ends[..., :1]}, {}), draws=4096)
    assert float(both.value[0]) == pytest.approx(float(alone.value[0]), abs=1e-6)
    assert both.value[1] < both.value[0] - 0.05
    assert both.value[2] == -INF
    assert not both.error.isnan().any()


def test_only_allowed_codes_are_drawn_and_their_probabilities_add_up() -> None:
    torch.manual_seed(0)
    code = torch.randint(0, 4, (2000,))
    x = torch.stack([torch.randn(2000) + code, code.float()], 1)
    guide = pf.anyorder(2, layers=1, hidden=(32,), classes=[0, 4])
    pf.fit(guide, x, steps=100, progress=False)
    guided, some = Guided(guide, guide), Region({}, {1: torch.tensor([True, False, True, False])[:, None]})
    nothing = torch.full((1, 2), math.nan)
    drawn, _ = guided.fill(nothing, region=some, draws=200)
    assert set(drawn[..., 1].flatten().tolist()) == {0.0, 2.0}
    both = guided.marginal(nothing, region=some, draws=1024).value.exp()
    each = guide.log_prob(torch.tensor([[math.nan, 0.0], [math.nan, 2.0]])).detach().exp().sum()
    assert float(both) == pytest.approx(float(each), abs=0.02)


def test_noise_in_far_tails_keeps_its_precision() -> None:
    low, high = torch.tensor([[8.0], [-20.0]], dtype=torch.float64), torch.tensor([[8.1], [-19.9]], dtype=torch.float64)
    mass = masses(low, high)[:, 0]
    assert float(mass[0]) == pytest.approx(6.22096057e-16 - 2.74795939e-16, rel=1e-6)
    assert 0 < mass[1] < 1e-80
    u = torch.linspace(0.001, 0.999, 50, dtype=torch.float64)
    z = into(u, low.expand(2, 50), high.expand(2, 50))
    assert ((z >= 8.0) & (z <= 8.1)).all()
    assert (z.diff() >= 0).all()
