"""Densities integrate to one: quadrature of every recipe with random parameters, in one and two dimensions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward.testing import randomize

HIDDEN = (12, 12)
FLOWS = {
    "maf": lambda m: pf.maf(m, layers=2, hidden=HIDDEN),
    "iaf": lambda m: pf.iaf(m, layers=2, hidden=HIDDEN),
    "realnvp": lambda m: pf.realnvp(m, layers=4, hidden=HIDDEN),
    "ffjord": lambda m: pf.ffjord(m, hidden=HIDDEN),
}


def nodes(n: int) -> tuple[Tensor, Tensor]:
    """The trapezoidal rule for the whole line after x = sinh(u): exponentially accurate, and it reaches far out."""
    u = torch.linspace(-4, 4, n, dtype=torch.float64)
    return u.sinh(), u.cosh() * (u[1] - u[0])


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", FLOWS)
def test_one_dimension(name: str, seed: int) -> None:
    flow = randomize(FLOWS[name](1).double(), seed=seed)
    x, weight = nodes(2001)
    with torch.no_grad():
        total = (flow.log_prob(x[:, None]).exp() * weight).sum()
    assert abs(float(total) - 1) < 1e-3


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", FLOWS)
def test_two_dimensions(name: str, seed: int) -> None:
    flow = randomize(FLOWS[name](2).double(), seed=seed)
    x, weight = nodes(301)
    grid = torch.cartesian_prod(x, x)
    with torch.no_grad():
        total = (flow.log_prob(grid).exp() * torch.outer(weight, weight).flatten()).sum()
    assert abs(float(total) - 1) < 1e-3
