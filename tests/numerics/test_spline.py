"""Rational-quadratic splines: gradients, and properties over many random parameters."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward.numerics import spline

BOUND = 5.0


def draw(bins, shape, spread, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=dtype) * 4
    params = torch.randn(3 * bins - 1, *shape, generator=generator, dtype=dtype) * spread
    return x.requires_grad_(), params.requires_grad_()


@pytest.mark.parametrize("inverse", [False, True])
def test_gradients_against_finite_differences(inverse):
    x, params = draw(4, (6, 2), 1.0)
    assert torch.autograd.gradcheck(lambda v, p: spline.rational_quadratic(v, p, BOUND, inverse), (x, params))


def test_second_derivatives():
    x, params = draw(3, (2, 2), 1.0)
    pairs = (x, params)
    assert torch.autograd.gradgradcheck(lambda v, p: spline.rational_quadratic(v, p, BOUND, False), pairs, atol=1e-5)


def test_zero_parameters_are_the_identity():
    x = torch.linspace(-7, 7, 101, dtype=torch.float64)
    y, log_slope = spline.rational_quadratic(x[:, None], torch.zeros(23, 101, 1, dtype=torch.float64), BOUND, False)
    torch.testing.assert_close(y[:, 0], x)
    assert log_slope.abs().max() < 1e-12


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0])
def test_gradients_are_finite_at_bounds_knots_and_far_outside(inverse, spread):
    points = torch.tensor([-1e6, -BOUND, -3.75, -2.5, 0.0, 2.5, BOUND, 1e6])  # knots of the identity among them
    x = points[:, None].requires_grad_()
    params = (torch.randn(23, 8, 1, generator=torch.Generator().manual_seed(0)) * spread).requires_grad_()
    value, log_slope = spline.rational_quadratic(x, params, BOUND, inverse)
    grads = torch.autograd.grad(value.sum() + log_slope.sum(), (x, params))
    assert all(t.isfinite().all() for t in (value, log_slope, *grads))
    assert value[0, 0] == -1e6
    assert value[-1, 0] == 1e6


def test_nan_stays_in_its_own_point():
    x, params = draw(8, (4, 3), 1.0, torch.float32)
    with torch.no_grad():
        clean = spline.rational_quadratic(x, params, BOUND, False)[0]
        x[1, 2] = torch.nan
        dirty = spline.rational_quadratic(x, params, BOUND, False)[0]
    assert dirty[1, 2].isnan()
    assert dirty.isnan().sum() == 1
    mask = ~dirty.isnan()
    torch.testing.assert_close(dirty[mask], clean[mask], rtol=0, atol=0)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    bins=st.integers(2, 16),
    spread=st.sampled_from([0.1, 1.0, 3.0]),
    bound=st.sampled_from([1.0, 5.0, 30.0]),
)
def test_monotone_invertible_and_finite_in_float32(seed, bins, spread, bound):
    """50,000 points on each of 25 draws of parameters: over a million (parameters, point) pairs.

    Slopes may reach 1e6 here, so what can be asked of float32 is stability: each result is the exact one (computed in
    float64) for an argument that differs by a few units in the last place of ``bound``, to as many units.
    """
    generator = torch.Generator().manual_seed(seed)
    splines, points = 50, 1000
    params = (torch.randn(3 * bins - 1, 1, splines, generator=generator) * spread).expand(-1, points, -1)
    x = (torch.rand(points, splines, generator=generator) * 2.4 - 1.2).mul(bound).sort(0).values
    units = 16 * torch.finfo(torch.float32).eps * bound
    y, log_slope = spline.rational_quadratic(x, params, bound, False)
    back, log_slope_back = spline.rational_quadratic(y, params, bound, True)
    for values in (y, log_slope, back, log_slope_back):
        assert values.isfinite().all()
    assert (y.diff(dim=0) >= -units).all()  # monotone, to rounding
    exact = params.double()
    for argument, result, inverse in ((x, y, False), (y, back, True)):
        low = spline.rational_quadratic(argument.double() - units, exact, bound, inverse)[0] - units
        high = spline.rational_quadratic(argument.double() + units, exact, bound, inverse)[0] + units
        assert ((low <= result) & (result <= high)).all()
