"""Medians of three draws in some cases: one density, whose draws, quantiles, nodes and graph agree."""

from __future__ import annotations

from pathlib import Path

import torch

import pushforward as pf
from pushforward.distributions.average import Average
from pushforward.distributions.recalibrated import Recalibrated


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


def test_contexts_have_draws_of_their_own_and_a_file_and_a_graph_hold_it(tmp_path: Path) -> None:
    members = [pf.gmm(1, context=2, components=2), pf.nsf(1, context=2, layers=1, hidden=(8,))]
    density, x, context = Recalibrated(Average(members), 0.5), torch.randn(5, 1), torch.randn(5, 2)
    assert density.sample((7,), context).shape == (7, 5, 1)
    assert density.sample((), context[:0]).shape == (0, 1)
    pf.save(density, tmp_path / "density")
    assert torch.equal(pf.load(tmp_path / "density").log_prob(x, context), density.log_prob(x, context))
    graph = torch.export.load(pf.export(density, tmp_path / "graph.pt2", compile=False)).module()
    torch.testing.assert_close(graph(x, context), density.log_prob(x, context))
