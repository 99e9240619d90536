"""Densities given an order of their features."""

from __future__ import annotations

import math

import torch

import pushforward as pf
from pushforward.distributions.base import Density
from pushforward.distributions.truncated import InOrder, Truncated, truncated


def normal(features: int = 2) -> pf.Flow:
    return pf.maf(features, layers=1, hidden=(8,)).double()  # starts as N(0, I)


def grid(points: int = 401, end: float = 8.0) -> tuple[torch.Tensor, float]:
    axis = torch.linspace(-end, end, points, dtype=torch.float64)
    step = float(axis[1] - axis[0])
    return torch.cartesian_prod(axis, axis + step / 2), step**2  # no point on the diagonal


def test_it_integrates_to_one_and_what_breaks_the_order_keeps_its_share():
    density = Truncated(normal(), InOrder([(0, 1)]), 0.5, 0.01)
    x, area = grid()
    mass = density.log_prob(x).detach().exp() * area
    assert abs(float(mass.sum()) - 1) < 1e-3
    assert abs(float(mass[x[:, 0] > x[:, 1]].sum()) - 0.01) < 1e-3


def test_its_mass_outside_is_estimated_and_its_draws_are_in_order():
    density = truncated(normal(3), InOrder([(0, 1), (1, 2)]), torch.zeros(99, 3), stated=True)
    assert abs((1 - density.broken) - 1 / 6) < 0.01
    x = density.sample((500,), generator=torch.Generator().manual_seed(0))
    assert (x.diff(dim=-1) >= 0).all()
    assert density.log_prob(torch.tensor([[1.0, 0.0, 2.0]], dtype=torch.float64)).item() == -math.inf


def test_grids_and_codes_are_compared_as_the_values_that_they_stand_for():
    sign = InOrder([(-1, 2)], grids=[(0, 0.07, 0.1), (1, 5.07, 0.1)], signs=[(-1, 0, 1)])  # 1.57 and 1.57, by rounding
    x = [[1.53, 1.58, 0.0], [1.53, 1.58, -1.0], [1.4, 1.58, -1.0], [2.0, 1.0, 1.0], [2.0, 1.0, 0.0]]
    assert sign(torch.tensor(x, dtype=torch.float64)).tolist() == [True, False, True, True, False]
    order = InOrder([(0, 1), (1, 2)], grids=[(0, 0.0, 1.0), (1, 0.0, 0.5)], tables=[(2, [3.0, 1.0])])
    x = torch.tensor([[0.4, -0.2, 0.0], [0.6, 0.7, 0.0], [0.4, 1.6, 1.0], [0.4, math.nan, 0.0]], dtype=torch.float64)
    assert order(x).tolist() == [True, False, False, True]  # 0 <= 0 <= 3; 1 > 0.5; 1.5 > 1; nothing is known
    assert InOrder([(0, 1)], flags=[(0, 2)])(torch.tensor([[2.0, 1.0, 1.0], [2.0, 1.0, 0.0]])).tolist() == [True, False]
    beside = InOrder([], grids=[(1, 0.0, 0.5)], beside=[(0, 1.0, 1, 2.5)])
    assert beside(torch.tensor([[1.0, 2.6], [0.0, 2.5], [1.0, 3.0], [0.0, 3.0]])).tolist() == [True, False, False, True]


def test_it_is_saved_and_loaded(tmp_path):
    density = Truncated(normal(), InOrder([(0, 1)], grids=[(0, 0.0, 1.0)]), 0.4, 0.01)
    pf.save(density, tmp_path / "model")
    x = torch.randn(20, 2, dtype=torch.float64)
    assert torch.equal(pf.load(tmp_path / "model").log_prob(x), density.log_prob(x))


class Lacking(Density):
    """Two normal numbers, and a flag that the second is void, in a third of the events."""

    def __init__(self) -> None:
        super().__init__()
        self.event_shape, self.numbers = torch.Size([3]), normal()

    def log_prob(self, x, context=None):
        share = torch.tensor([2 / 3, 1 / 3], dtype=torch.float64)
        return self.numbers.log_prob(x[..., :2]) + share.log()[x[..., 2].long()]

    def _generate(self, batch, context, generator, temperature):
        flag = torch.rand(*batch, 1, generator=generator, dtype=torch.float64) < 1 / 3
        return torch.cat([self.numbers._generate(batch, None, generator, temperature), flag], -1)


def test_what_is_missing_is_drawn_as_often_as_without_an_order():
    for stated in (True, False):
        density = truncated(Lacking(), InOrder([(0, 1)], flags=[(1, 2)]), torch.zeros(99, 3), stated=stated)
        x = density.sample((20_000,), generator=torch.Generator().manual_seed(0))
        assert abs(float(x[:, 2].mean()) - 1 / 3) < 0.015
        assert ((x[:, 0] <= x[:, 1]) | (x[:, 2] == 1)).all()
        points, area = grid()
        mass = [density.log_prob(torch.cat([points, 0 * points[:, :1] + flag], 1)).detach().exp() for flag in (0, 1)]
        assert abs(float(mass[0].sum() * area) - 2 / 3) < 0.01
        assert abs(float(mass[1].sum() * area) - 1 / 3) < 0.01
