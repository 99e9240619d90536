"""Scalar maps: refused arguments, round trips of far points, what each formula says, couplings and single features."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward import transforms as T
from pushforward.nets.made import MADE
from pushforward.nets.mlp import MLP
from pushforward.numerics import sigmoidal
from pushforward.testing import check_transform, randomize

MAPS: dict[str, Callable[[], T.Scalar]] = {
    "Additive": T.Additive,
    "softplus": T.ScaleShift,
    "sigmoid": lambda: T.ScaleShift("sigmoid"),
    "tanh": lambda: T.ScaleShift("tanh"),
    "LinearSpline": T.LinearSpline,
    "QuadraticSpline": T.QuadraticSpline,
    "CubicSpline": T.CubicSpline,
    "FreeSpline": T.FreeSpline,
    "DeepSigmoid": T.DeepSigmoid,
    "two layers": lambda: T.DeepSigmoid(5, layers=2),
    "Gaussianization": T.Gaussianization,
    "Bernstein": T.Bernstein,
    "SumOfSquares": T.SumOfSquares,
    "MonotonicNetwork": lambda: T.MonotonicNetwork(4, hidden=(16,)),
}


def normal(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MAPS)
def test_round_trips_of_far_points(name, dtype):
    """The error of x is what rounding z costs: at most 1,000 units of it, times the slope of the inverse."""
    scalar = randomize(MAPS[name]()).to(dtype)
    n = 4000
    params = normal(scalar.num_params, n, dtype=dtype)
    x = torch.cat([10 * normal(n - 4, dtype=dtype, seed=1), torch.tensor([1e4, -1e4, 1e6, -1e6], dtype=dtype)])
    with torch.no_grad():
        z, log_slope = scalar(x, params)
        back, opposite = scalar.inverse(z, params)
    unit = torch.finfo(dtype).eps * (1 + x.abs() + (1 + z.abs()) * (-log_slope).exp())
    assert bool(back.isfinite().all())
    assert float(((back - x).abs() / unit).max()) < 1000
    torch.testing.assert_close(opposite, -log_slope, atol=1e-3 if dtype == torch.float32 else 1e-10, rtol=1e-3)


@pytest.mark.parametrize("name", MAPS)
def test_zeros_are_near_the_identity(name):
    scalar = MAPS[name]().double()
    x = torch.linspace(-2.5, 2.5, 41, dtype=torch.float64)
    with torch.no_grad():
        z, log_slope = scalar(x, torch.zeros(scalar.num_params, 41, dtype=torch.float64))
    near = {"DeepSigmoid": 0.05, "two layers": 0.2, "Gaussianization": 0.05}.get(name, 1e-12)
    assert float((z - x).abs().max()) < near
    assert float(log_slope.abs().max()) < 5 * near


@pytest.mark.parametrize("spline", [T.Spline(8), T.FreeSpline(8), T.CircularSpline(8)], ids=lambda s: type(s).__name__)
def test_splines_with_any_parameters_are_inverted_in_single_precision(spline):
    missed, period = 0, 2 * spline.bound if isinstance(spline, T.CircularSpline) else 1e6
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        x = 2 * torch.randn(256, generator=generator)
        params = torch.randn(spline.num_params, 256, generator=generator)
        apart = (spline.inverse(spline(x, params)[0], params)[0] - x).abs() % period
        missed += int(torch.minimum(apart, period - apart).max() > 1e-4)
    assert missed <= 3


@pytest.mark.parametrize("name", [*MAPS, "CircularSpline"])
def test_couplings_and_single_features(name):
    scalar = MAPS.get(name, T.CircularSpline)()
    split = T.Half(3)
    net = MLP(split.kept * scalar.inputs, split.moved, scalar.num_params, hidden=(8,))
    x = 3 * normal(6, 3).tanh()
    check_transform(randomize(T.Coupling(split, net, scalar).double()), x)
    report = check_transform(randomize(T.Univariate(MLP(0, 3, scalar.num_params, hidden=()), scalar).double()), x)
    assert report.structure == "diagonal"


@pytest.mark.parametrize("name", ["DeepSigmoid", "Bernstein", "MonotonicNetwork", "Gaussianization"])
def test_incremental_inverse_is_that_of_the_formulas(name):
    """With gradients of everything, also of the weights that a scalar map has of its own."""
    scalar = MAPS[name]()
    layer = T.Compose([T.Autoregressive(MADE(4, scalar.num_params, hidden=(9, 9)), scalar), T.LogTails(5.0)])
    flow = randomize(pf.Flow(T.Compose([layer, T.Permutation([2, 0, 3, 1])]), 4)).double()
    z, found = normal(5, 4), {}
    for room in ("fused", "plain"):
        with pf.plain() if room == "plain" else torch.enable_grad():
            x, logdet = flow.transform.inverse(z)
            grads = torch.autograd.grad((x * normal(5, 4, seed=3)).sum() + logdet.sum(), list(flow.parameters()))
            with torch.no_grad():
                found[room] = [x, logdet, *grads, *flow.transform.inverse(z), flow.transform.generate(z)]
    for one, other in zip(found["fused"], found["plain"], strict=True):
        torch.testing.assert_close(one, other, atol=1e-8, rtol=1e-8)


def test_gaussianization_makes_its_mixture_normal():
    params = normal(24, 1)
    mixture = sigmoidal.normal(params)
    x = torch.linspace(-6, 6, 25, dtype=torch.float64)
    z, _ = T.Gaussianization()(x, params.expand(24, 25))
    y = (mixture.weight * (mixture.slope * (x - mixture.place)).sigmoid()).sum(0)
    odds = (1 - sigmoidal.LEAK) * y.logit() + sigmoidal.LEAK * x
    torch.testing.assert_close(torch.special.ndtr(z), odds.sigmoid(), atol=1e-12, rtol=1e-9)


def test_normal_quantiles_to_the_end_of_the_line():
    t = torch.tensor([0.0, 1e-6, 3.0, -30.0, 59.0, 61.0, -1e3, 1e6, -1e30])
    z, log_slope = sigmoidal.quantile(t)
    back, opposite = sigmoidal.quantile_inverse(z)
    torch.testing.assert_close(back, t, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(log_slope, -opposite)
    torch.testing.assert_close(z[2], torch.special.ndtri(t[2].sigmoid()))


def test_derivatives_of_normal_quantiles_are_of_every_order_and_kind():
    t = torch.tensor([-700.0, -30.0, -1.0, 0.0, 1e-3, 2.0, 40.0, 650.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sigmoidal.quantile, t)
    assert torch.autograd.gradgradcheck(sigmoidal.quantile, t)
    wanted = torch.func.vmap(torch.func.grad(lambda t: sigmoidal.quantile(t)[1]))(t.detach())
    torch.testing.assert_close(torch.autograd.grad(sigmoidal.quantile(t)[1].sum(), t)[0], wanted)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(t, torch.ones_like(t))
        slope = torch.autograd.forward_ad.unpack_dual(sigmoidal.quantile(dual)[1]).tangent
    torch.testing.assert_close(slope.detach(), wanted)


def test_circular_splines_turn_and_join():
    scalar = T.CircularSpline(4).double()
    params = normal(scalar.num_params, 1)
    ends = torch.tensor([-math.pi, math.pi, 3 * math.pi], dtype=torch.float64) - params[-1] + 1e-9
    _, log_slope = scalar(ends, params.expand(-1, 3))
    torch.testing.assert_close(log_slope, log_slope[:1].expand(3), atol=1e-6, rtol=0)
    x = torch.linspace(-9, 9, 50, dtype=torch.float64)
    back = scalar.inverse(scalar(x, params.expand(-1, 50))[0], params.expand(-1, 50))[0]
    torch.testing.assert_close(back.cos(), x.cos())
    torch.testing.assert_close(back.sin(), x.sin())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: T.ScaleShift("cubic"), "slope must be one of softplus, sigmoid, tanh, got slope='cubic'"),
        (lambda: T.ScaleShift(limit=0), "limit must be positive, got limit=0"),
        (lambda: T.CubicSpline(1), "bins must be at least 2, got bins=1"),
        (lambda: T.CircularSpline(bound=-1), "bound must be positive, got bound=-1"),
        (lambda: T.DeepSigmoid(0), "units must be at least 1, got units=0"),
        (lambda: T.Gaussianization(0), "components must be at least 1, got components=0"),
        (lambda: T.Bernstein(bound=0), "bound must be positive, got bound=0"),
        (lambda: T.SumOfSquares(polynomials=0), "polynomials must be at least 1, got polynomials=0"),
        (lambda: T.MonotonicNetwork(nodes=2), "nodes must be at least 3, got nodes=2"),
        (lambda: T.Univariate(MLP(1, 3, 2), T.Affine()), "net must read no features, but it reads 1"),
        (lambda: T.Univariate(MLP(0, 3, 2), T.Bernstein()), "net gives 2 parameters per feature, but scalar takes 17"),
        (lambda: T.Autoregressive(MADE(3, 25), T.CircularSpline()), "net reads 1 numbers of each feature"),
        (lambda: pf.ncsf(3, mixing="lu"), "mixing must be 'reverse' or 'random' for angles, got mixing='lu'"),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert message in str(caught.value)
