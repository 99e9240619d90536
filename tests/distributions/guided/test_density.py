"""Questions to a joint density by weighted draws of a guide: against quadrature, with honest errors, row by row."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward.distributions.base import Density
from pushforward.distributions.guided import Guided
from pushforward.distributions.guided import density as guided
from pushforward.distributions.guided.holes import RowsWithHoles
from pushforward.distributions.mixed import Mixed
from pushforward.numerics.hashed import row_keys
from pushforward.numerics.sequential import effective, next_power, resampled
from pushforward.recipes.by_name import categories_by_size
from pushforward.testing import randomize

CLASSES = (3, 0, 2, 0)
NAN = math.nan
NARROW = torch.distributions.Normal(1.0, 0.1)


def model(context: int = 0) -> Guided:
    """A category, a number, a category, a number."""
    torch.manual_seed(0)
    categories = categories_by_size([3, 2], context=context)
    joint = Mixed(categories, pf.maf(2, context=context + 5, layers=2, hidden=(8,)), CLASSES)
    guide = pf.anyorder(4, context=context, classes=CLASSES, hidden=(8, 8), layers=1, bins=4)
    return Guided(randomize(joint, 0.3), randomize(guide, 0.1)).double()


def rows(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    x[:, 0], x[:, 2] = (torch.rand(n, 2, generator=generator) * torch.tensor([3, 2])).floor().double().t()
    return x


def with_holes(n: int = 24) -> Tensor:
    """Rows with every pattern of holes, the full and the empty one too."""
    patterns = torch.tensor(list(itertools.product([False, True], repeat=4)))
    return rows(n).masked_fill(patterns[torch.arange(n) % 16], NAN)


def truth(joint: Mixed, row: Tensor, of: int | None = None) -> Tensor:
    """log p(seen) by sums and quadrature; with ``of`` the mean of tanh of that hole given what is seen."""
    holes = row.isnan().nonzero()[:, 0].tolist()
    u = torch.linspace(-7, 7, 141 if {1, 3} <= set(holes) else 561, dtype=torch.float64)
    values = [torch.arange(CLASSES[j]).double() if CLASSES[j] else u.sinh() for j in holes]
    weights = [torch.ones(CLASSES[j]).double() if CLASSES[j] else u.cosh() * (u[1] - u[0]) for j in holes]
    if not holes:
        return joint(row).detach()
    x = row.expand(math.prod(map(len, values)), 4).clone()
    x[:, holes] = torch.cartesian_prod(*values).view(-1, len(holes))
    log_p = joint(x).detach() + torch.cartesian_prod(*weights).view(-1, len(holes)).log().sum(-1)
    return log_p.logsumexp(0) if of is None else (log_p.softmax(0) * x[:, of].tanh()).sum()


@pytest.mark.slow
def test_marginals_are_those_of_the_joint_within_their_errors() -> None:
    density, x = model(), with_holes(48)
    answer = density.marginal(x)
    exact = torch.stack([truth(density.joint, row) for row in x])
    complete = ~x.isnan().any(1)
    assert torch.equal(answer.value[complete], density(x[complete]).detach())
    assert answer.error[complete].eq(0).all()
    assert answer.effective[complete].eq(math.inf).all()
    off = (answer.value - exact).abs()[~complete]
    error = answer.error[~complete]
    assert (off <= 2 * error + 1e-4).double().mean() >= 0.9
    assert (off <= 5 * error + 1e-3).double().mean() >= 0.95  # a random spline may hide a spike
    assert off.mean() < 0.06


def narrow() -> Guided:
    """The guide is a standard normal, and the joint a normal of deviation 0.1 around 1 in each of six entries."""

    class Narrow(pf.Flow):
        def log_prob(self, x, context=None, t=None):
            return NARROW.log_prob(x).sum(-1)

    return Guided(Narrow(pf.transforms.Identity(), 6), pf.anyorder(6))


class Equicorrelated(Density):
    """Ten numbers around 1, of deviation 0.3 and correlations 0.8."""

    event_shape = torch.Size((10,))

    def __init__(self) -> None:
        super().__init__()
        covariance = 0.09 * (0.2 * torch.eye(10) + 0.8)
        self.normal = torch.distributions.MultivariateNormal(torch.ones(10), covariance)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.normal.log_prob(x.float())

    def sample(self, shape: Any = (), context: Tensor | None = None, **_: Any) -> Tensor:
        torch.manual_seed(0)
        return self.normal.sample(shape)


def test_draws_of_the_joint_stand_beside_those_of_a_guide_that_has_learnt_nothing() -> None:
    """Given the first number, each other one has mean 1 + 0.8 (first - 1)."""
    density, x = Guided(Equicorrelated(), pf.anyorder(10)), torch.full((2, 10), NAN, dtype=torch.float64)
    x[:, 0] = torch.tensor([0.9, 1.3])
    _, plain = density.weighted(x, draws=4096)
    filled, log_w = density.balanced(x, draws=4096)
    assert (effective(plain) < 10).all()
    assert (effective(log_w) > 100).all()
    assert torch.equal(filled[..., 0].double(), x[:, 0].expand(4096, 2))
    drawn, count = density.fill(x, draws=400, candidates=4096)
    assert (count > 100).all()
    assert ((drawn[..., 1:].mean((0, 2)) - (0.2 + 0.8 * x[:, 0])).abs() < 0.05).all()
    weight = log_w.softmax(0)
    for j in (1, 9):
        mean = (weight * filled[..., j]).sum(0)
        error = (weight * (filled[..., j] - mean)).square().sum(0).sqrt()
        assert ((mean - (0.2 + 0.8 * x[:, 0])).abs() < 4 * error).all()


def test_draws_of_the_joint_go_on_only_where_some_that_are_tried_have_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, inner = [], Guided._balanced
    monkeypatch.setattr(Guided, "_balanced", lambda *given: asked.append((len(given[1]), given[2])) or inner(*given))
    density, x = Guided(Equicorrelated(), pf.anyorder(10)), torch.full((3, 10), NAN, dtype=torch.float64)
    x[:, 0] = torch.tensor([1.0, 3.0, 3.0])  # two are 20 standard deviations off
    density.fill(x, draws=4, most=512)
    assert asked == [(3, 16), (1, 256)]


def test_weights_that_few_draws_share_are_tempered() -> None:
    generator = torch.Generator().manual_seed(0)
    log_w = torch.randn(40, 100, generator=generator, dtype=torch.float64)
    uneven, even = 5 * log_w, 0.1 * log_w
    uneven[:5] = -math.inf
    found = next_power(uneven, 10.0) * uneven
    assert effective(uneven).max() < 10
    assert effective(found).sub(10).abs().max() < 0.05
    assert found[:5].isneginf().all()
    assert torch.equal(next_power(even, 10.0), torch.ones(100))
    assert (next_power(uneven[:10], 10.0) * uneven[:10])[5:].isfinite().all()  # five draws are never ten


@pytest.mark.parametrize("draws", [10, 100])
def test_draws_of_a_poor_guide_are_not_all_the_same(draws: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.full((40, 6), NAN)
    x[:, 0] = 1.0
    density = narrow()
    monkeypatch.setattr(guided, "partly_known", lambda x: x.isnan() | True)  # so no draw of the joint is asked for
    filled, count = density.fill(x, draws=draws)
    assert count.median() < 3
    distinct = torch.tensor([len(row.unique(dim=0)) for row in filled.transpose(0, 1)])
    assert distinct.float().mean() > min(0.9 * draws, guided.SHARED)


@pytest.mark.parametrize("draws", [1, 200, 1000])
def test_draws_are_those_of_the_joint_however_many(draws: int) -> None:
    x = torch.ones(max(1000 // draws, 20), 6)
    x[:, 0] = NAN
    filled, _ = narrow().fill(x, draws=draws)
    assert float(filled[..., 0].std()) == pytest.approx(float(NARROW.stddev), rel=0.1)
    assert float(filled[..., 0].mean()) == pytest.approx(float(NARROW.mean), abs=0.01)


def test_a_row_is_its_own_affair() -> None:
    density, x, context = model(2), with_holes(32), torch.randn(32, 2).double()
    together = density.marginal(x, context)
    alone = density.marginal(x[5:6], context[5:6])
    assert torch.allclose(together.value[5:6], alone.value, atol=1e-9)
    assert torch.allclose(together.error[5:6], alone.error, atol=1e-6)
    drawn = int((together.error > 0).nonzero()[0])  # others are exact
    other = density.marginal(x[drawn : drawn + 1], context[drawn : drawn + 1], seed=1)
    assert not torch.equal(other.value, together.value[drawn : drawn + 1])
    assert density.marginal(x[:0], context[:0]).value.shape == (0,)


def test_draws_of_the_holes_follow_the_joint() -> None:
    density = model()
    row = torch.tensor([1.0, NAN, NAN, 0.3], dtype=torch.float64)
    filled, count = density.fill(row[None], draws=4000)
    assert filled.shape == (4000, 1, 4)
    assert torch.equal(filled[:, 0, [0, 3]], row[[0, 3]].expand(4000, 2))
    assert float(filled[:, 0, 1].tanh().mean()) == pytest.approx(float(truth(density.joint, row, of=1)), abs=0.03)
    assert count > 1000
    several, _ = density.fill(row.expand(300, 4), draws=2)
    assert several[:, :, 1].unique().numel() > 500  # rows that are alike get draws of their own
    assert float(several[:, :, 1].tanh().mean()) == pytest.approx(float(truth(density.joint, row, of=1)), abs=0.1)


def test_a_guide_that_is_far_off_is_asked_for_more_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few of its draws count: taken from 32 alone, they would be its own more than the joint's."""
    density = model()
    monkeypatch.setattr(guided, "partly_known", lambda x: x.isnan() | True)  # so no draw of the joint is asked for
    randomize(density.guide, 0.5)
    row = torch.full((50, 4), NAN, dtype=torch.float64)
    _, little = density.fill(row, draws=4, most=32)
    more, enough = density.fill(row, draws=4)
    assert little.mean() < guided.FEW / 2
    assert enough.mean() > 2 * little.mean()
    assert more[:, :, 1].unique().numel() > 180  # of 200


