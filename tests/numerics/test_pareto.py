"""The tail's shape: known distributions, and the reference implementation where it is installed."""

import math

import pytest
import torch

from pushforward.numerics.pareto import generalized_pareto, khat


@pytest.mark.parametrize("k", [-0.2, 0.3, 0.9])
def test_recovers_the_shape_of_a_generalised_pareto(k):
    u = torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shape, scale = generalized_pareto(2.0 * ((1 - u) ** -k - 1) / k)
    assert abs(shape - k) < 0.03
    assert abs(scale - 2.0) < 0.06


@pytest.mark.parametrize("spread", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("n", [100, 5000])
def test_khat_equals_the_reference_implementation(spread, n):
    array_stats = pytest.importorskip("arviz_stats.base").array_stats
    log_weights = spread * torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    expected = array_stats.psislw(-log_weights.numpy())[1]
    assert khat(log_weights) == pytest.approx(float(expected), abs=1e-9)


def test_khat_of_degenerate_weights():
    assert khat(torch.zeros(1000)) == 0.0
    assert khat(torch.randn(10)) == math.inf
    assert khat(torch.cat([torch.randn(1000), torch.tensor([math.inf])])) == math.inf
    assert math.isfinite(khat(torch.cat([torch.randn(1000), torch.full((50,), -math.inf)])))
