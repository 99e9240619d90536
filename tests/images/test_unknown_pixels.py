"""Missing numbers of images: draws follow the conditional, known exactly for models that are small."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward.diagnostics.averages import effective_draws
from pushforward.distributions.pixel_filter import fill_pixels
from pushforward.images.unknown_pixels import unknown_pixels
from pushforward.posterior.hmc import hmc
from pushforward.testing import randomize
from pushforward.training.batches import Rows

HOLES = {"one": [0, 1, 0], "around": [1, 0, 1], "last": [0, 1, 1], "all": [1, 1, 1]}


def every_image(shape: tuple[int, int, int], levels: int) -> Tensor:
    numbers = itertools.product(range(levels), repeat=math.prod(shape))
    return torch.tensor(list(numbers)).view(-1, *shape)


def shares(found: Tensor, kinds: Tensor) -> Tensor:
    """How often each kind of image is among the images."""
    return torch.stack([(found == kind).flatten(1).all(1).double().mean() for kind in kinds])


def fitting(images: Tensor, x: Tensor, hole: Tensor) -> Tensor:
    return ((images == x) | hole).flatten(1).all(1)


@pytest.mark.parametrize("shape", [(1, 2, 3), (3, 1, 2)])
@pytest.mark.parametrize("places", [[1, 3], [4, 5]])
def test_particles_follow_the_conditional(shape: tuple[int, int, int], places: list[int]) -> None:
    torch.manual_seed(0)
    model = randomize(pf.pixelcnn(shape, levels=3, hidden=12, layers=1), scale=1.0)
    x = torch.tensor([0, 2, 1, 2, 0, 1]).view(1, *shape)
    hole = torch.zeros(6, dtype=torch.bool).index_fill(0, torch.tensor(places), True).view(1, *shape)
    every = every_image(shape, 3)
    possible = every[fitting(every, x, hole)]
    truth = model(possible).detach().double().softmax(0)
    many = (2000, *shape)
    generator = torch.Generator().manual_seed(0)
    found, count = fill_pixels(model, x.expand(many), hole.expand(many), particles=64, generator=generator)
    assert (shares(found, possible) - truth).abs().max() < 0.035
    come_last = shape[0] == 1 and places == [4, 5]  # of colours, the pixel before has numbers after these
    assert (float(count.mean()) > 63.99) == come_last


@pytest.mark.slow
def test_particles_read_the_context_and_leave_whole_images_alone() -> None:
    torch.manual_seed(0)
    model = randomize(pf.pixelcnn((1, 2, 2), levels=4, hidden=6, layers=1, context=2), scale=1.5)
    x, context = torch.tensor([[1, 0, 3, 2]] * 4).view(4, 1, 2, 2).float(), torch.eye(2).repeat(2, 1)
    hole = torch.zeros(4, 1, 2, 2, dtype=torch.bool)
    hole[:2, :, 0, 0] = True
    x[:2, :, 0, 0] = math.nan
    found, count = fill_pixels(model, x, hole, context, particles=8)
    assert torch.equal(found[~hole], x[~hole])
    assert found.isfinite().all()
    assert count[2:].isinf().all()
    odds = []
    for given in torch.eye(2):
        many = x[:1].expand(1500, 1, 2, 2), hole[:1].expand(1500, 1, 2, 2), given.expand(1500, 2)
        drawn, _ = fill_pixels(model, *many, particles=32, generator=torch.Generator().manual_seed(0))
        images = drawn[:1].repeat(4, 1, 1, 1).index_put((torch.arange(4), *torch.zeros(3, 4).long()), torch.arange(4.0))
        truth = model(images, given.expand(4, 2)).detach().double().softmax(0)
        torch.testing.assert_close(shares(drawn, images), truth, atol=0.04, rtol=0)
        odds.append(truth)
    assert (odds[0] - odds[1]).abs().max() > 0.05  # or the context would not be seen


@pytest.fixture(scope="module")
def small_flow() -> pf.Flow:
    torch.manual_seed(0)
    return randomize(pf.pixels(pf.realnvp((1, 1, 3), layers=4, hidden=(8, 8)), levels=3), scale=0.5)


@pytest.mark.parametrize("missing", HOLES)
def test_chains_follow_the_conditional_of_a_flow(missing: str, small_flow: pf.Flow) -> None:
    """The truth is the integral of the density over each image's cell, by Gauss-Legendre points."""
    nodes, weights = (torch.from_numpy(part).float() / 2 for part in np.polynomial.legendre.leggauss(8))
    points = torch.cartesian_prod(*[nodes + 0.5] * 3).view(-1, 1, 1, 3)
    weight = torch.cartesian_prod(*[weights] * 3).prod(1)
    every = every_image((1, 1, 3), 3)
    whole = unknown_pixels(small_flow, Rows(every[:1]), torch.zeros(1, 1, 1, 3, dtype=torch.bool))
    truth = torch.stack([(whole.log_density(image + points).exp() * weight).sum() for image in every]).detach()
    x, hole = torch.tensor([[[[1, 0, 2]]]]), torch.tensor(HOLES[missing]).bool().view(1, 1, 1, 3)
    some = fitting(every, x, hole)
    many = (400, 1, 1, 3)
    chains = unknown_pixels(small_flow, Rows(x.expand(many)), hole.expand(many))
    generator = torch.Generator().manual_seed(0)
    y, _ = hmc(chains.target(), chains.draws(generator), 20, 20, generator, chains.target)
    found = torch.where(hole, chains.numbers(y.flatten(0, 1)), x)
    assert (shares(found, every[some]) - truth[some] / truth[some].sum()).abs().max() < 0.025


