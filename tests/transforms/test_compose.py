"""Compositions are sequences of their transforms, and an inverse keeps what its transform can do."""

from __future__ import annotations

import pytest
import torch

import pushforward as pf
from pushforward.nets.field import MLPField
from pushforward.testing import randomize
from pushforward.transforms import ActNorm, Compose, Continuous, Conv1x1, Diagonal, Inverse, Permutation


def three() -> Compose:
    return randomize(Compose([Diagonal(3), Permutation([2, 0, 1]), ActNorm(3)]))


def test_a_composition_has_a_length_items_and_an_iterator():
    chain = three()
    assert len(chain) == 3
    assert list(chain) == list(chain.transforms)
    assert chain[0] is chain.transforms[0]
    assert chain[-1] is chain.transforms[2]
    with pytest.raises(IndexError):
        chain[3]


def test_a_slice_is_the_composition_of_the_same_transforms():
    chain, x = three(), torch.randn(5, 3)
    part = chain[1:]
    assert isinstance(part, Compose)
    assert list(part) == [chain[1], chain[2]]
    z, first = chain[:1](x)
    z, second = part(z)
    torch.testing.assert_close((z, first + second), chain(x))
    with pytest.raises(ValueError, match="transforms is empty"):
        chain[3:]


@pytest.mark.parametrize("normalized", [ActNorm(4, event_dim=3), Conv1x1(4, normalize=True)], ids=["norm", "conv"])
def test_an_inverse_is_initialised_so_that_its_own_output_is_normalised(normalized):
    x = 3 + 2 * torch.randn(64, 4, 3, 3)
    inverse = Inverse(Compose([normalized, Inverse(Inverse(ActNorm(4, event_dim=3)))]))
    z = inverse.initialize(x)
    torch.testing.assert_close(z, inverse(x)[0])
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3), correction=0), torch.ones(4), atol=1e-4, rtol=0)


def test_an_inverse_keeps_the_density_at_a_time():
    inner = randomize(Continuous(MLPField(2, hidden=(8,))).double())
    x = torch.randn(6, 2, dtype=torch.float64)
    flow = pf.Flow(Inverse(Compose([Diagonal(2), inner])), 2).double()
    assert flow.transform.continuous
    torch.testing.assert_close(flow.log_prob(x, t=1.0), flow.log_prob(x), atol=1e-4, rtol=1e-4)
    moved, logdet = Inverse(inner).at(0.25)(x)  # from time 0.75 of the inner transform to 1
    start = inner.at(0.75)(x)[0]
    torch.testing.assert_close(moved, inner.inverse(start)[0])
    assert logdet.abs().max() > 1e-3
    double = Inverse(Inverse(inner))
    torch.testing.assert_close(double.at(0.3)(x), inner.at(0.3)(x))


def test_discrete_parts_of_a_continuous_flow_have_no_time():
    inner = Continuous(MLPField(2, hidden=(8,)))
    chain = Compose([Inverse(Diagonal(2)), Compose([Permutation([1, 0])]), inner])
    assert chain.at(0.5)(torch.zeros(1, 2))[0].shape == (1, 2)
    assert not Inverse(Diagonal(2)).continuous
    with pytest.raises(ValueError, match="is discrete"):
        Inverse(Diagonal(2)).at(0.5)
