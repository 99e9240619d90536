"""Sums of exponentials whose terms differ by more than any type can hold."""

from __future__ import annotations

import math

import pytest
import torch

from pushforward.numerics.logs import log_sum_exp


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [0, -1])
def test_it_is_the_logarithm_of_the_sum(dtype: torch.dtype, dim: int) -> None:
    log = 300 * torch.randn(7, 5, 6, dtype=dtype, generator=torch.Generator().manual_seed(0))
    assert torch.equal(log_sum_exp(log, dim), log.logsumexp(dim))


def test_its_gradient_is_the_share_of_each_term() -> None:
    log = (100 * torch.randn(4, 6, dtype=torch.float64)).requires_grad_()
    (found,) = torch.autograd.grad(log_sum_exp(log, -1).sum(), log)
    assert torch.allclose(found, log.softmax(-1), atol=1e-30)


def test_infinite_terms() -> None:
    log = torch.tensor([[-math.inf, 0.0], [-math.inf, -math.inf], [math.nan, 1.0]])
    found = log_sum_exp(log, -1)
    assert found[:2].tolist() == [0.0, -math.inf]
    assert found[2].isnan()