def test_what_is_left_of_a_limited_number_of_draws_goes_to_the_least_certain() -> None:
    x = torch.full((3, 6), NAN)
    x[:, 2:], x[[0, 2], 1] = 1.0, 1.0  # one, two and one hole
    asked: dict[str, Any] = {"draws": 64, "most": 256, "precise": 0.0}
    few, left, many = (narrow().marginal(x, points=3 * 64 + more, **asked) for more in (0, 192, 600))
    assert torch.equal(left.value, torch.where(torch.tensor([False, True, False]), many.value, few.value))
    last = torch.tensor([0.0, 0.0, 1.0])
    other = narrow().marginal(x, points=3 * 64 + 192, counts=lambda value, error: error * last.to(error), **asked)
    assert torch.equal(other.value, torch.where(last.bool(), many.value, few.value))


def test_cells_are_averaged_with_the_holes() -> None:
    """The first number stands for the interval of width 1 around it."""
    density, x = model(), rows(4)
    x[:, 3] = NAN
    low, width = torch.tensor([0, -0.5, 0, 0]).double(), torch.tensor([0, 1.0, 0, 0]).double()
    density._spread = lambda rows, u: rows + low + width * u
    answer = density.marginal(x, draws=512)
    steps = (torch.arange(50).double() + 0.5) / 50 - 0.5
    for row, value, error in zip(x, answer.value, answer.error, strict=True):
        inside = torch.stack([truth(density.joint, row + torch.tensor([0, s, 0, 0])) for s in steps])
        assert abs(float(value - inside.logsumexp(0) + math.log(50))) < 4 * float(error) + 0.01


