"""The door to the fast room, as the environment has it."""

import importlib.util

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import pushforward as pf


@pytest.mark.parametrize(("value", "shut"), [("0", True), ("1", False)])
def test_the_environment_shuts_the_room(value, shut, monkeypatch):
    monkeypatch.setenv("PUSHFORWARD_FUSED", value)
    spec = importlib.util.find_spec("pushforward.transforms.seam")
    again = importlib.util.module_from_spec(spec)  # a second one, as a new process would read it
    spec.loader.exec_module(again)
    assert again.SHUT.get() is shut


@pytest.mark.usefixtures("fast_room")
def test_tensors_without_numbers_leave_nothing_behind():
    flow, x = pf.realnvp(3).requires_grad_(False).to(torch.float64), torch.zeros(7, 3, dtype=torch.float64)
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert flow.log_prob(torch.zeros(7, 3, dtype=torch.float64)).shape == (7,)
    with pf.plain():
        plain = flow.log_prob(x)
    torch.testing.assert_close(flow.log_prob(x), plain)
