"""A category whose logits are its context: a probability, draws of it, and scores that are too sure made right."""

from __future__ import annotations

import torch

from pushforward.distributions import Softmax


def test_probabilities_sum_to_one_and_draws_follow_them() -> None:
    density, scores = Softmax(3), torch.tensor([[0.0, 1.0, -2.0]])
    each = density.log_prob(torch.arange(3.0)[:, None], scores).exp()
    torch.testing.assert_close(each.sum(), torch.tensor(1.0))
    draws = density.sample((20_000,), scores, generator=torch.Generator().manual_seed(0))[..., 0]
    shares = torch.stack([(draws == k).float().mean() for k in range(3)])
    torch.testing.assert_close(shares, each, atol=0.015, rtol=0)
    outside = density.log_prob(torch.tensor([[3.0], [-1.0], [0.5]]), scores)
    assert bool(outside.isneginf().all())


def test_scores_that_are_too_sure_are_made_right() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(4000, 2, generator=generator)
    codes = torch.multinomial(truth.softmax(1), 1, generator=generator).float()
    density = Softmax(2).fit(codes, 5 * truth + torch.tensor([1.0, 0.0]), torch.ones(4000))
    assert abs(density.scale.item() - 0.2) < 0.03
    found = density.log_prob(torch.ones(4000, 1), 5 * truth + torch.tensor([1.0, 0.0])).exp().detach()
    assert float((found - truth.softmax(1)[:, 1]).abs().mean()) < 0.02