def test_it_is_a_density_and_saved(tmp_path: Path) -> None:
    density, x = model(2), rows(5)
    context = torch.randn(5, 2).double()
    assert torch.equal(density(x, context), density.joint(x, context))
    assert density.sample((3,), context).shape == (3, 5, 4)
    pf.save(density, tmp_path / "model")
    again = pf.load(tmp_path / "model")
    x[:, 1] = NAN
    assert torch.equal(again.marginal(x, context).value, density.marginal(x, context).value)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"joint has events of shape \(3,\) and context=0, but guide has \(2,\)"):
        Guided(pf.maf(3), pf.anyorder(2))
    with pytest.raises(ValueError, match=r"x must be rows of shape \(n, 2\), got \(2,\)"):
        Guided(pf.maf(2), pf.anyorder(2)).marginal(torch.zeros(2))


def test_draws_mirror_each_other_and_are_taken_so() -> None:
    x = torch.full((3, 2), torch.nan)
    rows = RowsWithHoles(x, None, row_keys(x, 0), 0, torch.tensor([True, True]))
    _, z, scale = rows.mirrored(12)
    assert torch.equal(z, -z.flip(0))
    assert torch.equal(scale, scale.flip(0))
    start = torch.tensor([0.1, 0.3, 0.99], dtype=torch.float64)
    taken = resampled(torch.zeros(12, 3, dtype=torch.float64), start, 4)
    assert torch.equal(taken.sort(0).values + taken.sort(0).values.flip(0), torch.full((4, 3), 11))
    log_w = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log()[:, None].expand(-1, 1000)
    start = torch.rand(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for draws in (1, 3, 4):  # in proportion to the weights, whatever their number
        shares = torch.bincount(resampled(log_w, start, draws).flatten(), minlength=4) / (1000 * draws)
        assert shares.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.04)


