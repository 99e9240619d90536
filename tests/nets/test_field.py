"""Fields: start at rest, see time and context, keep rows apart, and can be saved."""

import pytest
import torch

from pushforward.nets.field import ConvField, FourierField, MLPField, ResidualField, SquashField, tanh
from pushforward.saving.config import build, describe
from pushforward.testing import randomize

FIELDS = {
    "mlp": lambda c: MLPField(3, context=c, hidden=(8, 8)),
    "linear": lambda c: MLPField(3, context=c, hidden=()),
    "residual": lambda c: ResidualField(3, context=c, hidden=8),
    "squash": lambda c: SquashField(3, context=c, hidden=(8, 8)),
    "fourier": lambda c: FourierField(3, context=c, hidden=(8, 8), frequencies=5),
    "fourier, no hidden layer": lambda c: FourierField(3, context=c, hidden=(), frequencies=5),
    "conv": lambda c: ConvField(3, context=c, hidden=(4, 4)),
}


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("name", FIELDS)
def test_fields(name, context):
    generator = torch.Generator().manual_seed(0)
    shape = (5, 3, 4, 4) if name == "conv" else (5, 3)
    z = torch.randn(*shape, generator=generator)
    t = torch.rand(5, *(1,) * (len(shape) - 1), generator=generator)
    c = torch.randn(5, context, generator=generator) if context else None
    field = FIELDS[name](context)
    assert field(t, z, c).abs().max() == 0
    randomize(field)
    out = field(t, z, c)
    assert out.shape == z.shape
    assert not torch.allclose(field(t + 0.5, z, c), out)
    if context:
        assert not torch.allclose(field(t, z, c + 1), out)
    alone = field(t[2:3], z[2:3], None if c is None else c[2:3])
    torch.testing.assert_close(alone, out[2:3])
    copy = build(describe(field))
    copy.load_state_dict(field.state_dict())
    assert torch.equal(copy(t, z, c), out)


def test_tanh_is_tanh():
    a = torch.linspace(-50, 50, 4001)
    torch.testing.assert_close(tanh(a), torch.tanh(a), rtol=0, atol=2e-7)
    torch.testing.assert_close(tanh(a.double()), torch.tanh(a.double()), rtol=0, atol=4e-16)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLPField(0),
        lambda: MLPField(2, hidden=(0,)),
        lambda: MLPField(2, scale=0.0),
        lambda: SquashField(2, hidden=(0,)),
        lambda: ResidualField(2, blocks=0),
        lambda: FourierField(2, frequencies=0),
        lambda: FourierField(2, scale=-1.0),
        lambda: ConvField(1, kernel=2),
    ],
)
def test_wrong_sizes_are_refused(make):
    with pytest.raises(ValueError, match="must be"):
        make()
