"""A density of images in tensors: the probability of whole numbers, exact or bounded from below."""

from __future__ import annotations

import math

import pytest
import torch

import pushforward as pf
from pushforward.images.pixels import PixelDensity
from pushforward.testing import randomize


@pytest.mark.slow
@torch.no_grad()
def test_draws_of_the_noise_approach_the_probability_from_below() -> None:
    torch.manual_seed(0)
    flow = randomize(pf.pixels(pf.realnvp((1, 1, 2), layers=2, hidden=(4,)), levels=2), scale=0.5)
    every = torch.cartesian_prod(torch.arange(2), torch.arange(2)).view(4, 1, 1, 2).byte()
    continuous = pf.Flow(pf.transforms.Compose(list(flow.transform.transforms)[1:]), flow.base, event_shape=(1, 1, 2))
    u = (torch.arange(40) + 0.5) / 40
    grid = torch.cartesian_prod(u, u).view(-1, 1, 1, 1, 2)
    exact = (continuous((every + grid) / 2) - 2 * math.log(2)).logsumexp(0) - math.log(1600)
    many = PixelDensity(flow, 2).log_prob(every, draws=1000)
    torch.testing.assert_close(many, exact.double(), atol=0.1, rtol=0)
    one = torch.stack([PixelDensity(flow, 2, seed).log_prob(every) for seed in range(100)]).mean(0)
    assert (one < exact).all()


def test_an_image_without_probability_is_minus_infinity() -> None:
    flow = pf.pixels(pf.glow((1, 8, 8), levels=1, steps=1, hidden=4), levels=16)
    with torch.no_grad():
        next(flow.parameters()).fill_(math.nan)
    assert (PixelDensity(flow, 16).log_prob(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)) == -math.inf).all()
