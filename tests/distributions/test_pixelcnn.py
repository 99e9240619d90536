"""The autoregressive CNN as a distribution."""

import itertools
import math

import pytest
import torch

import pushforward as pf
from pushforward.distributions.pixelcnn import CategoricalLevels, LogisticLevels
from pushforward.nets.pixelcnn import PixelNet
from pushforward.testing import check_flow, randomize


def every_image(shape, levels):
    numbers = itertools.product(range(levels), repeat=shape[0] * shape[1] * shape[2])
    return torch.tensor(list(numbers)).view(-1, *shape)


@pytest.mark.parametrize("conditional", ["categorical", "logistic"])
@pytest.mark.parametrize("shape", [(1, 2, 2), (3, 1, 1)])
def test_the_probabilities_of_all_images_sum_to_one(conditional, shape):
    model = randomize(pf.pixelcnn(shape, levels=3, hidden=6, layers=1, conditional=conditional)).double()
    total = model(every_image(shape, 3)).exp().sum()
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("conditional", ["categorical", "logistic"])
def test_samples_follow_the_probabilities(conditional):
    model = randomize(pf.pixelcnn((1, 1, 3), levels=2, hidden=6, layers=1, conditional=conditional), scale=1.0)
    images = every_image((1, 1, 3), 2)
    samples = model.sample((20_000,), generator=torch.Generator().manual_seed(0)).long()
    found = torch.stack([(samples == image).flatten(1).all(1).double().mean() for image in images])
    torch.testing.assert_close(found, model(images).exp().double(), atol=0.015, rtol=0)


def test_sampling_never_runs_the_whole_network(monkeypatch):
    model = pf.pixelcnn((1, 4, 4), levels=4, hidden=8, layers=2)
    monkeypatch.setattr(PixelNet, "forward", lambda *a: pytest.fail("a whole pass"))
    assert model.sample((2,)).shape == (2, 1, 4, 4)


def test_completing_keeps_what_is_given_and_follows_the_conditional():
    model = randomize(pf.pixelcnn((1, 2, 1), levels=2, hidden=6, layers=1), scale=1.0)
    x = torch.tensor([1, 0]).view(1, 1, 2, 1)
    ends = model.complete(x.expand(20_000, 1, 2, 1), 1, generator=torch.Generator().manual_seed(0))
    assert (ends[:, 0, 0] == 1).all()
    log_prob = model(torch.stack([x[0], torch.ones_like(x[0])])).detach()
    assert ends[:, 0, 1].mean() == pytest.approx(float(log_prob.softmax(0)[1]), abs=0.015)
    assert torch.equal(model.complete(x, 2), x.float())
    with pytest.raises(ValueError, match="rows must be from 0 to 2, got rows=3"):
        model.complete(x, 3)
    with pytest.raises(ValueError, match="temperature must be positive"):
        model.complete(x, 1, temperature=-1.0)


def test_it_meets_the_contract_of_densities():
    model = randomize(pf.pixelcnn((3, 2, 3), levels=5, hidden=6, layers=1, context=2))
    check_flow(model, torch.randint(0, 5, (6, 3, 2, 3)).float(), torch.randn(6, 2))


def test_the_start_is_uniform_and_training_improves_it():
    torch.manual_seed(0)
    model = pf.pixelcnn((1, 4, 4), levels=4, hidden=8, layers=1)
    x = torch.arange(4).repeat(4).view(1, 1, 4, 4).expand(16, 1, 4, 4)
    bits = pf.diagnostics.bits_per_dim(model(x), (1, 4, 4), levels=1)
    torch.testing.assert_close(bits, torch.full((16,), 2.0))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        (-model(x).mean()).backward()
        optimizer.step()
    assert pf.diagnostics.bits_per_dim(model(x), (1, 4, 4), levels=1).mean() < 0.3


@pytest.mark.parametrize("conditional", [CategoricalLevels(256), LogisticLevels(256)])
def test_far_parameters_give_finite_probabilities_and_gradients(conditional):
    x = torch.tensor([0, 128, 255]).view(3, 1, 1, 1)
    params = torch.full((conditional.num_params, 3, 1, 1, 1), 30.0, requires_grad=True)
    log_prob = conditional.log_prob(x, params)
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert params.grad.isfinite().all()


def test_low_temperature_samples_the_mode():
    model = randomize(pf.pixelcnn((1, 1, 2), levels=3, hidden=6, layers=1), scale=1.0)
    samples = model.sample((50,), temperature=1e-3)
    assert (samples == samples[0]).all()


def test_numbers_outside_the_levels_are_found_before_training():
    model = pf.pixelcnn((1, 2, 2), levels=16, hidden=4, layers=1)
    with pytest.raises(ValueError, match="from 0 to 16, but levels=16 allows 0 to 15"):
        model.initialize(torch.tensor([0, 16, 3, 4]).view(1, 1, 2, 2))
    with pytest.raises(ValueError, match="not whole"):
        model.initialize(torch.full((1, 1, 2, 2), 0.5))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="levels=1"):
        pf.pixelcnn((1, 4, 4), levels=1)
    with pytest.raises(ValueError, match="shape"):
        pf.pixelcnn((4, 4))
    with pytest.raises(ValueError, match="'categorical' or 'logistic'"):
        pf.pixelcnn((1, 4, 4), conditional="gaussian")


@pytest.mark.parametrize("conditional", ["categorical", "logistic"])
@pytest.mark.parametrize("value", [0.5, 9.0, -1.0, math.nan])
def test_numbers_that_are_no_levels_are_refused(conditional, value):
    """Images scaled to [0, 1] were read as nearly all 0."""
    model = pf.pixelcnn((1, 2, 2), levels=4, hidden=4, layers=1, conditional=conditional)
    with pytest.raises(ValueError, match=r"allows 0 to 3|not whole"):
        model.log_prob(torch.full((1, 1, 2, 2), value))
