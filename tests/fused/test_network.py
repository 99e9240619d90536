"""Masked weights in steps: where the zeros are skipped, and that nothing else is."""

from __future__ import annotations

import pytest
import torch

import pushforward as pf
from pushforward.fused.network import block_triangular, for_events

DEGREES = tuple(sorted(k % 42 + 1 for k in range(512)))


def test_few_events_are_multiplied_in_fewer_steps() -> None:
    pattern = block_triangular(DEGREES, DEGREES)
    steps = [len(for_events(pattern, n, 1 << 18).steps) for n in (0, 1, 2, 8, 64, 512)]
    assert steps == sorted(steps)
    assert steps[1] == 1
    assert steps[-1] == len(pattern.steps) > 4
    assert steps[1] < len(for_events(pattern, 512, 1 << 23).steps) < steps[-1]  # an engine whose calls are dearer


@pytest.mark.parametrize("n", [1, 3, 20])
def test_any_number_of_events_has_the_densities_and_gradients_of_the_formula(n: int) -> None:
    flow, x = pf.testing.randomize(pf.maf(43, layers=2, hidden=(512, 512))).double(), torch.randn(n, 43).double()

    def found() -> list[torch.Tensor]:
        given = x.clone().requires_grad_()
        density = flow.log_prob(given)
        return [density, *torch.autograd.grad(density.sum(), [given, *flow.parameters()])]

    fast = found()
    with pf.plain():
        torch.testing.assert_close(fast, found())
