"""Averages of densities, medians of three draws, densities given features: their weights, draws and files agree."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

import pushforward as pf
from pushforward.distributions.average import Average, GivenFeatures, Recalibrated
from pushforward.testing import randomize


def flows(features: int = 2, context: int = 0) -> list[pf.Flow]:
    return [randomize(pf.maf(features, context=context, layers=2, hidden=(8, 8)), seed=k) for k in range(3)]


def test_is_the_logarithm_of_the_weighted_mean() -> None:
    x, members = torch.randn(7, 2), flows()
    want = (members[0].log_prob(x).exp() + 3 * members[2].log_prob(x).exp()) / 4
    assert torch.allclose(Average(members, [1, 0, 3]).log_prob(x), want.log(), atol=1e-5)


def test_never_below_the_mean_log_density() -> None:
    x, members = torch.randn(50, 2), flows()
    mean = torch.stack([member.log_prob(x) for member in members]).mean(0)
    assert bool((Average(members).log_prob(x) >= mean - 1e-5).all())


def test_draws_come_from_each_member_by_its_weight() -> None:
    apart = [pf.Flow(pf.transforms.Standardize([shift], [1.0]), 1) for shift in (-20.0, 0.0, 20.0)]
    draws = Average(apart, [1, 2, 5]).sample((4000,), generator=torch.Generator().manual_seed(0))[:, 0]
    shares = [float(((draws - shift).abs() < 10).float().mean()) for shift in (-20, 0, 20)]
    assert shares == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.03)


def test_draws_of_each_context_follow_it() -> None:
    mixture = pf.gmm(1, context=1, components=1)
    with torch.no_grad():
        mixture.loc.zero_()
        mixture.factors.copy_(torch.tensor([[[0.0, 0.0], [-8.0, math.log(4.0)]]]))  # x near 2 c
    context = torch.arange(-5.0, 6.0)[:, None]
    draws = Average([mixture, mixture]).sample((200,), context, generator=torch.Generator().manual_seed(0))
    assert draws.shape == (200, 11, 1)
    assert torch.allclose(draws.mean(0), 2 * context, atol=0.1)


def test_saves_and_loads(tmp_path: Path) -> None:
    average, x = Average(flows(), [1, 2, 3]), torch.randn(9, 2)
    pf.save(average, tmp_path / "average")
    assert torch.equal(pf.load(tmp_path / "average").log_prob(x), average.log_prob(x))


def test_bad_members_are_named() -> None:
    with pytest.raises(ValueError, match="members is empty"):
        Average([])
    with pytest.raises(ValueError, match=r"members\[1\] has events of \(3,\) and context=0"):
        Average([*flows()[:1], *flows(3)])
    with pytest.raises(ValueError, match="weights must be 3 numbers of at least 0"):
        Average(flows(), [1, -1, 0])


def test_an_average_of_averages_may_draw_nothing_from_one_of_them() -> None:
    inner = Average([pf.nsf(1, context=2, layers=1, hidden=(8,)) for _ in range(2)])
    assert inner.sample((), torch.zeros(0, 2)).shape == (0, 1)
    assert Average([inner, inner], [1.0, 0.0]).sample((), torch.zeros(3, 2)).shape == (3, 1)


def two_apart(share: float = 0.7) -> Recalibrated:
    """Of two normals that disagree."""
    members = [pf.Flow(pf.transforms.Standardize([at], [scale]), 1) for at, scale in ((-1.0, 1.0), (2.0, 0.5))]
    return Recalibrated(Average(members, [1, 3]).double(), share)


def test_is_a_density_with_its_distribution_function_quantiles_and_slopes() -> None:
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None].requires_grad_()
    log_p = two_apart().log_prob(x)
    below = torch.cumulative_trapezoid(log_p.exp(), x[:, 0])
    torch.testing.assert_close(below, two_apart().cdf(x)[1:], atol=1e-5, rtol=0)
    (slope,) = torch.autograd.grad(log_p.sum(), x)
    torch.testing.assert_close(slope[1:-1, 0], (log_p[2:] - log_p[:-2]) / 0.008, atol=1e-3, rtol=0)
    q = torch.tensor([1e-4, 0.05, 0.5, 0.9, 1 - 1e-4], dtype=torch.float64)
    torch.testing.assert_close(two_apart().cdf(two_apart().icdf(q)), q, atol=3e-6, rtol=0)


def test_draws_and_nodes_are_the_densitys() -> None:
    x = torch.linspace(-4, 4, 81, dtype=torch.float64)[:, None]
    draws = two_apart().sample((50_000,), generator=torch.Generator().manual_seed(0))
    share = torch.searchsorted(draws[:, 0].sort().values, x[:, 0]) / len(draws)
    torch.testing.assert_close(share, two_apart().cdf(x).float(), atol=0.01, rtol=0)
    nodes, weight = two_apart().quadrature()
    expected = torch.tensor([1.0, draws.mean(), draws.square().mean()], dtype=torch.float64)
    found = torch.stack([(nodes[:, 0] ** power * weight).sum() for power in (0, 1, 2)])
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0)


@pytest.mark.slow
def test_contexts_have_draws_of_their_own_and_a_file_and_a_graph_hold_it(tmp_path: Path) -> None:
    members = [pf.gmm(1, context=2, components=2), pf.nsf(1, context=2, layers=1, hidden=(8,))]
    density, x, context = Recalibrated(Average(members), 0.5), torch.randn(5, 1), torch.randn(5, 2)
    assert density.sample((7,), context).shape == (7, 5, 1)
    assert density.sample((), context[:0]).shape == (0, 1)
    pf.save(density, tmp_path / "density")
    assert torch.equal(pf.load(tmp_path / "density").log_prob(x, context), density.log_prob(x, context))
    graph = torch.export.load(pf.export(density, tmp_path / "graph.pt2", compile=False)).module()
    torch.testing.assert_close(graph(x, context), density.log_prob(x, context))


def test_it_is_the_density_given_the_features() -> None:
    inner, features = pf.testing.randomize(pf.nsf(1, context=2, layers=1, hidden=(16,))), nn.Linear(4, 2)
    density, context = GivenFeatures(inner, features, context=4), torch.randn(7, 4)
    told, q = features(context).detach(), torch.rand(7)
    x = density.icdf(q, context)
    torch.testing.assert_close(x, inner.icdf(q, told))
    torch.testing.assert_close(density.cdf(x, context), q, atol=1e-5, rtol=0)
    torch.testing.assert_close(density(x, context), inner(x, told))
    (points, weights), (expected, same) = density.quadrature(context), inner.quadrature(told)
    torch.testing.assert_close(points, expected)
    torch.testing.assert_close(weights, same)
    draws = [
        each.sample((3,), c, generator=torch.Generator().manual_seed(0))
        for each, c in ((density, context), (inner, told))
    ]
    assert draws[0].shape == (3, 7, 1)
    assert torch.equal(*draws)


def test_an_average_computes_features_that_its_members_share_once() -> None:
    features, asked = nn.Linear(4, 2), list[str]()
    features.register_forward_hook(lambda *_: asked.append("features"))
    inner = [pf.testing.randomize(pf.nsf(1, context=2, layers=1, hidden=(16,)), seed=k) for k in range(2)]
    members = [GivenFeatures(each, features, context=4) for each in inner]
    average = Average([*members, pf.nsf(1, context=4, layers=1, hidden=(16,))])
    context, q = torch.randn(7, 4), torch.rand(7)
    x = average.icdf(q, context)
    assert asked == ["features"]
    torch.testing.assert_close(average.cdf(x, context), q, atol=1e-5, rtol=0)
    asked.clear()
    log_p = Recalibrated(average, 0.5).log_prob(x, context)
    assert asked == ["features"]
    expected = average.log_prob(x, context) + torch.log1p(0.5 * (6 * q * (1 - q) - 1))
    torch.testing.assert_close(log_p, expected, atol=1e-4, rtol=0)
