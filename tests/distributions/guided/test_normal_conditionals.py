"""Conditionals of a normal distribution: the textbook's, by every way to them, and from rows with holes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pushforward.distributions.guided.normal_conditionals import ROWS, NormalConditionals

FEATURES = 5


def correlated() -> NormalConditionals:
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(FEATURES, FEATURES, generator=generator, dtype=torch.float64)
    normal = NormalConditionals(FEATURES).double()
    normal.mean.copy_(torch.randn(FEATURES, generator=generator))
    normal.covariance.copy_(A @ A.mT + 0.1 * torch.eye(FEATURES))
    normal.raw_share.data[:] = 100.0  # the whole conditional
    return normal


def textbook(normal: NormalConditionals, t: Tensor, known: Tensor, j: int) -> tuple[float, float]:
    """Mean and deviation of number j of one row."""
    cov, towards = normal.covariance[known][:, known], normal.covariance[j, known]
    weights = torch.linalg.solve(cov, towards)
    mean = normal.mean[j] + weights @ (t - normal.mean)[known]
    return float(mean), math.sqrt(float(normal.covariance[j, j] - weights @ towards))


def test_given_any_known_numbers() -> None:
    normal, n = correlated(), ROWS + 7
    t, known = torch.randn(FEATURES, n).double(), torch.rand(FEATURES, n) < 0.5
    mean, deviation = (part.detach() for part in normal(t, known))
    for i in (0, 1, n - 1):
        for j in range(FEATURES):
            if not known[j, i]:
                assert (float(mean[j, i]), float(deviation[j, i])) == pytest.approx(
                    textbook(normal, t[:, i], known[:, i], j)
                )


def test_beginnings_of_shared_orders_are_known_numbers_like_others() -> None:
    normal, n = correlated(), 23
    orders = torch.rand(4, FEATURES).argsort(-1)
    size = torch.arange(n) % FEATURES
    known = (orders.argsort(-1)[torch.arange(n) % 4] < size[:, None]).mT
    t = torch.randn(FEATURES, n).double()
    for shared, each in zip(normal(t, known, orders), normal(t, known), strict=True):
        assert torch.allclose(shared[~known], each[~known])


def test_along_an_order() -> None:
    normal, n, order = correlated(), 9, [3, 0, 4, 2, 1]
    t, known = torch.randn(FEATURES, n).double(), torch.rand(FEATURES, n) < 0.4
    wanted = ~known & (torch.rand(FEATURES, n) < 0.7)
    along, seen = normal.along(known, wanted, order), known.clone()
    for j in order:
        found, truth = along.at(j, t), normal(t, seen)
        for a, b in zip(found, truth, strict=True):
            assert torch.allclose(a[wanted[j]], b[j, wanted[j]])
        seen[j] |= wanted[j]


def test_a_share_of_nothing_leaves_numbers_alone() -> None:
    normal = correlated()
    normal.raw_share.data[:] = -100.0
    t, known = torch.randn(FEATURES, 6).double(), torch.rand(FEATURES, 6) < 0.5
    mean, deviation = normal(t, known)
    assert torch.allclose(mean, normal.mean[:, None].expand_as(mean))
    assert torch.allclose(deviation, normal.covariance.diagonal().sqrt()[:, None].expand_as(mean))


def test_mean_and_covariance_of_rows_with_holes_and_of_columns_without_a_part() -> None:
    truth, n = correlated(), 200_000
    L = torch.linalg.cholesky(truth.covariance)
    t = truth.mean[:, None] + L @ torch.randn(FEATURES, n, generator=torch.Generator().manual_seed(1)).double()
    holes = torch.rand(FEATURES, n, generator=torch.Generator().manual_seed(2)) < 0.2
    normal = NormalConditionals(FEATURES + 2).double()
    nothing, constant = torch.full((1, n), math.nan).double(), torch.full((1, n), 3.0).double()
    normal.initialize(torch.cat([t.masked_fill(holes, math.nan), nothing, constant]))
    scale = truth.covariance.diagonal().sqrt()
    error = (normal.covariance[:-2, :-2] - truth.covariance) / scale / scale[:, None]
    assert float(error.abs().max()) < 0.02
    assert torch.allclose(normal.mean[:-2], truth.mean, atol=0.03)
    assert torch.equal(normal.covariance[-2:, -2:], torch.eye(2).double())
    assert not bool(normal.covariance[-2:, :-2].any())


@pytest.mark.parametrize("n", [0, 1, 3])
def test_few_rows(n: int) -> None:
    normal = NormalConditionals(FEATURES)
    normal.initialize(torch.randn(FEATURES, n))
    mean, deviation = normal(torch.randn(FEATURES, 4), torch.rand(FEATURES, 4) < 0.5)
    assert bool(mean.isfinite().all())
    assert bool((deviation > 0).all())


def test_rows_with_holes_say_more_by_em_than_by_pairs() -> None:
    """Numbers that are sums of few others are known far better than their pairwise correlations tell."""
    generator = torch.Generator().manual_seed(0)
    A, noise = torch.randn(12, 4, generator=generator).double(), 0.1
    t = A @ torch.randn(4, 1500, generator=generator).double()
    t = t + noise * torch.randn(t.shape, generator=generator)
    known = torch.rand(t.shape, generator=generator) > 0.2
    learnt, others = slice(0, 1000), slice(1000, None)
    errors = []
    for rounds in (0, 1, 4):
        normal = NormalConditionals(12).double()
        normal.raw_share.data[:] = 100.0
        normal.initialize(t[:, learnt].masked_fill(~known[:, learnt], math.nan), rounds)
        mean = normal(t[:, others], known[:, others])[0].detach()
        errors.append(float((mean - t[:, others])[~known[:, others]].square().mean().sqrt()))
    assert errors[0] > 1.05 * errors[1]
    assert errors[1] > 1.05 * errors[2]
