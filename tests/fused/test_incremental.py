"""The sequential inverse at one pass's arithmetic against one whole pass for each feature."""

import pytest
import torch
from flows import masked

import pushforward as pf
from pushforward.transforms import Affine, Compose, Spline
from pushforward.transforms.seam import generate

SCALARS = {"affine": Affine, "spline": lambda: Spline(4)}


def randomised(transform, scale):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in transform.parameters():
            parameter.normal_(0, scale)
    return transform


@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize(
    ("features", "hidden", "residual"),
    [
        (1, (4,), False),
        (5, (), False),
        (6, (32, 48), False),
        (7, (24,) * 5, True),
        (7, (24,) * 3, "linear"),
        (30, (200, 200), False),
    ],
)
def test_the_same_as_whole_passes(scalar, context, features, hidden, residual):
    layer = masked(features, SCALARS[scalar](), context, hidden=hidden, residual=residual)
    transform = Compose([randomised(layer, 0.1 if features > 20 else 0.3).double()])
    z = torch.randn(3, 4, features, dtype=torch.float64, requires_grad=True)
    c = torch.randn(4, context, dtype=torch.float64, requires_grad=True) if context else None
    inputs = [z, *([c] if context else []), *transform.parameters()]
    got = transform.inverse(z, c)
    with pf.plain():
        expected = transform.inverse(z, c)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    grads = [
        torch.autograd.grad(x.sin().sum() + logdet.square().sum(), inputs, allow_unused=True, materialize_grads=True)
        for x, logdet in (got, expected)
    ]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-9, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(transform.inverse(z, c), expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(transform.generate(z, c), expected[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scalar", SCALARS)
def test_in_single_precision(scalar):
    transform = Compose([randomised(masked(43, SCALARS[scalar](), hidden=(128, 128)), 0.05)])
    z = torch.randn(64, 43)
    with torch.no_grad():
        x = transform.inverse(z)[0]
        torch.testing.assert_close(transform(x)[0], z, rtol=1e-5, atol=1e-5)
        with pf.plain():
            torch.testing.assert_close(x, transform.inverse(z)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("context", [0, 2])
def test_generating_feature_by_feature(context):
    net = randomised(masked(4, context=context, hidden=(16, 16)).net, 0.3)
    c = torch.randn(5, context) if context else None

    def drawn():
        seen = []

        def feature(j, params):
            seen.append(params.clone())
            return params[:1].tanh()

        with torch.no_grad():
            generate(net, torch.Size([5]), feature, c)
        return torch.stack(seen)

    with pf.plain():
        expected = drawn()
    torch.testing.assert_close(drawn(), expected)
