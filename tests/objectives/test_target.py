"""The border to a user's log-density: every way it can be wrong is named in one sentence."""

from __future__ import annotations

import pytest
import torch

import pushforward as pf
from pushforward.objectives.target import check_target


def good(x):
    return -0.5 * x.square().sum(-1)


WRONG = {
    "fails": (lambda x: x @ torch.ones(7), TypeError, "fails on a batch of shape"),
    "always raises": (lambda x: 1 / 0, TypeError, "fails on a batch of shape.*division by zero"),
    "linear": (lambda x: x.sum(-1), ValueError, "does not fall off far out"),
    "a table": (lambda x: x, ValueError, r"got \(16, 2\): sum over the event"),
    "no number": (lambda x: "high", TypeError, "must return a tensor of shape"),
    "no function": (3.0, TypeError, "must be a function of a batch, got float"),
    "detached": (lambda x: good(x).detach(), ValueError, "without a gradient"),
    "constant": (lambda x: torch.zeros(len(x)), ValueError, "without a gradient"),
    "NaN": (
        lambda x: good(x) + (x[:, 0] - 9).log(),
        ValueError,
        r"log_density is -inf at x = \[.*pushforward\.constrain",
    ),
    "minus infinity": (
        lambda x: good(x).masked_fill(x[:, 0] < 9, -torch.inf),
        ValueError,
        r"is -inf at x = .*state its support",
    ),
    "NaN gradient": (lambda x: good(x) - (x[:, 0] * 0).sqrt(), ValueError, "gradient of log_density is nan"),
    "batch mates": (lambda x: good(x - x.mean(0)), ValueError, "depend on that row alone"),
    "flat": (lambda x: 0 * good(x), ValueError, "does not fall off far out"),
    "a flat ridge": (lambda x: -0.5 * x[:, 0].square(), ValueError, "has no normalising constant"),
    "slow tails": (lambda x: -1.5 * torch.log1p(good(x).abs()) / 2, ValueError, "does not fall off"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_targets(name):
    target, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        check_target(pf.realnvp(2, layers=2, hidden=(8,)), target)


PROPER = {
    "gaussian": good,
    "heavy tails": lambda x: -torch.log1p(x.square()).sum(-1),
    "quartic": lambda x: -x.pow(4).sum(-1),
    "funnel": lambda x: -x[:, 0].square() / 18 - 0.5 * x[:, 1].square() * (-x[:, 0]).exp() - 0.5 * x[:, 0],
    "per point": torch.func.vmap(lambda x: -0.5 * (x @ x)),
}


@pytest.mark.parametrize("name", PROPER)
def test_right_targets_pass(name):
    check_target(pf.realnvp(2, layers=2, hidden=(8,)), PROPER[name])


def test_the_check_leaves_random_numbers_and_parameters_alone():
    flow = pf.realnvp(2, layers=2, hidden=(8,))
    state = torch.get_rng_state()
    check_target(flow, good)
    assert torch.equal(state, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in flow.parameters())
