"""Autoregressive transforms: the incremental inverse, its gradient, Jacobi passes, and RealNVP as a special case."""

import pytest
import torch

import pushforward as pf
from pushforward.nets.made import MADE
from pushforward.transforms import Affine, Autoregressive, Coupling, Half, Spline


def randomised(transform, scale=0.4):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in transform.parameters():
            parameter.normal_(0, scale)
    return transform


def test_jacobi_passes_give_the_same():
    net = MADE(12, 2, hidden=(32, 32))
    transform = randomised(Autoregressive(net, Affine()), 0.2).double()
    other = Autoregressive(net, Affine(), inversion="jacobi")
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
        net.weights[0][:, kept:] = 0  # no unit reads the second half
        net.weights[2][: kept * 2] = 0  # the first half's parameters are zero: it passes unchanged
        net.biases[2][: kept * 2] = 0
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


def test_a_network_of_ones_own_needs_features_and_num_params_alone():
    class Shifts(torch.nn.Module):
        features, num_params = 3, 2

        def forward(self, x, context=None):
            before = torch.cat([torch.zeros_like(x[..., :1]), x[..., :-1]], -1)
            return torch.stack([before, torch.zeros_like(x)])

    transform = Autoregressive(Shifts(), Affine())
    z, logdet = transform(torch.tensor([1.0, 3.0, 6.0]))
    assert (z.tolist(), float(logdet)) == ([1.0, 2.0, 3.0], 0.0)
    assert transform.inverse(z)[0].tolist() == [1.0, 3.0, 6.0]
    assert "3 steps: inverse" in repr(transform)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Autoregressive(MADE(3, 2), Spline(8)), "net gives 2 parameters per feature, but scalar takes 23"),
        (lambda: Autoregressive(MADE(3, 2), Affine(), inversion="newton"), "inversion must be"),
        (lambda: Spline(1), "bins must be at least 2, got bins=1"),
        (lambda: Spline(8, 0.0), "bound must be positive, got bound=0.0"),
        (lambda: pf.maf(0), "features=0: expected a whole number"),
        (lambda: pf.nsf(3, layers=0), "layers=0: expected a whole number"),
        (lambda: pf.maf(100, hidden=(64,)), "too narrow"),
        (lambda: pf.maf(3, context=2)(torch.zeros(4, 3), torch.zeros(4, 5)), "context has 5 features.*context=2"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_repr_says_which_direction_is_parallel():
    assert "one pass: forward (density); 3 steps: inverse (sampling)" in repr(pf.maf(3, layers=1))
    assert "forward and inverse are exchanged" in repr(pf.iaf(3, layers=1))
