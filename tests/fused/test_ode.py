"""The hand-written solve of two-layer fields: values and gradients of the plain one, and shut where that is."""

import pytest
import torch

import pushforward as pf
from pushforward.testing import randomize
from pushforward.transforms.seam import field_solve


@pytest.mark.parametrize("context", [0, 2])
def test_values_and_gradients_are_those_of_the_plain_solve(context):
    torch.manual_seed(0)
    flow = randomize(pf.ffjord(3, context=context, hidden=(8, 9), rtol=1e-9, atol=1e-9), scale=0.5).double()
    inputs = [torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)][: 1 + bool(context)]
    assert field_solve(flow.transform.field) is not None
    inputs = [value.requires_grad_() for value in inputs]
    found = []
    for shut in (False, True):
        with pf.plain() if shut else torch.enable_grad():
            log_prob = flow(*inputs)
        found.append((log_prob, *torch.autograd.grad(log_prob.sin().sum(), [*inputs, *flow.parameters()])))
    for fast, plain in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-6, atol=1e-8)


def test_it_is_shut_with_the_room_and_left_to_fields_that_are_watched():
    field = pf.ffjord(2).transform.field
    with pf.plain():
        assert field_solve(field) is None
    field.register_forward_hook(lambda *given: None)
    assert field_solve(field) is None
    assert field_solve(pf.ffjord(2, hidden=(4,)).transform.field) is None
