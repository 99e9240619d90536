"""Couplings that preserve volume, and checkerboard and channel splits."""

from __future__ import annotations

import pytest
import torch

from pushforward.nets import MLP
from pushforward.nets.conv import ResidualConvNet
from pushforward.testing import randomize
from pushforward.transforms import GIN, Affine, Channel, Checkerboard, Coupling, Half


def test_volume_is_preserved_although_features_are_scaled() -> None:
    gin = randomize(GIN(Half(6), MLP(3, 3, 2, hidden=(8,))), scale=2.0).double()
    x = torch.randn(6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: gin(v)[0], x)
    torch.testing.assert_close(torch.linalg.det(jacobian), torch.ones((), dtype=torch.float64))
    assert (jacobian.diagonal()[3:] - 1).abs().min() > 0.01


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"limit must be positive, got limit=0\.0"):
        GIN(Half(2), MLP(1, 1, 2), 0.0)
    with pytest.raises(ValueError, match="parts of a Checkerboard overlap"):
        GIN(Checkerboard(2, 2), MLP(1, 1, 2))


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
