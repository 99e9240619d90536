"""Toys: what is drawn has the stated entropy, and comes from the generator that is given."""

import math

import pytest
import torch

from pushforward.data import toy


@pytest.mark.parametrize("name", toy.ENTROPIES)
def test_draws_come_from_the_generator(name):
    draws = [toy.sample(name, 200, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert draws[0].shape == (200, 2)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("name", toy.ENTROPIES)
def test_entropy(name):
    """Kozachenko and Leonenko's estimate from nearest neighbours; its bias and spread are about 0.03 here."""
    n = 4000
    x = toy.sample(name, n, generator=torch.Generator().manual_seed(3)).double()
    nearest = torch.cat([torch.cdist(part, x).kthvalue(4, 1).values for part in x.split(1000)])  # itself and three more
    digamma_3 = 1 + 1 / 2 - 0.5772156649
    estimate = 2 * nearest.log().mean() + math.log(math.pi) + math.log(n - 1) - digamma_3
    assert float(estimate) == pytest.approx(toy.ENTROPIES[name], abs=0.1)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="name must be one of 8gaussians"):
        toy.sample("spiral", 3)
