"""Autoregressive transforms: the incremental inverse, its gradient, Jacobi passes, and RealNVP as a special case."""

import pytest
import torch

import pushforward as pf
from pushforward.nets.made import MADE
from pushforward.numerics.masked_linear import blocks
from pushforward.transforms import Affine, Autoregressive, Coupling, Half, Spline


def randomised(transform, scale=0.4):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in transform.parameters():
            parameter.normal_(0, scale)
    return transform


def pass_by_pass(transform, z, context):
    """The inverse by one whole network pass for each feature, as other libraries do it (natural order)."""
    x = torch.zeros_like(z)
    for j in range(z.shape[-1]):
        value, log_slope = transform.scalar.inverse(z, transform.net(x, context))
        x = torch.cat([x[..., :j], value[..., j : j + 1], x[..., j + 1 :]], -1)
    return x, log_slope.sum(-1)


SCALARS = {"affine": Affine, "spline": lambda: Spline(4)}


@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize(
    ("features", "hidden", "residual"),
    [(1, (4,), False), (5, (), False), (6, (32, 48), False), (7, (24,) * 5, True), (30, (200, 200), False)],
)
def test_incremental_inverse_is_the_passes(scalar, context, features, hidden, residual):
    net = MADE(features, SCALARS[scalar]().num_params, context=context, hidden=hidden, residual=residual)
    transform = randomised(Autoregressive(net, SCALARS[scalar]()), 0.1 if features > 20 else 0.3).double()
    z = torch.randn(3, 4, features, dtype=torch.float64, requires_grad=True)
    c = torch.randn(4, context, dtype=torch.float64, requires_grad=True) if context else None
    inputs = [z, *([c] if context else []), *transform.parameters()]
    expected, got = pass_by_pass(transform, z, c), transform.inverse(z, c)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    grads = [
        torch.autograd.grad(x.sin().sum() + logdet.square().sum(), inputs, allow_unused=True, materialize_grads=True)
        for x, logdet in (got, expected)
    ]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-9, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(transform.inverse(z, c), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scalar", SCALARS)
def test_incremental_inverse_in_float32(scalar):
    net = MADE(43, SCALARS[scalar]().num_params, hidden=(128, 128))
    transform = randomised(Autoregressive(net, SCALARS[scalar]()), 0.05)
    z = torch.randn(64, 43)
    with torch.no_grad():
        torch.testing.assert_close(transform.inverse(z), pass_by_pass(transform, z, None), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(transform(transform.inverse(z)[0])[0], z, rtol=1e-5, atol=1e-5)


def test_jacobi_passes_give_the_same():
    net = MADE(12, 2, hidden=(32, 32))
    transform = randomised(Autoregressive(net, Affine(), range(11, -1, -1)), 0.2).double()
    other = Autoregressive(net, Affine(), range(11, -1, -1), inversion="jacobi")
    z = torch.randn(5, 12, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(other.inverse(z), transform.inverse(z), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", [pf.maf, pf.iaf, pf.nsf])
def test_a_nan_row_spoils_no_other(make):
    flow = randomised(make(4, layers=2, hidden=(16, 16)), 0.3)
    x = torch.randn(6, 4)
    with torch.no_grad():
        clean = flow(x)
        x[2, 1] = torch.nan
        dirty = flow(x)
    assert dirty[2].isnan()
    rest = torch.arange(6) != 2
    torch.testing.assert_close(dirty[rest], clean[rest])


def test_coupling_is_a_special_case():
    """RealNVP from an autoregressive flow: the first half passes, and the second half's parameters see only it."""
    torch.manual_seed(0)
    features, kept = 6, 3
    net = MADE(features, 2, hidden=(30, 30))
    transform = randomised(Autoregressive(net, Affine())).double()
    with torch.no_grad():
        w1, w2, w3 = (dict_of_blocks(net, k) for k in range(3))
        zero(w1, columns=range(kept, features))  # no unit reads the second half
        zero_rows(w3, net.biases[2], range(kept * 2))  # the first half's parameters are zero: it passes unchanged
    assert w2
    x = torch.randn(5, features, dtype=torch.float64)
    z, logdet = transform(x)

    class Second(torch.nn.Module):
        def forward(self, first, context=None):
            rows = torch.cat([first, torch.zeros_like(first)], -1)
            return net(rows)[..., kept:]

    coupling = Coupling(Half(features), Second(), Affine())
    torch.testing.assert_close(coupling(x), (z, logdet))
    torch.testing.assert_close(z[:, :kept], x[:, :kept])
    torch.testing.assert_close(coupling.inverse(z), transform.inverse(z))


def dict_of_blocks(net, k):
    return blocks(net.layers[k], net.weights[k].data)


def zero(steps, columns):
    for step, block in steps:
        block[:, [c for c in columns if c < step.columns]] = 0


def zero_rows(steps, bias, rows):
    for step, block in steps:
        block[[r - step.first for r in rows if step.first <= r < step.last]] = 0
    bias[list(rows)] = 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Autoregressive(MADE(3, 2), Affine(), [0, 0, 1]), r"permutation of 0 to 2, got \[0, 0, 1\]"),
        (lambda: Autoregressive(MADE(3, 2), Spline(8)), "net gives 2 parameters per feature, but scalar takes 23"),
        (lambda: Autoregressive(MADE(3, 2), Affine(), inversion="newton"), "inversion must be"),
        (lambda: Spline(1), "bins must be at least 2, got bins=1"),
        (lambda: Spline(8, 0.0), "bound must be positive, got bound=0.0"),
        (lambda: pf.maf(0), "features must be at least 1, got features=0"),
        (lambda: pf.nsf(3, layers=0), "layers must be at least 1, got layers=0"),
        (lambda: pf.maf(100, hidden=(64,)), "too narrow"),
        (lambda: pf.maf(3, context=2)(torch.zeros(4, 3), torch.zeros(4, 5)), "context has 5 features.*context=2"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_repr_says_which_direction_is_parallel():
    assert "parallel: forward (density); sequential: inverse (sampling), 3 steps" in repr(pf.maf(3, layers=1))
    assert "forward and inverse are exchanged" in repr(pf.iaf(3, layers=1))
