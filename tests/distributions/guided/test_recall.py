"""Rows with holes under a joint density that knows groups: sums over these, though the guide knows nothing of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward.distributions.average import Average
from pushforward.distributions.flow import Flow
from pushforward.distributions.grouped import Grouped
from pushforward.distributions.guided import Guided
from pushforward.distributions.guided.region import Region
from pushforward.distributions.mixed import Mixed
from pushforward.recipes.by_name import categories_by_size
from pushforward.testing import randomize
from pushforward.transforms.elementwise import Identity

VALUES = torch.tensor([[-1.0, 2.0], [0.0, -1.0], [1.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
LABEL = torch.tensor([0, 0, 1, 1])  # of each group
SHARE = 0.6
NAN = math.nan


@pytest.fixture(scope="module")
def model() -> Guided:
    """A label and two whole numbers, of four groups of 5 rows each or of a flow."""
    torch.manual_seed(0)
    groups = Grouped(2, [0, 1], 4, None, context=2)
    group = torch.arange(20) % 4
    ends = torch.stack([VALUES - 0.5, VALUES + 0.5])
    groups.learn(ends, VALUES, group, torch.ones(20), torch.nn.functional.one_hot(LABEL[group], 2).float())
    flow = randomize(pf.maf(2, context=2, layers=1, hidden=(8,)), 0.3)
    numbers = Flow(Identity(), Average([flow, groups], [1 - SHARE, SHARE]), context=2)
    joint = Mixed(randomize(categories_by_size([2]), 0.3), numbers, (2, 0, 0))
    guide = randomize(pf.anyorder(3, classes=(2, 0, 0), hidden=(8, 8), layers=1, bins=4), 0.1)
    whole = Guided(joint, guide).double()
    whole._spread = lambda x, u: x + (u - 0.5) * torch.tensor([0.0, 1.0, 1.0])
    return whole


def of_cells(model: Guided) -> Tensor:
    """The probability of each label and pair of whole numbers, ``(2, 41, 41)``, at points of their cells."""
    whole = torch.arange(-20.0, 21.0, dtype=torch.float64)
    u = (torch.arange(8, dtype=torch.float64) + 0.5) / 8 - 0.5
    a, b = (torch.cartesian_prod(whole, u).sum(1) for _ in "ab")
    rows = torch.cartesian_prod(torch.arange(2.0, dtype=torch.float64), a, b)
    with torch.no_grad():
        p = model.log_prob(rows).exp().view(2, 41, 8, 41, 8)
    return p.mean((2, 4))


def test_marginals_are_sums_over_groups(model: Guided) -> None:
    p = of_cells(model)
    assert float(p.sum()) == pytest.approx(1, abs=0.01)
    rows = torch.tensor([[0, NAN, 2], [1, NAN, 2], [NAN, 1, NAN], [NAN, NAN, -1], [0, NAN, 7], [NAN, -1, 2]])
    exact = [
        p[0, :, 22].sum(),
        p[1, :, 22].sum(),
        p[:, 21].sum(),
        p[:, :, 19].sum(),
        p[0, :, 27].sum(),
        p[:, 19, 22].sum(),
    ]
    found = model.marginal(rows.double(), draws=512, most=8192)
    off = (found.value - torch.stack(exact).log()).abs()
    assert bool((off < 4 * found.error + 0.02).all()), (off, found.error)
    assert float(found.error.max()) < 0.08


def test_of_regions_too(model: Guided) -> None:
    p = of_cells(model)
    ends = torch.tensor([[[-math.inf, 0.5]], [[0.5, math.inf]]], dtype=torch.float64)  # up to 0, and above
    rows = torch.tensor([[NAN, NAN, 2.0], [NAN, NAN, 2.0]], dtype=torch.float64)
    found = model.marginal(rows, draws=512, most=8192, region=Region({1: ends}, {}))
    exact = torch.stack([p[:, :21, 22].sum(), p[:, 21:, 22].sum()])
    assert torch.allclose(found.value.exp(), exact, rtol=0.1), (found.value.exp(), exact)


def test_categories_that_a_known_group_tells_and_regions_of_these(model: Guided) -> None:
    p = of_cells(model)
    one = {0: torch.tensor([[True, False], [False, True]])}  # in the first row the first label, in the second the other
    rows = torch.tensor([[NAN, 1.0, NAN], [NAN, 1.0, NAN], [NAN, 1.0, 2.0], [NAN, 1.0, 2.0]], dtype=torch.float64)
    found = torch.cat(
        [model.marginal(part, draws=512, most=8192, region=Region({}, one)).value for part in rows.split(2)]
    )
    exact = torch.cat([p[:, 21].sum(1), p[:, 21, 22]]).log()
    assert torch.allclose(found, exact, atol=0.1), (found, exact)
    label = model.fill(rows[2:], draws=400)[0][..., 0]
    assert float((label == 1).double().mean()) == pytest.approx(float(p[1, 21, 22] / p[:, 21, 22].sum()), abs=0.05)


def test_holes_are_filled_from_groups_as_often_as_they_should_be(model: Guided) -> None:
    p = of_cells(model)[1, :, 22]
    rows = torch.tensor([[1.0, NAN, 2.0]], dtype=torch.float64).expand(200, -1)
    filled, _ = model.fill(rows, draws=10)
    share = (filled[..., 1].round() == 1).double().mean()
    assert float(share) == pytest.approx(float(p[21] / p.sum()), abs=0.04)
