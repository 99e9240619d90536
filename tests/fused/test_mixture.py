"""Mixtures of logistics as one node, against the formula: values, gradients, and far out."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

import pushforward as pf
from pushforward.fused.gaussianization import drawn, tables
from pushforward.fused.mixture import LogOdds
from pushforward.numerics import sigmoidal

EMPTY = torch.zeros(3 * 24, 0, dtype=torch.float64, requires_grad=True)


def draw(n: int, scale: float = 1.0, spread: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, bias = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((3, n), (3 * 24,)))
    return (scale * x).requires_grad_(), (spread * bias).requires_grad_()


def plain(x, bias):
    return sigmoidal.log_odds(x, sigmoidal.normal(bias.view(3, -1, 1).transpose(0, 1)))


@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e6])
def test_equals_the_formula(scale, spread):
    x, bias = draw(50, scale, spread)
    results = []
    for t, log_slope in (LogOdds.apply(x, bias, EMPTY), plain(x, bias)):
        grads = torch.autograd.grad((t / scale).sin().sum() + log_slope.square().sum(), (x, bias))
        results.append((t, log_slope, *grads))
    torch.testing.assert_close(results[0], results[1], rtol=1e-7, atol=1e-8)


def test_derivatives_of_the_first_and_second_order():
    x, bias = draw(2)
    assert torch.autograd.gradcheck(LogOdds.apply, (x, bias, EMPTY))
    assert torch.autograd.gradgradcheck(LogOdds.apply, (x, bias, EMPTY))


@pytest.mark.parametrize(("dtype", "farthest"), [(torch.float32, -1e18), (torch.float64, -1e30)])
def test_values_and_gradients_are_finite_as_far_as_the_square_of_z_is_a_number(dtype, farthest):
    flow = pf.testing.randomize(pf.gf(2, layers=2).to(dtype))
    x = torch.tensor([0.0, 30.0, -1e4, 1e12, farthest], dtype=dtype)[:, None].repeat(1, 2).requires_grad_()
    log_prob = flow.log_prob(x)
    with pf.plain():
        torch.testing.assert_close(flow.log_prob(x), log_prob)
    grads = torch.autograd.grad(log_prob[:3].sum(), (x, *flow.parameters()))
    assert all(bool(value.isfinite().all()) for value in (log_prob, *grads))


def test_once_more_through_one_graph_and_through_checkpoints():
    flow, x = pf.testing.randomize(pf.gf(3, layers=2)), torch.randn(5, 3)
    parameters = list(flow.parameters())
    loss = flow.log_prob(x).sum()
    want = torch.autograd.grad(loss, parameters, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(loss, parameters), want)
    again = checkpoint(flow.log_prob, x, use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(again.sum(), parameters), want)


@pytest.mark.parametrize("make", [pf.gf, pf.maf, pf.realnvp])
def test_forward_mode_derivatives_go_through_the_formulas(make):
    flow, x = pf.testing.randomize(make(2, layers=2)).double(), torch.randn(5, 2, dtype=torch.float64)
    with forward_ad.dual_level():
        along = forward_ad.unpack_dual(flow.log_prob(forward_ad.make_dual(x, torch.ones_like(x)))).tangent
    given = x.requires_grad_()
    (slope,) = torch.autograd.grad(flow.log_prob(given).sum(), given)
    torch.testing.assert_close(along.detach(), slope.sum(-1))


@pytest.mark.parametrize(("n", "scale"), [(0, 1.0), (1, 1.0), (5, 1.0), (400, 1.0), (400, 20.0)])
@pytest.mark.parametrize("spread", [0.5, 4.0])
def test_draws_are_those_of_the_formulas(n, scale, spread):
    flow = pf.testing.randomize(pf.gf(3, layers=2), spread).double()
    z = scale * torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = flow.transform.generate(z)
        with pf.plain():
            torch.testing.assert_close(x, flow.transform.generate(z))
            want = flow.transform.inverse(z)
        torch.testing.assert_close(flow.transform.inverse(z), want)
        torch.testing.assert_close(flow.transform(x)[0], z)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_a_table_leaves_few_steps_and_those_lead_to_rounding(dtype, spread):
    bias = draw(1, spread=spread)[1].detach().to(dtype)
    z = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    x, found = drawn(z, tables([bias], 3)[0])
    exact = sigmoidal.normal(bias.double().view(3, -1, 1).transpose(0, 1))
    t, log_slope = sigmoidal.log_odds(x.double(), exact)
    error = (t - sigmoidal.quantile_inverse(z.double())[0]).abs() / (1 + t.abs() + log_slope.exp() * x.abs())
    assert found
    assert float(error.max()) < 8 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_of_far_rows_and_of_rows_that_are_no_number(dtype):
    flow = pf.testing.randomize(pf.gf(2, layers=1).to(dtype))
    z = torch.tensor([0.3, -11.0, 40.0, -1e6, torch.nan], dtype=dtype)[:, None].repeat(1, 2)
    with torch.no_grad():
        x = flow.transform.generate(z)
        torch.testing.assert_close(flow.transform(x[:4])[0], z[:4])
        torch.testing.assert_close(x[:2], flow.transform.generate(z[:2]))
    assert bool(x[4].isnan().all())


def test_gradients_of_draws_are_those_of_the_formulas():
    flow = pf.testing.randomize(pf.gf(3, layers=2)).double()
    z = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def gradients() -> list[torch.Tensor]:
        x, logdet = flow.transform.inverse(z)
        loss = x.sin().sum() + logdet.square().sum() + flow.transform.generate(z).cos().sum()
        return list(torch.autograd.grad(loss, [z, *flow.parameters()]))

    found = gradients()
    with pf.plain():
        torch.testing.assert_close(found, gradients())
