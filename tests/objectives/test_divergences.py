"""Objectives: the losses that training minimises."""

from __future__ import annotations

import pytest
import torch

import pushforward as pf
from pushforward.objectives.divergences import Objective


def test_forward_kl_is_the_mean_negative_log_likelihood():
    flow = pf.realnvp(2, context=1, layers=2, hidden=(8,))
    x, context = torch.randn(6, 2), torch.randn(6, 1)
    objective = pf.ForwardKL(flow)
    expected = -flow.log_prob(x, context)
    torch.testing.assert_close(objective(x, context), expected.mean())
    torch.testing.assert_close(objective.held_out(x, context), expected)


def test_forward_kl_gradient_reaches_every_parameter():
    flow = pf.maf(3, layers=2, hidden=(8,))
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    pf.ForwardKL(flow)(torch.randn(64, 3)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in flow.parameters())


def test_an_objective_needs_a_density():
    with pytest.raises(TypeError, match="flow must be a density"):
        pf.ForwardKL(torch.nn.Linear(2, 2))


def test_the_base_class_says_nothing_about_the_loss():
    with pytest.raises(NotImplementedError):
        Objective(pf.maf(2, layers=1, hidden=(4,))).held_out(torch.zeros(1, 2))
