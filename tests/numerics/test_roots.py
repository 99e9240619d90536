"""Roots of increasing functions: on the whole line, to rounding, with gradients, and never a wrong number."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.numerics.roots import CLOSE, MOST_STEPS, find_root, invert, quantile_between, solve


def polynomial(x: Tensor) -> tuple[Tensor, Tensor]:
    return 1e-3 * x + x**3 / 3 + x**9 / 9, (1e-3 + x**2 + x**8).log()


def hyperbolic(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.sinh(), x.abs() + F.softplus(-2 * x.abs()) - math.log(2)


def logarithmic(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.sign() * x.abs().log1p(), -x.abs().log1p()


def staircase(x: Tensor) -> tuple[Tensor, Tensor]:
    c = 100 * (x - torch.arange(5).to(x).view(-1, *[1] * x.dim()))
    rise = c.sigmoid().sum(0)
    return 0.01 * x + rise, (0.01 + 100 * (c.sigmoid() * (-c).sigmoid()).sum(0)).log()


def affine(x: Tensor) -> tuple[Tensor, Tensor]:
    return 1e-4 * x + 7, torch.full_like(x, math.log(1e-4))


HARD = [polynomial, hyperbolic, logarithmic, staircase, affine]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("f", HARD)
def test_every_row_converges_to_rounding(f, dtype):
    z = torch.randn(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    calls = []

    def counted(x: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(1)
        return f(x)

    for scale in (1e-3, 1.0, 20.0):
        root = find_root(counted, scale * z)
        value, log_slope = f(root)
        units = (value - scale * z).abs() / (1 + (scale * z).abs() + log_slope.exp() * root.abs())
        assert bool(root.isfinite().all())
        assert float(units.max()) < 8 * torch.finfo(dtype).eps
    assert len(calls) < 3 * 50


def test_a_row_without_a_root_is_nan_and_leaves_the_others_alone():
    z = torch.tensor([0.5, 2.0, math.nan, -math.inf, -0.5], dtype=torch.float64)
    calls = []

    def f(x: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(1)
        return x.tanh(), (1 - x.tanh().square()).log()

    root = find_root(f, z)
    assert root.isnan().tolist() == [False, True, True, True, False]
    torch.testing.assert_close(root[[0, 4]], z[[0, 4]].atanh())
    assert len(calls) <= MOST_STEPS
    assert torch.equal(invert(f, z)[1].isnan(), root.isnan())


def test_functions_that_are_no_number_somewhere_end_at_once():
    root = find_root(lambda x: (x * math.nan, x), torch.zeros(3))
    assert bool(root.isnan().all())


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (2, 3)])
def test_shapes(shape):
    x, log_slope = invert(polynomial, torch.zeros(shape))
    assert x.shape == log_slope.shape == shape


def test_brackets():
    z = torch.linspace(-5, 5, 7, dtype=torch.float64)
    want = invert(polynomial, z)[0]
    around = lambda z: (torch.full_like(z, -3.0), torch.full_like(z, 3.0))  # noqa: E731
    torch.testing.assert_close(solve(polynomial, z, around=around), want)


def test_derivatives_up_to_the_third():
    z = torch.tensor([0.3, -2.0, 4.0], dtype=torch.float64, requires_grad=True)
    a = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)

    def inverse(z: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        return invert(lambda x: ((a * x).sinh(), a.log() + hyperbolic(a * x)[1]), z)

    def closed(z: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        return z.asinh() / a, -a.log() - (1 + z * z).log() / 2

    for got, want in zip(inverse(z, a), closed(z, a), strict=True):
        torch.testing.assert_close(got, want)
        for _ in range(3):
            got = torch.autograd.grad(got.sum(), (z, a), create_graph=True)
            want = torch.autograd.grad(want.sum(), (z, a), create_graph=True)
            torch.testing.assert_close(got, want, atol=1e-8, rtol=1e-8)
            got, want = got[0].sum() + got[1], want[0].sum() + want[1]
            if not want.requires_grad:
                break


def test_values_are_the_same_with_gradients_and_without():
    z = torch.linspace(-9, 9, 50, requires_grad=True)
    with torch.no_grad():
        want = invert(staircase, z)
    for got, expected in zip(invert(staircase, z), want, strict=True):
        assert torch.equal(got, expected)


def test_torch_func():
    z = torch.linspace(-4, 4, 6, dtype=torch.float64)
    want = invert(polynomial, z)

    def of(v: Tensor) -> tuple[Tensor, Tensor]:
        return invert(polynomial, v)

    torch.testing.assert_close(torch.func.vmap(of)(z), want)
    value, tangent = torch.func.jvp(lambda v: of(v)[0], (z,), (torch.ones_like(z),))
    torch.testing.assert_close(tangent, want[1].exp())
    second = torch.func.vmap(torch.func.grad(torch.func.grad(lambda v: of(v)[0])))(z)
    x = value
    slope, bend = 1e-3 + x**2 + x**8, 2 * x + 8 * x**7
    torch.testing.assert_close(second, -bend / slope**3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("f", HARD)
def test_a_start_may_be_anything(f, dtype):
    x = torch.linspace(-5, 5, 200, dtype=dtype)
    z, start = f(x)[0], x.roll(7)
    start[:5] = torch.tensor([math.nan, math.inf, -math.inf, 1e30, -100.0])
    root = find_root(f, z, around=lambda z: (torch.full_like(z, -8), torch.full_like(z, 9)), start=start)
    assert root.isfinite().all()
    error = (f(root)[0] - z).abs() / (1 + z.abs())
    assert error.max() <= 64 * torch.finfo(dtype).eps


@pytest.mark.parametrize("around", [None, lambda z: (torch.full_like(z, -5), torch.full_like(z, 5))])
def test_a_good_start_makes_the_search_short(around):
    calls = []

    def cubic(x: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(x)
        return x + x**3, (1 + 3 * x.square()).log()

    x = torch.randn(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    root = find_root(cubic, x + x**3, around=around, start=x * (1 + 1e-15))
    assert len(calls) == 1
    torch.testing.assert_close(root, x, rtol=1e-15, atol=1e-15)


def test_quantiles_near_an_end_of_the_bracket_are_found() -> None:
    q = torch.tensor([1e-5, 1e-4, 0.3, 1 - 1e-4, 1 - 1e-5], dtype=torch.float64)
    for cdf in (lambda x: x * x * (3 - 2 * x), lambda x: x**0.1, lambda x: x**10):
        found = quantile_between(cdf, q, torch.zeros_like(q), torch.ones_like(q))
        assert float((cdf(found) - q).abs().max()) <= CLOSE
