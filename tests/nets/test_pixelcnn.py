"""The masked network leaks nothing, sees everything before, and gives the same number by number."""

import math
from contextlib import nullcontext

import pytest
import torch

import pushforward as pf
from pushforward.nets.pixelcnn import AcrossConv, PixelNet, PixelSteps
from pushforward.testing import randomize
from pushforward.transforms.seam import pixel_steps


def network(colours, context=0, hidden=12):
    torch.manual_seed(0)
    return randomize(PixelNet(colours, 2, hidden=hidden, layers=2, context=context)).double()


def raster_jacobian(net, shape):
    """|d params / d x| summed over parameters, both in raster order with the colours innermost.

    Summed over several x too: a unit may be switched off at one of them.
    """
    generator = torch.Generator().manual_seed(0)
    size = math.prod(shape)
    jacobian = torch.zeros(*shape, *shape, dtype=torch.float64)
    for _ in range(8):
        x = torch.rand(1, *shape, dtype=torch.float64, generator=generator) * 2 - 1
        jacobian += torch.autograd.functional.jacobian(net, x)[:, 0, ..., 0, :, :, :].abs().sum(0)
    return jacobian.permute(1, 2, 0, 4, 5, 3).reshape(size, size)


@pytest.mark.parametrize("shape", [(1, 5, 4), (3, 3, 4)])
def test_no_number_depends_on_itself_or_a_later_one(shape):
    jacobian = raster_jacobian(network(shape[0]), shape)
    assert jacobian.triu().max() == 0


def test_there_is_no_blind_spot():
    jacobian = raster_jacobian(network(1), (1, 5, 6))
    earlier = torch.ones_like(jacobian).tril(-1).bool()
    assert (jacobian[earlier] > 0).all()


def test_colours_of_a_pixel_follow_one_another():
    jacobian = raster_jacobian(network(3, hidden=48), (3, 1, 1))  # of four units a colour all may be switched off
    assert jacobian[1, 0] > 0  # green sees red
    assert jacobian[2, 0] > 0  # blue sees red
    assert jacobian[2, 1] > 0  # and green


def test_context_reaches_every_number():
    net = network(3, context=2)
    x, context = torch.zeros(1, 3, 2, 2, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda c: net(x, c), context)
    assert (jacobian.abs().sum((0, -1, -2)) > 0).all()


@pytest.mark.parametrize("shut", [False, True])
@pytest.mark.parametrize("colours", [1, 3])
def test_number_by_number_equals_the_parallel_pass(colours, shut):
    net = network(colours, context=2)
    x = torch.rand(2, colours, 4, 3, dtype=torch.float64) * 2 - 1
    context = torch.randn(2, 2, dtype=torch.float64)
    expected = net(x, context)
    with pf.plain() if shut else nullcontext():
        steps = pixel_steps(net, torch.zeros_like(x), context)
    assert not shut or type(steps) is PixelSteps
    for i in range(4):
        steps.begin_row(i)
        for j in range(3):
            for c in range(colours):
                torch.testing.assert_close(steps.params(i, j)[..., c], expected[:, :, c, i, j])
                steps.fill(i, j, c, x[:, c, i, j])
            steps.begin_pixel()


def test_fewer_channels_than_colours_are_refused():
    with pytest.raises(ValueError, match="3 colour channels"):
        AcrossConv(2, 6, 2, 3)
    with pytest.raises(ValueError, match="layers=0"):
        PixelNet(1, 2, layers=0)
