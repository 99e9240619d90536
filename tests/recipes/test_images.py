"""Flows of images against autodiff, of every size, and given classes; and the levels of the autoregressive CNN."""

import pytest
import torch

import pushforward as pf
from pushforward.nets.conv import ContextBias
from pushforward.testing import CheckError, check_flow, randomize

FLOWS = {
    "glow": lambda shape, context: pf.glow(shape, context=context, levels=2, steps=2, hidden=6),
    "glow reversible": lambda shape, context: pf.glow(
        shape, context=context, levels=1, steps=2, hidden=6, reversible=True
    ),
    "realnvp": lambda shape, context: pf.realnvp(shape, context=context, layers=4, hidden=(6,)),
}


def autodiff_logdet(flow, x, context):
    jacobian = torch.autograd.functional.jacobian(lambda v: flow.transform(v, context)[0], x)
    return torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel())).logabsdet


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 4, 4), (1, 8, 8)])
@pytest.mark.parametrize("name", FLOWS)
def test_log_determinants_are_those_of_autodiff(name, shape, context):
    flow = randomize(FLOWS[name](shape, context)).double()
    x = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    given = torch.eye(3, dtype=torch.float64)[:2] if context else None
    flow.initialize(x, given)
    z, logdet = flow.transform(x, given)
    expected = [autodiff_logdet(flow, x[i], None if given is None else given[i]) for i in range(2)]
    torch.testing.assert_close(logdet, torch.stack(expected))
    back, back_logdet = flow.transform.inverse(z, given)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(back_logdet, -logdet)


@pytest.mark.parametrize("name", FLOWS)
def test_the_class_reaches_every_network_and_changes_density_and_samples(name):
    flow = randomize(FLOWS[name]((1, 8, 8), 3))
    x, classes = torch.rand(4, 1, 8, 8), torch.eye(3)
    flow(x, classes[0]).sum().backward()
    weights = [module.weight for module in flow.modules() if isinstance(module, ContextBias)]
    assert len(weights) >= 2
    for weight in weights:
        assert weight.grad[:, 0].abs().sum() > 0
        assert weight.grad[:, 1:].abs().sum() == 0  # of classes that were not given
    log_prob = torch.stack([flow(x, one) for one in classes])
    assert (log_prob.std(0) > 0).all()
    noise = [flow.sample((2,), one, generator=torch.Generator().manual_seed(0)) for one in classes]
    assert not torch.allclose(noise[0], noise[1])


@pytest.mark.parametrize("shape", [(1, 6, 10), (3, 2, 4), (1, 5, 7), (2, 9, 8), (1, 1, 6)])
def test_non_square_and_odd_images_come_back_in_float32(shape):
    even = shape[1] % 2 == shape[2] % 2 == 0
    flow = pf.glow(shape, levels=1, steps=3, hidden=6) if even else pf.realnvp(shape, layers=4, hidden=(6,))
    flow = randomize(flow, scale=0.2)
    x = torch.rand(6, *shape)
    flow.initialize(x)
    assert check_flow(flow, x, tolerance=1e-3).round_trip_error < 1e-3


def test_an_inverse_that_is_not_good_enough_is_reported_with_its_error():
    flow = randomize(pf.glow((1, 4, 4), levels=2, steps=2, hidden=6))
    with pytest.raises(CheckError, match=r"\d"):
        check_flow(flow, torch.rand(6, 1, 4, 4), tolerance=1e-12)


@pytest.mark.parametrize("conditional", ["categorical", "logistic"])
@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_number_of_the_pixelcnn_has_a_distribution_over_its_levels(channels, levels, conditional):
    model = pf.pixelcnn((channels, 3, 2), levels=levels, hidden=8, layers=1, conditional=conditional)
    model = randomize(model, scale=0.3).double()
    x = torch.randint(0, levels, (2, channels, 3, 2))
    params = model.net(2 * x.double() / (levels - 1) - 1, None)
    every = [model.conditional.log_prob(torch.full_like(x, level), params) for level in range(levels)]
    total = torch.stack(every).exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total))
    log_prob = torch.stack(every).gather(0, x[None])[0].flatten(1).sum(1)
    torch.testing.assert_close(model(x), log_prob)
    samples = model.sample((20,))
    assert 0 <= samples.min() <= samples.max() <= levels - 1
    assert torch.equal(samples, samples.round())