@pytest.mark.slow
def test_chains_follow_the_conditional_of_gaussian_images_with_noise() -> None:
    r"""With y ~ N(0, Sigma), a known number of many levels says that y_j ~ N(v(x_j), sigma²); what is drawn for an
    unknown one is without the noise, :math:`\mathbb{E}[x \mid y] = y - \sigma^2\, \Sigma^{-1} y`."""
    noise, levels = 0.1, 101
    sigma = torch.tensor([[0.09, 0.06, 0.02], [0.06, 0.09, -0.02], [0.02, -0.02, 0.09]])
    first = pf.transforms.GaussianNoise(noise, levels)
    whiten = pf.transforms.Linear(torch.linalg.cholesky(sigma).inverse())
    parts = [first, pf.transforms.Patches((1, 1, 3), 1), whiten]
    flow = pf.Flow(pf.transforms.Compose(parts), 3, event_shape=(1, 1, 3))
    x, hole = torch.tensor([[[[70.0, 0.0, 40.0]]]]), torch.tensor([[[[False, True, False]]]])
    known = torch.tensor([True, False, True])
    precision = sigma.inverse() + torch.diag(known / noise**2)
    mean = torch.linalg.solve(precision, known * first.centre(x).flatten() / noise**2)
    clean = torch.eye(3) - noise**2 * sigma.inverse()
    expected = (clean @ mean)[1], (clean @ precision.inverse() @ clean.T)[1, 1].sqrt()
    chains = unknown_pixels(flow, Rows(x.expand(400, 1, 1, 3)), hole.expand(400, 1, 1, 3))
    generator = torch.Generator().manual_seed(0)
    y, _ = hmc(chains.target(), chains.draws(generator), 20, 40, generator, chains.target)
    found = first.centre(chains.numbers(y.flatten(0, 1))[..., 1])
    assert float(found.mean()) == pytest.approx(float(expected[0]), abs=0.01)
    assert float(found.std()) == pytest.approx(float(expected[1]), rel=0.05)


def test_effective_draws_are_all_of_independent_ones_and_few_of_chains_that_stay_apart() -> None:
    noise = torch.randn(4, 200, 3, generator=torch.Generator().manual_seed(0))
    assert effective_draws(noise) > 600
    slow = noise.clone()
    for k in range(1, 200):
        slow[:, k] = 0.9 * slow[:, k - 1] + math.sqrt(0.19) * noise[:, k]
    assert 20 < effective_draws(slow) < 100  # 800 (1 - 0.9) / (1 + 0.9) = 42
    apart = noise + 20 * torch.arange(4)[:, None, None]
    assert effective_draws(apart) < 8
    assert effective_draws(torch.ones(2, 10, 3)) == 20