def test_draws_are_as_wide_as_the_joint() -> None:
    torch.manual_seed(0)
    joint, guide = pf.gmm(2, components=1), pf.anyorder(2, hidden=(8,), layers=1)
    x = torch.tensor([[0.0, NAN]])
    spreads = [float(Guided(joint, guide).fill(x, draws=400, seed=seed)[0][..., 1].std()) for seed in range(16)]
    assert max(spreads) - min(spreads) < 0.2  # 0.32, if every fourth candidate is taken


def test_few_draws_of_one_value_are_spread_as_many_are() -> None:
    torch.manual_seed(0)
    joint, guide = pf.gmm(2, components=1), pf.anyorder(2, hidden=(8,), layers=1)
    drawn, _ = Guided(joint, guide).fill(torch.tensor([[0.0, NAN]]).expand(200, 2), draws=20)
    assert float(drawn[..., 1].mean(0).std()) < 0.6 / 20**0.5  # of independent draws 1 / 20**0.5
    assert abs(float(drawn[0, :, 1].mean() - drawn[..., 1].mean())) < 4 / 200**0.5  # whatever their place


def test_first_categories_have_exact_marginals() -> None:
    density = model(context=1)
    x = torch.full((6, 4), NAN, dtype=torch.float64)
    x[:, 0] = torch.tensor([0.0, 1.0, 2.0, 0.0, NAN, 5.0])
    x[3:5, 2] = 1.0
    context = torch.randn(6, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    answer = density.marginal(x, context)
    assert answer.error[[0, 1, 2, 3, 5]].eq(0).all()
    assert answer.effective.isinf().tolist() == [True] * 4 + [False, True]  # the second alone is no start
    codes = torch.tensor([[a, b] for a in range(3) for b in range(2)], dtype=torch.float64)
    pairs = density.joint.categories(codes, context[:3, None].expand(3, 6, 1)).detach().view(3, 3, 2)
    assert torch.allclose(answer.value[:3], pairs.logsumexp(2).diagonal())
    whole = density.joint.categories(torch.tensor([[0.0, 1.0]], dtype=torch.float64), context[3:4]).detach()
    assert torch.allclose(answer.value[3:4], whole)
    assert answer.value[5] == -math.inf
    density._spread = lambda x, u: x
    spread = density.marginal(x[:2], context[:2])
    assert torch.equal(spread.value, answer.value[:2])
