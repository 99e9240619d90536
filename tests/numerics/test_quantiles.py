"""Quantiles of distribution functions: those that lie near an end of a wide bracket, too."""

from __future__ import annotations

import torch

from pushforward.numerics.quantiles import CLOSE, quantile_between


def test_quantiles_near_an_end_of_the_bracket_are_found() -> None:
    q = torch.tensor([1e-5, 1e-4, 0.3, 1 - 1e-4, 1 - 1e-5], dtype=torch.float64)
    for cdf in (lambda x: x * x * (3 - 2 * x), lambda x: x**0.1, lambda x: x**10):
        found = quantile_between(cdf, q, torch.zeros_like(q), torch.ones_like(q))
        assert float((cdf(found) - q).abs().max()) <= CLOSE
