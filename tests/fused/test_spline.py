"""The fused spline, and its inverse number by number, against the formula: values, gradients, what is not finite."""

import pytest
import torch

import pushforward as pf
from pushforward.fused.spline import evaluate, solve, solve_number, vjp
from pushforward.numerics import spline
from pushforward.testing import randomize

BOUND, FLOOR = 5.0, 0.15


def draw(bins, features, n, spread, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(features, n, generator=generator, dtype=dtype) * 4
    params = torch.randn(features, 3 * bins - 1, n, generator=generator, dtype=dtype) * spread
    return x.requires_grad_(), params.requires_grad_()


class Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, params, inverse):
        ctx.params = params
        value, log_slope, ctx.kept = evaluate(x, params, BOUND, FLOOR, inverse)
        return value, log_slope

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, to_value, to_slope):
        to_params = torch.empty_like(ctx.params)
        return vjp(ctx.kept, to_value, to_slope, BOUND, FLOOR, to_params), to_params, None


def fused(x, params, inverse=False):
    return Fused.apply(x, params, inverse)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("bins", [2, 3, 8])
def test_equals_the_formula(inverse, bins):
    x, params = draw(bins, 5, 20, 2.0)
    plain = spline.rational_quadratic(x, params.transpose(0, 1), BOUND, inverse, FLOOR)
    results = []
    for value, log_slope in (plain, fused(x, params, inverse)):
        grads = torch.autograd.grad(value.sin().sum() + log_slope.square().sum(), (x, params))
        results.append((value, log_slope, *grads))
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("inverse", [False, True])
def test_gradients_against_finite_differences(inverse):
    x, params = draw(4, 2, 6, 1.0)
    assert torch.autograd.gradcheck(lambda v, p: fused(v, p, inverse), (x, params))


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0])
def test_gradients_are_finite_at_bounds_knots_and_far_outside(inverse, spread):
    points = torch.tensor([-1e6, -BOUND, -3.75, -2.5, 0.0, 2.5, BOUND, 1e6])  # knots of the identity among them
    x = points[None].requires_grad_()
    params = (torch.randn(1, 23, 8, generator=torch.Generator().manual_seed(0)) * spread).requires_grad_()
    value, log_slope = fused(x, params, inverse)
    grads = torch.autograd.grad(value.sum() + log_slope.sum(), (x, params))
    assert all(t.isfinite().all() for t in (value, log_slope, *grads))
    assert value[0, 0] == -1e6
    assert value[0, -1] == 1e6


def test_a_nan_stays_in_its_own_point():
    x, params = draw(8, 3, 4, 1.0, torch.float32)
    with torch.no_grad():
        clean = fused(x, params)[0]
        x[2, 1] = torch.nan
        dirty = fused(x, params)[0]
    assert dirty[2, 1].isnan()
    assert dirty.isnan().sum() == 1
    torch.testing.assert_close(dirty[~dirty.isnan()], clean[~dirty.isnan()], rtol=0, atol=0)


@pytest.mark.parametrize("spread", [0.0, 2.0, 30.0])
def test_solving_alone(spread):
    y, params = (each.detach() for each in draw(8, 3, 200, spread))
    y[0, :4] = torch.tensor([BOUND, -BOUND, 1e300, -torch.inf])
    torch.testing.assert_close(solve(y, params, BOUND, FLOOR), fused(y, params, True)[0])


@pytest.mark.parametrize("bins", [2, 3, 8])
@pytest.mark.parametrize("spread", [0.0, 1.0, 10.0])
def test_one_number_equals_the_formula(bins, spread):
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(50, generator=generator, dtype=torch.float64) * 3
    y[:3] = torch.tensor([-BOUND, BOUND, 7.0])
    params = torch.randn(3 * bins - 1, 50, generator=generator, dtype=torch.float64) * spread
    expected, _ = spline.rational_quadratic(y, params, BOUND, True, FLOOR)
    found = [solve_number(*point, BOUND, FLOOR) for point in zip(y.tolist(), params.t().tolist(), strict=True)]
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), expected, rtol=1e-9, atol=1e-9)


def test_a_nan_stays_in_its_own_number():
    nan = float("nan")
    assert torch.tensor(solve_number(nan, [0.0] * 5, BOUND, FLOOR)).isnan()
    assert torch.tensor(solve_number(0.3, [nan] * 5, BOUND, FLOOR)).isnan()


def test_few_draws_are_those_of_the_formulas():
    flow = randomize(pf.nsf(5, layers=2, hidden=(16,)))
    few = flow.sample((3,), generator=torch.Generator().manual_seed(1))
    with pf.plain():
        expected = flow.sample((3,), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(few, expected, rtol=1e-4, atol=1e-4)
