"""Checkerboard and channel splits."""

import pytest
import torch

from pushforward.nets.conv import ResidualConvNet
from pushforward.testing import randomize
from pushforward.transforms import Affine, Channel, Checkerboard, Coupling


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("split", [lambda s: Channel(3, s), lambda s: Checkerboard(5, 4, s)])
def test_joining_undoes_splitting_whatever_the_batch(split, swap):
    split = split(swap)
    for batch in ((), (2,), (2, 3)):
        x = torch.randn(*batch, 3, 5, 4)
        assert torch.equal(split.join(*split(x)), x)


def test_a_checkerboard_keeps_one_colour_of_squares_and_moves_the_other():
    kept, moved = Checkerboard(2, 3)(torch.ones(1, 2, 3))
    assert torch.equal(kept, torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]]))
    assert torch.equal(kept + moved, torch.ones(1, 2, 3))
    assert torch.equal(Checkerboard(2, 3, swap=True)(torch.ones(1, 2, 3))[0], moved)


def test_a_checkerboard_coupling_leaves_the_kept_squares_alone():
    split = Checkerboard(4, 5)
    net = randomize(ResidualConvNet(2, 2, 2, hidden=(6,), moved=1 - split.mask))
    x = torch.randn(3, 2, 4, 5)
    z = Coupling(split, net, Affine())(x)[0]
    kept = split.mask.bool().expand_as(x)
    assert torch.equal(z[kept], x[kept])
    assert (z[~kept] != x[~kept]).all()


def test_images_that_cannot_be_split_are_refused():
    with pytest.raises(ValueError, match="squeeze the image first"):
        Channel(1)
    with pytest.raises(ValueError, match="1 x 1"):
        Checkerboard(1, 1)
