"""Invertible convolutions against their definition and against autodiff."""

import pytest
import torch

from pushforward.saving.config import build, describe
from pushforward.transforms import ActNorm, AutoregressiveConv, Conv1x1, EmergingConv


def randomise(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn_like(p) * 0.2)
    return module


def autodiff_logdet(transform, x):
    jacobian = torch.func.jacrev(lambda v: transform(v)[0])(x).reshape(x.numel(), x.numel())
    return torch.linalg.slogdet(jacobian).logabsdet


@pytest.mark.parametrize("parametrisation", ["full", "plu", "qr"])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_1x1_convolution_is_W_at_every_pixel(parametrisation, normalize):
    conv = randomise(Conv1x1(3, parametrisation, normalize=normalize)).double()
    x = torch.randn(2, 5, 3, 4, 2, dtype=torch.float64)
    z, logdet = conv(x)
    norm = conv.norm if normalize else ActNorm(3, event_dim=3).double()
    torch.testing.assert_close(z, torch.einsum("oc,...chw->...ohw", conv.matrix.weight(), norm(x)[0]))
    torch.testing.assert_close(logdet, autodiff_logdet(conv, x[0, 0]).expand(2, 5))
    back, back_logdet = conv.inverse(z)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(back_logdet, -logdet)


def test_the_folded_normalisation_is_set_from_data():
    conv = Conv1x1(torch.eye(2), normalize=True)
    z = conv.initialize(torch.randn(50, 2, 3, 3) * 4 + 7)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3), correction=0), torch.ones(2))


def test_a_1x1_convolution_is_described_by_its_channels():
    conv = Conv1x1(torch.tensor([[2.0, 1.0], [0.0, -3.0]]), "qr")
    again = build(describe(conv))
    again.load_state_dict(conv.state_dict())
    x = torch.randn(2, 3, 3)
    assert torch.equal(again(x)[0], conv(x)[0])


def test_an_unknown_parametrisation_is_refused():
    with pytest.raises(ValueError, match="full, plu, qr"):
        Conv1x1(3, parametrisation="lu")


@pytest.mark.parametrize("reverse", [False, True])
def test_an_autoregressive_convolution_is_triangular_in_its_order(reverse):
    conv = randomise(AutoregressiveConv(2, 3, reverse=reverse)).double()
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda v: conv(v)[0])(x)  # (c, h, w, c, h, w); raster order has the channels last
    matrix = jacobian.permute(1, 2, 0, 4, 5, 3).reshape(24, 24)
    assert torch.equal(matrix, matrix.triu() if reverse else matrix.tril())
    torch.testing.assert_close(conv(x)[1], torch.linalg.slogdet(matrix).logabsdet)


@pytest.mark.parametrize(("channels", "size", "shape"), [(3, 3, (2, 5)), (1, 5, (4, 3)), (2, 1, (2, 2))])
def test_an_emerging_convolution_is_inverted_exactly_and_sees_all_around(channels, size, shape):
    conv = randomise(EmergingConv(channels, size)).double()
    x = torch.randn(2, 3, channels, *shape, dtype=torch.float64)
    z, logdet = conv(x)
    back, back_logdet = conv.inverse(z)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(back_logdet, -logdet)
    torch.testing.assert_close(logdet[0, 0], autodiff_logdet(conv, x[0, 0]))
    jacobian = torch.func.jacrev(lambda v: conv(v)[0])(x[0, 0])
    assert (jacobian[:, 0, 0, :, 0, 0] != 0).all()  # every channel reaches every channel at the pixel itself


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="size=4"):
        EmergingConv(3, size=4)
