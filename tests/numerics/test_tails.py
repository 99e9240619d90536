"""Logarithmic tails: the identity inside, one slope at the bound, exact inverse, gradients of all orders; and how heavy
tails are: known distributions, and the reference implementation where it is installed."""

import math

import pytest
import torch

from pushforward.numerics import affine, tails
from pushforward.numerics.tails import generalized_pareto, khat
from pushforward.transforms import LogTails

BOUND = 2.0
FAR = torch.tensor([-1e30, -1e6, -7.0, -2.0, -1.0, 0.0, 1.9, 2.0, 2.1, 50.0, 1e6, 1e30])


def test_identity_inside_and_logarithmic_beyond():
    z, log_slope = affine.log_tails(FAR.double(), BOUND)
    inside = FAR.abs() <= BOUND
    torch.testing.assert_close(z[inside], FAR[inside].double(), rtol=0, atol=0)
    assert (log_slope[inside] == 0).all()
    expected = FAR.double().sign() * BOUND * (1 + (FAR.double().abs() / BOUND).log())
    torch.testing.assert_close(z[~inside], expected[~inside])
    torch.testing.assert_close(log_slope[~inside], -(FAR.double().abs() / BOUND).log()[~inside])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_there_and_back(dtype):
    x = FAR.to(dtype)
    z, log_slope = affine.log_tails(x, BOUND)
    back, minus = affine.inverse_log_tails(z, BOUND)
    torch.testing.assert_close(back, x, rtol=2e-5 if dtype == torch.float32 else 1e-13, atol=0)
    torch.testing.assert_close(minus, -log_slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("function", [affine.log_tails, affine.inverse_log_tails])
def test_gradients_of_first_and_second_order(function):
    x = torch.tensor([-9.0, -2.5, -1.0, 0.3, 1.8, 3.0, 6.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: function(x, BOUND), x)
    assert torch.autograd.gradgradcheck(lambda x: function(x, BOUND), x)


def test_gradients_are_finite_everywhere():
    x = FAR.clone().requires_grad_()
    z, log_slope = affine.log_tails(x, BOUND)
    (z.sum() + log_slope.sum()).backward()
    assert x.grad.isfinite().all()
    assert (x.grad[FAR.abs() <= BOUND] == 1).all()


def test_nan_stays_in_its_place():
    x = torch.tensor([0.5, float("nan"), 9.0])
    z, log_slope = affine.log_tails(x, BOUND)
    assert z.isnan().tolist() == log_slope.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tails_that_end_are_linear_from_there_and_inverted_five_times_over(dtype):
    x = FAR.to(dtype)
    z, log_slope = affine.log_tails(x, BOUND, far=100.0)
    beyond = x.abs() > 100 * BOUND
    torch.testing.assert_close(z[~beyond], affine.log_tails(x, BOUND)[0][~beyond])
    torch.testing.assert_close(log_slope[beyond].exp(), torch.full_like(x[beyond], 0.01))
    torch.testing.assert_close(affine.inverse_log_tails(z, BOUND, far=100.0)[0], x, rtol=1e-4, atol=0)
    start = x = torch.tensor([-50.0, 3.0, 50.0], dtype=dtype)
    for _ in range(5):
        x, _ = affine.inverse_log_tails(x, BOUND, far=100.0)
    for _ in range(5):
        x, _ = affine.log_tails(x, BOUND, far=100.0)
    torch.testing.assert_close(x, start, rtol=1e-4, atol=0)


def test_bad_bound():
    with pytest.raises(ValueError, match="bound must be positive, got bound=0"):
        LogTails(0)
    with pytest.raises(ValueError, match="far must be above 1, got far=1"):
        LogTails(2.0, far=1.0)


@pytest.mark.parametrize(
    ("shape", "rows", "low", "high"),
    [(0.0, 20, -12, -5), (0.0, 2000, -26, -19), (0.0, 50_000, -30, -27), (0.4, 2000, -7, -6)],
)
def test_tail_probabilities_are_as_rare_as_rows_have_shown(shape: float, rows: int, low: float, high: float):
    u = torch.rand(rows, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    log_t = -u.pow(-shape).sub(1).div(shape) if shape else u.log()  # that of a Pareto variable is -E, not log u
    log_t[0, 0] = -torch.inf  # a cell that cannot be
    learnt = tails.shapes_learnt(log_t, torch.ones(rows))
    found = tails.log_predictive(torch.tensor([0.0, -1.0, -30.0, -torch.inf]).double(), learnt)
    assert found[0] == pytest.approx(0, abs=1e-12)
    assert found[1] == pytest.approx(-1 if shape == 0 else -0.84, abs=0.2)
    assert low < found[2] < high
    assert found[3] == -torch.inf


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
