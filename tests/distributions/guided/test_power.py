"""How far weights count: wholly with a joint that is right, little with one that is wrong."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward.distributions.base import Density
from pushforward.distributions.guided import AnyOrder, Guided
from pushforward.distributions.guided.power import POWERS, best_power

COVARIANCE = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.3], [0.0, 0.3, 1.0]])


class Normal(Density):
    """A normal distribution around 0 of known covariance."""

    def __init__(self, covariance: Tensor) -> None:
        super().__init__()
        self.covariance, self.event_shape = covariance, torch.Size((len(covariance),))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return torch.distributions.MultivariateNormal(torch.zeros(3), self.covariance).log_prob(x.float())


def rows(n: int = 200) -> Tensor:
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    return x @ torch.linalg.cholesky(COVARIANCE).T


def guide(normal: bool) -> AnyOrder:
    """Untrained: the normal conditionals of the rows, or independent normal numbers."""
    torch.manual_seed(0)
    made = pf.anyorder(3, hidden=(4, 4), layers=1, normal=normal)
    made.initialize(rows(4000))
    return made


@pytest.mark.parametrize(
    ("joint", "knows", "power"),
    [(COVARIANCE, False, 1.0), (torch.diag(torch.full((3,), 0.1)), True, POWERS[-1])],
    ids=["the truth, a poor guide", "too narrow, a good guide"],
)
def test_weights_count_as_far_as_the_joint_is_better_than_its_guide(joint: Tensor, knows: bool, power: float) -> None:
    assert best_power(Guided(Normal(joint), guide(knows)), rows()) == power


def test_rows_without_anything_to_hide_leave_weights_as_they_are() -> None:
    density = Guided(Normal(COVARIANCE), guide(True))
    assert best_power(density, torch.full((5, 3), math.nan)) == 1.0
    assert best_power(density, rows()[:0]) == 1.0


def test_the_power_is_saved_and_draws_lean_on_the_guide(tmp_path: Path) -> None:
    joint = pf.maf(3, layers=1, hidden=(4,))
    with torch.no_grad():
        for p in joint.parameters():
            p.mul_(3.0)
    x = rows(60)
    x[:, 1] = math.nan
    spread = []
    for power in (1.0, 0.125):
        density = Guided(joint, guide(True), power=power)
        pf.save(density, tmp_path / "model")
        again = pf.load(tmp_path / "model")
        assert again.power == power
        filled, count = density.fill(x, draws=8)
        assert torch.equal(again.fill(x, draws=8)[0], filled)
        spread.append(float(count.mean()))
    assert spread[1] > spread[0]
