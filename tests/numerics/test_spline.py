"""Rational-quadratic splines: the fused version against the plain one, and properties over many random parameters."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward.numerics import spline, spline_fused

BOUND = 5.0


def draw(bins, shape, spread, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=dtype) * 4
    params = torch.randn(3 * bins - 1, *shape, generator=generator, dtype=dtype) * spread
    return x.requires_grad_(), params.requires_grad_()


@pytest.mark.parametrize("name", ["forward", "inverse"])
@pytest.mark.parametrize("bins", [2, 3, 8])
@pytest.mark.parametrize("shape", [(7,), (20, 5), (3, 2, 4)])
def test_fused_equals_plain(name, bins, shape):
    x, params = draw(bins, shape, 2.0)
    results = []
    for module in (spline, spline_fused):
        value, log_slope = getattr(module, name)(x, params, BOUND)
        grads = torch.autograd.grad(value.sin().sum() + log_slope.square().sum(), (x, params))
        results.append((value, log_slope, *grads))
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["forward", "inverse"])
def test_gradients_against_finite_differences(name):
    x, params = draw(4, (6, 2), 1.0)
    assert torch.autograd.gradcheck(lambda v, p: getattr(spline_fused, name)(v, p, BOUND), (x, params))


def test_second_derivatives():
    x, params = draw(3, (2, 2), 1.0)
    assert torch.autograd.gradgradcheck(lambda v, p: spline_fused.forward(v, p, BOUND), (x, params), atol=1e-5)


def test_zero_parameters_are_the_identity():
    x = torch.linspace(-7, 7, 101, dtype=torch.float64)
    y, log_slope = spline_fused.forward(x[:, None], torch.zeros(23, 101, 1, dtype=torch.float64), BOUND)
    torch.testing.assert_close(y[:, 0], x)
    assert log_slope.abs().max() < 1e-12


@pytest.mark.parametrize("name", ["forward", "inverse"])
@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0])
def test_gradients_are_finite_at_bounds_knots_and_far_outside(name, spread):
    points = torch.tensor([-1e6, -BOUND, -3.75, -2.5, 0.0, 2.5, BOUND, 1e6])  # knots of the identity among them
    x = points[:, None].requires_grad_()
    params = (torch.randn(23, 8, 1, generator=torch.Generator().manual_seed(0)) * spread).requires_grad_()
    value, log_slope = getattr(spline_fused, name)(x, params, BOUND)
    grads = torch.autograd.grad(value.sum() + log_slope.sum(), (x, params))
    assert all(t.isfinite().all() for t in (value, log_slope, *grads))
    assert value[0, 0] == -1e6
    assert value[-1, 0] == 1e6


def test_nan_stays_in_its_own_point():
    x, params = draw(8, (4, 3), 1.0, torch.float32)
    with torch.no_grad():
        clean = spline_fused.forward(x, params, BOUND)[0]
        x[1, 2] = torch.nan
        dirty = spline_fused.forward(x, params, BOUND)[0]
    assert dirty[1, 2].isnan()
    assert dirty.isnan().sum() == 1
    mask = ~dirty.isnan()
    torch.testing.assert_close(dirty[mask], clean[mask], rtol=0, atol=0)


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
    y, log_slope = spline_fused.forward(x, params, bound)
    back, log_slope_back = spline_fused.inverse(y, params, bound)
    for values in (y, log_slope, back, log_slope_back):
        assert values.isfinite().all()
    assert (y.diff(dim=0) >= -units).all()  # monotone, to rounding
    exact = params.double()
    for argument, result, function in ((x, y, spline.forward), (y, back, spline.inverse)):
        low = function(argument.double() - units, exact, bound)[0] - units
        high = function(argument.double() + units, exact, bound)[0] + units
        assert ((low <= result) & (result <= high)).all()


@pytest.mark.parametrize("bins", [2, 3, 8])
@pytest.mark.parametrize("spread", [0.0, 2.0, 30.0])
def test_one_by_one_equals_all_at_once(bins, spread, monkeypatch):
    """Few numbers are solved in plain Python."""
    y, params = (each.detach() for each in draw(bins, (200, 1), spread))
    y[:4, 0] = torch.tensor([BOUND, -BOUND, 1e300, -torch.inf])
    found = []
    for few in (0, 1000):
        monkeypatch.setattr(spline_fused, "_FEW", few)
        out = torch.full_like(y, torch.nan)
        spline_fused.solve(y, params, BOUND, out)
        found.append(out)
    torch.testing.assert_close(spline.forward(found[1], params, BOUND)[0], y, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_one_by_one_what_is_not_finite(bad):
    y, params = (each.detach() for each in draw(4, (11, 1), 1.0))
    y.clamp_(-BOUND + 1, BOUND - 1)
    params[torch.arange(11), torch.arange(11), 0] = bad
    out, expected = torch.empty_like(y), spline.inverse(y, params, BOUND)[0]
    spline_fused.solve(y, params, BOUND, out)
    torch.testing.assert_close(out.isfinite(), expected.isfinite())
    torch.testing.assert_close(out[out.isfinite()], expected[out.isfinite()], rtol=1e-6, atol=1e-6)
    y[0] = torch.nan
    spline_fused.solve(y, params, BOUND, out)
    assert out[0].isnan()
