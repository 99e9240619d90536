"""Targets: their stated normalising constants, by quadrature, and what the border check says of them."""

from __future__ import annotations

import pytest
import torch

import pushforward as pf
from pushforward.objectives.target import check_target
from pushforward.testing import targets

PLANE = ["potential_1", "potential_2", "potential_3", "potential_4", "banana", "mixture", "separated"]


@pytest.mark.parametrize("name", PLANE)
def test_log_z_by_quadrature(name):
    target = getattr(targets, name)
    width = 4.0 if target.support else 14.0
    n = 601
    first = torch.linspace(-width, width, n, dtype=torch.float64)
    second = torch.linspace(-40.0, 40.0, 2 * n, dtype=torch.float64)
    weight = torch.ones_like(first)
    weight[[0, -1]] = 0.5  # the trapezoid rule: on the strip the density does not vanish at the ends
    x = torch.cartesian_prod(first, second)
    total = (target(x).exp().view(n, 2 * n) * weight[:, None]).sum() * (first[1] - first[0]) * (second[1] - second[0])
    assert total.log().item() == pytest.approx(target.log_z, abs=2e-5)


@pytest.mark.parametrize("name", [*PLANE, "funnel", "eight_schools"])
def test_every_target_passes_the_check_on_its_support(name):
    target = getattr(targets, name)
    flow = pf.realnvp(target.features, layers=1, hidden=(8,))
    check_target(pf.constrain(flow, *target.support) if target.support else flow, target)


def test_the_funnel_is_normalised():
    """Importance weights of exact draws are all 1."""
    torch.manual_seed(0)
    v = 3 * torch.randn(1000, 1)
    x = torch.cat([v, (v / 2).exp() * torch.randn(1000, 9)], 1)
    inner = torch.distributions.Normal(0.0, (v / 2).exp()).log_prob(x[:, 1:]).sum(1)
    torch.testing.assert_close(targets.funnel(x), torch.distributions.Normal(0.0, 3.0).log_prob(v[:, 0]) + inner)
