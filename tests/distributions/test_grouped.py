"""A density of rows of known groups: it sums to one, finds each row's group, and heeds what a context tells."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import pushforward as pf
from pushforward.distributions.grouped import Grouped
from pushforward.saving import checkpoint

ROWS = 300


def known_groups() -> tuple[Tensor, Tensor, Tensor]:
    """The ends of cells of groups ``(2, groups, 2)``, the outermost infinite; each row's group; its indicators."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(6, (30, 2), generator=generator).unique(dim=0)
    low = 0.5 * values - 1.5
    ends = torch.stack([low.masked_fill(values == 0, -torch.inf), (low + 0.5).masked_fill(values == 5, torch.inf)])
    group = torch.randint(len(values), (ROWS,), generator=generator)
    group[: len(values)] = torch.arange(len(values))
    return ends, group, F.one_hot(group % 3, 3).float()


@pytest.fixture(params=[2, 3])
def grouped(request: pytest.FixtureRequest) -> Grouped:
    """Rows of two features that are equal within groups, and perhaps another."""
    ends, group, context = known_groups()
    torch.manual_seed(0)
    inner = pf.maf(1, context=5, layers=1, hidden=(8,)) if request.param == 3 else None
    made = Grouped(request.param, [0, 1], ends.shape[1], inner, context=3)
    made.learn(ends, torch.zeros(ends.shape[1:]), group, torch.ones(ROWS), context)
    return made.eval()


def test_sums_to_one_whatever_the_context(grouped: Grouped) -> None:
    z = torch.logit(torch.rand(200_000, grouped.features, dtype=torch.float64)).float()
    log_q = (F.logsigmoid(z) + F.logsigmoid(-z)).sum(1)
    for label in range(3):
        context = torch.eye(3)[label].expand(len(z), -1)
        with torch.no_grad():
            assert float((grouped.log_prob(z, context) - log_q).exp().mean()) == pytest.approx(1, abs=0.03)


def test_a_row_is_of_the_group_in_whose_cells_it_lies(grouped: Grouped) -> None:
    z, (low, high) = 6 * torch.rand(5000, 2) - 3, grouped.cells
    lies = ((z[:, None] >= low) & (z[:, None] <= high)).all(2)
    group, known = grouped.group_of(z)
    assert torch.equal(known, lies.any(1))
    assert 0.3 < float(known.float().mean()) < 0.95
    assert bool(lies[known, group[known]].all())
    x = F.pad(z, (0, grouped.features - 2))
    log_p = grouped.log_prob(x, torch.eye(3)[:1].expand(len(x), -1))
    assert torch.equal(log_p > -torch.inf, known)


def test_draws_are_of_groups_that_fit_the_context_as_often_as_they_should_be(grouped: Grouped) -> None:
    context = torch.eye(3)[1:2]
    x = grouped.sample(20_000, context, generator=torch.Generator().manual_seed(0))[:, 0]
    group, known = grouped.group_of(x[:, :2])
    shares = torch.bincount(group, minlength=grouped.groups) / len(x)
    weights = grouped.log_weights(context, 1)[0].exp()
    assert known.all()
    assert float((shares - weights).abs().max()) < 0.015
    _, own, labels = known_groups()
    one = torch.zeros(grouped.groups, dtype=torch.long).scatter_(0, own, labels.argmax(1))
    assert float(weights[one == 1].sum()) > 0.95  # all rows of a group have one label


def test_groups_that_were_met_once_are_the_less_likely_the_more_there_are_of_them() -> None:
    ends = torch.stack([torch.arange(3.0), torch.arange(3.0) + 0.5])[..., None].expand(-1, -1, 1)
    made = Grouped(1, [0], 3, None)
    made.learn(ends, torch.zeros(3, 1), torch.tensor([0, 1, 1, 2, 2, 2]), torch.ones(6))
    left = torch.tensor([1, 2, 3]) - 1 / 3  # one group of one row, one of two
    assert torch.allclose(made.log_weights(None, 1)[0].exp(), left / left.sum())


def test_what_differs_within_groups_is_not_told_by_a_few_rows_of_one() -> None:
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(100).repeat_interleave(3)
    ends = torch.stack([torch.arange(100.0), torch.arange(100.0) + 0.5])[..., None]
    own, free = torch.randint(2, (100,), generator=generator)[group], torch.randint(2, (300,), generator=generator)
    context = torch.cat([F.one_hot(own, 2), F.one_hot(free, 2)], 1).float()
    made = Grouped(1, [0], 100, None, context=4)
    made.learn(ends, torch.zeros(100, 1), group, torch.ones(300), context)
    share = made.log_share.exp()
    assert float(share[:, :2].amax(1).min()) > 0.95
    assert 0.4 < float(share[:, 2:].min()) < float(share[:, 2:].max()) < 0.6  # in a quarter of the groups, all have one


def test_of_one_number_draws_have_its_distribution_function() -> None:
    low = torch.tensor([-torch.inf, -1.0, 0.0, 2.0])
    ends = torch.stack([low, torch.tensor([-2.0, -0.5, 0.5, torch.inf])])[..., None]
    group = torch.randint(4, (200,), generator=torch.Generator().manual_seed(0))
    made = Grouped(1, [0], 4, None, context=2)
    made.learn(ends, torch.zeros(4, 1), group, torch.ones(200), F.one_hot(group % 2, 2).float())
    context = torch.eye(2).repeat(20_000, 1)
    x, u = made.sample((), context, generator=torch.Generator().manual_seed(0)), torch.rand(len(context))
    below = made.cdf(x, context)
    for label in range(2):  # as evenly spread as uniform numbers
        assert float((below[label::2].sort().values - torch.linspace(0, 1, 20_000)).abs().max()) < 0.015
    assert torch.allclose(made.cdf(made.icdf(u, context), context), u, atol=1e-5)
    nodes, weight = made.quadrature(torch.eye(2))
    assert torch.allclose(weight.sum(0), torch.ones(2))
    assert torch.allclose((weight * made.cdf(nodes, torch.eye(2).expand(4, -1, -1))).sum(0), torch.full((2,), 0.5))


def test_is_saved_and_loaded(grouped: Grouped, tmp_path: Path) -> None:
    checkpoint.save(grouped, tmp_path / "grouped")
    again = checkpoint.load(tmp_path / "grouped")
    context = torch.eye(3)
    x = grouped.sample((), context, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.log_prob(x, context), grouped.log_prob(x, context))
