"""The steps of a Glow as one map: the same as one step after the other, except where somebody has to see them."""

import pytest
import torch

import pushforward as pf
from pushforward.nets.conv import ConvNet
from pushforward.testing import randomize
from pushforward.transforms import Affine, Channel, Compose, Conv1x1, Coupling, Squeeze
from pushforward.transforms.base import _flat, _joined
from pushforward.transforms.convolution import ImageSteps


def conv(channels=4, parametrisation="plu", normalize=True):
    return Conv1x1(channels, parametrisation, normalize=normalize)


def coupling(channels=4, context=0):
    split = Channel(channels)
    return Coupling(split, ConvNet(split.kept, split.moved, 2, context=context, hidden=(8, 8)), Affine())


def steps(count=3, context=0):
    """Nested, as the recipe has them."""
    torch.manual_seed(0)
    parts = [Compose([conv(), coupling(context=context)]) for _ in range(count)]
    return randomize(Compose([Squeeze(), *parts]).double())


def images(*batch):
    return torch.randn(*batch, 1, 4, 6, dtype=torch.float64)


def one_by_one(transform, x, context):
    """z and the log-determinant, by every leaf's own forward."""
    total = x.new_zeros(x.shape[:-3])
    for each in _flat(transform.transforms):
        x, logdet = each(x, context)
        total = total + logdet
    return x, total


@pytest.mark.parametrize("batch", [(5,), (), (2, 3)])
@pytest.mark.parametrize("context", [0, 2])
def test_the_same_as_one_by_one(batch, context):
    transform, x = steps(context=context), images(*batch).requires_grad_()
    c = torch.randn(*batch, 2, dtype=torch.float64) if context else None
    assert isinstance(transform._maps()[1], ImageSteps)
    expected, got = one_by_one(transform, x, c), transform(x, c)
    torch.testing.assert_close(got, expected)
    inputs = [x, *transform.parameters()]
    weights = torch.randn_like(got[0]), torch.randn_like(got[1])
    torch.testing.assert_close(*(torch.autograd.grad(out, inputs, weights) for out in (got, expected)))

    z = got[0].detach().requires_grad_()
    back, minus = transform.inverse(z, c)
    torch.testing.assert_close((back, minus), (x, -expected[1]))
    torch.testing.assert_close(transform.generate(z, c), x)
    expected = z
    for each in reversed(_flat(transform.transforms)):
        expected = each.inverse(expected, c)[0]
    inputs[0], weight = z, torch.randn_like(back)
    torch.testing.assert_close(
        *(torch.autograd.grad(out, inputs, weight, allow_unused=True) for out in (back, expected))
    )
    with torch.no_grad():
        torch.testing.assert_close(transform(x, c), one_by_one(transform, x, c))


def test_what_is_joined():
    def sizes(*transforms):
        return [len(getattr(each, "transforms", [each])) for each in _joined(_flat(transforms))]

    assert sizes(Squeeze(), Compose([conv(), coupling()]), Compose([conv(), coupling()])) == [1, 4]
    assert sizes(coupling(), conv(), coupling()) == [1, 2]
    assert sizes(conv(), coupling(), Squeeze(), conv(16), coupling(16)) == [3, 2]
    assert sizes(conv(parametrisation="qr"), coupling()) == [1, 1]
    assert sizes(conv(normalize=False), coupling(), conv(), coupling()) == [1, 1, 2]
    assert sizes(conv(), coupling(), conv(parametrisation="full"), coupling()) == [2, 1, 1]


def test_hooks_of_any_part_are_called():
    transform, x = steps(), images(2)
    alone, seen = transform(x), []
    for module in (transform.transforms[1], transform.transforms[2].transforms[0]):
        handle = module.register_forward_hook(lambda module, args, out: seen.append(out[0]))
        torch.testing.assert_close(transform(x), alone)
        assert len(seen) == 1
        handle.remove()
        seen.clear()


def test_another_step_in_the_place_of_one_counts():
    transform, x = steps(), images(2)
    before = transform(x)[1]
    transform.transforms[1].transforms[0] = randomize(conv().double())
    after = transform(x)
    assert not torch.allclose(before, after[1])
    torch.testing.assert_close(after, one_by_one(transform, x, None))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 16, 8)])
def test_images_are_handed_on_with_their_channels_first_in_memory(shape):
    """So that taking half of the channels is a view, and elementwise operations run along the pixels."""
    flow = randomize(pf.glow(shape, levels=2, steps=2, hidden=4))
    seen = []
    for module in flow.transform.modules():
        if isinstance(module, Conv1x1 | Coupling):
            module.register_forward_hook(lambda module, args, out: seen.append(out[0].movedim(1, 0).is_contiguous()))
    flow.log_prob(torch.randn(3, *shape))
    assert seen
    assert all(seen)
