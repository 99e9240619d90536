"""MADE: which outputs see which inputs, by the Jacobian."""

import time

import pytest
import torch

from pushforward.nets.made import MADE


def randomised(*args, **kwargs):
    torch.manual_seed(0)
    net = MADE(*args, **kwargs).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
    return net


@pytest.mark.parametrize("features", [1, 2, 5, 9])
@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize(
    ("hidden", "residual"),
    [((), False), ((16,), False), ((9, 24), False), ((16, 16, 16), True), ((16, 16, 16), "linear")],
)
def test_each_output_sees_exactly_what_comes_before(features, context, hidden, residual):
    net = randomised(features, 2, context=context, hidden=hidden, residual=residual)
    c = torch.randn(context, dtype=torch.float64) if context else None
    seen = torch.zeros(features, features, dtype=torch.bool)
    for _ in range(32):  # a rectifier may be off at one point, not at all of them
        x = torch.randn(features, dtype=torch.float64) * 3
        jacobian = torch.autograd.functional.jacobian(lambda v: net(v, c), x)  # (2, outputs, inputs)
        seen |= (jacobian != 0).any(0)
    assert torch.equal(seen, torch.ones(features, features, dtype=torch.bool).tril(-1))


def test_context_reaches_every_output():
    net = randomised(4, 2, context=2, hidden=(16, 16))
    jacobian = torch.zeros(2, 4, 2, dtype=torch.float64)
    for _ in range(8):
        x, c = torch.randn(4, dtype=torch.float64), torch.randn(2, dtype=torch.float64)
        jacobian += torch.autograd.functional.jacobian(lambda v, x=x: net(x, v), c).abs()
    assert (jacobian > 0).all()


def test_no_input_is_ignored_by_a_wide_event():
    net = randomised(100, 1, hidden=(100, 130))
    x = torch.randn(32, 100, dtype=torch.float64, requires_grad=True)
    net(x)[0, :, -1].sum().backward()
    assert (x.grad.abs().sum(0)[:-1] > 0).all()  # the last parameters see all 99 features before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"features": 0, "num_params": 2}, "at least 1"),
        ({"features": 100, "num_params": 2, "hidden": (64, 64)}, r"hidden=\(64, 64\).*features=100.*at least 99"),
        ({"features": 8, "num_params": 2, "hidden": (7,), "context": 1}, "at least 8"),
        ({"features": 3, "num_params": 2, "hidden": (8, 8), "residual": True}, "odd number"),
        ({"features": 3, "num_params": 2, "hidden": (8, 8, 9), "residual": True}, "one width"),
    ],
)
def test_bad_sizes_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        MADE(**arguments)


def test_a_width_that_is_a_tensor_counts_as_fast_as_a_number():
    start = time.process_time()
    net = MADE(3, 2, hidden=torch.tensor([100_000]))
    assert net.degrees == MADE(3, 2, hidden=(100_000,)).degrees
    assert time.process_time() - start < 10


def test_a_width_that_is_no_whole_number_is_refused():
    with pytest.raises(TypeError):
        MADE(3, 2, hidden=(8.5,))
