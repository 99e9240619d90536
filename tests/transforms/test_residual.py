"""Residual layers: the bound holds, the estimate is unbiased with the right gradient, the inverse ends at rounding."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.functional import jacobian

import pushforward as pf
from pushforward.nets import LipschitzMLP
from pushforward.numerics.contraction import spectral_bound
from pushforward.testing import randomize
from pushforward.transforms import Residual


def wild(features: int, **options) -> LipschitzMLP:
    """A network whose weights are far beyond the bound."""
    return randomize(LipschitzMLP(features, hidden=(20, 20), **options), scale=20.0).double()


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (40, 3), (30, 30)])
def test_the_bound_of_the_spectral_norm_is_above_and_tight(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, dtype=torch.float64)
    for given in (matrix, torch.linalg.qr(matrix).Q, torch.ones_like(matrix)):
        norm = torch.linalg.matrix_norm(given, 2)
        assert norm * (1 - 1e-12) <= spectral_bound(given) <= norm * 40 ** (1 / 256)
    for flat in (torch.zeros(shape), matrix * 1e-30):
        assert bool(torch.func.grad(spectral_bound)(flat).isfinite().all())
    assert torch.autograd.gradcheck(spectral_bound, matrix.requires_grad_(), fast_mode=True)
    assert torch.autograd.gradgradcheck(spectral_bound, matrix, fast_mode=True)
    wanted = torch.func.grad(spectral_bound)(matrix)  # by autodiff
    torch.testing.assert_close(torch.autograd.grad(spectral_bound(matrix), matrix)[0], wanted)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(matrix, matrix)
        slope = torch.autograd.forward_ad.unpack_dual(spectral_bound(dual)).tangent
    torch.testing.assert_close(slope, (wanted * matrix).sum())


@pytest.mark.parametrize("lipschitz", [0.5, 0.97])
def test_the_network_is_a_contraction(lipschitz: float) -> None:
    net = wild(6, lipschitz=lipschitz)
    with torch.no_grad():
        slopes = torch.linalg.matrix_norm(net.linearised(torch.randn(500, 6, dtype=torch.float64)).jacobian(), 2)
    assert 0.1 * lipschitz < float(slopes.max()) <= lipschitz


def test_the_product_is_the_jacobian() -> None:
    net, x = wild(4), torch.randn(4, dtype=torch.float64)
    at, want, v = net.linearised(x), jacobian(net, x), torch.randn(4, dtype=torch.float64)
    torch.testing.assert_close(at.value, net(x))
    torch.testing.assert_close(at.jacobian(), want)
    torch.testing.assert_close(at.right(v), want @ v)
    torch.testing.assert_close(at.left(v), v @ want)


@pytest.mark.slow
def test_the_estimate_and_its_gradient_are_unbiased() -> None:
    torch.manual_seed(0)
    net = wild(3)
    x = torch.randn(2, 3, dtype=torch.float64)
    *parameters, _ = net.parameters()  # the last bias shifts alone
    exact = Residual(net, logdet="exact")(x)[1]
    estimates = Residual(net, logdet="roulette", terms=2)
    draws = torch.stack([estimates(x)[1] for _ in range(500)])
    error = draws.std(0) / len(draws) ** 0.5
    assert bool(((draws.mean(0) - exact).abs() < 4 * error).all())
    want = torch.cat([g.flatten() for g in torch.autograd.grad(exact.sum(), parameters)])
    got = torch.autograd.grad(draws.mean(0).sum(), parameters)
    assert float((torch.cat([g.flatten() for g in got]) - want).norm() / want.norm()) < 0.2


@pytest.mark.parametrize("logdet", ["exact", "roulette"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_inverse_ends_at_rounding_far_out_too(logdet: str, dtype: torch.dtype) -> None:
    layer = Residual(wild(5, lipschitz=0.99).to(dtype), logdet=logdet)
    x = torch.randn(500, 5, dtype=dtype) * torch.logspace(-3, 5, 500, dtype=dtype)[:, None]
    with torch.no_grad():
        back = layer.generate(layer(x)[0])
    error = (back - x).abs().amax(1) / (1 + x.abs().amax(1))
    assert float(error.max()) < 1000 * torch.finfo(dtype).eps  # slopes of g are below 1 / (1 - 0.99)


def test_gradients_of_the_inverse_beyond_what_is_exact() -> None:
    """Fixed-point steps find x, the exact Jacobian its derivatives."""
    layer, z = Residual(wild(3), logdet="roulette"), torch.randn(3, dtype=torch.float64)
    want = torch.linalg.inv(jacobian(lambda v: layer(v)[0], layer.generate(z).detach()))
    torch.testing.assert_close(jacobian(layer.generate, z), want)
    assert torch.autograd.gradgradcheck(lambda v: Residual(layer.net).inverse(v)[0], z.requires_grad_())


def test_an_infinite_row_spoils_no_other() -> None:
    layer = Residual(wild(2))
    z = torch.randn(3, 2, dtype=torch.float64)
    z[1, 0] = torch.nan
    x = layer.generate(z)
    assert x[1].isnan().any()
    torch.testing.assert_close(layer(x[::2])[0], z[::2])


def test_a_wide_flow_learns_with_estimates() -> None:
    torch.manual_seed(0)
    x = torch.randn(400, 20) @ (torch.eye(20) + 0.3 * torch.randn(20, 20))
    flow = pf.residual(20, layers=1, hidden=(16,))
    before = float(-flow.log_prob(x).mean().detach())
    pf.fit(flow, x, steps=40, batch_size=128, lr=1e-2, progress=False)
    assert float(-flow.log_prob(x).mean().detach()) < before - 3


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pf.residual(3, lipschitz=1.0), r"lipschitz must be above 0 and below 1.*got lipschitz=1\.0"),
        (lambda: LipschitzMLP(3, lipschitz=0.0), r"lipschitz must be above 0 and below 1.*got lipschitz=0\.0"),
        (lambda: LipschitzMLP(0), "features must be at least 1, got features=0"),
        (lambda: pf.residual(3, logdet="series"), "logdet must be one of auto, exact, roulette, got logdet='series'"),
        (lambda: Residual(LipschitzMLP(3), terms=0), "terms must be at least 1, got terms=0"),
    ],
)
def test_bad_input_is_named(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
