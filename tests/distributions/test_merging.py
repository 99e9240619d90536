"""Two components of a mixture become one: which, and what stays as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward.distributions.merging import merged
from pushforward.distributions.mixture import GaussianMixture


def mixture(components: int = 5, context: int = 0) -> GaussianMixture:
    torch.manual_seed(0)
    made = pf.gmm(3 - context, components=components, context=context).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.6 * torch.randn_like(parameter))
    return made


def moments(of: GaussianMixture) -> tuple[Tensor, Tensor]:
    w, mu = of.logits.softmax(0), of.loc
    return w @ mu, torch.einsum("k,kij->ij", w, of.covariances() + mu[:, :, None] * mu[:, None, :])


@pytest.mark.parametrize("context", [0, 1])
def test_mean_and_covariance_stay(context: int) -> None:
    before = mixture(context=context)
    after = merged(before)
    assert len(after.logits) == 4
    assert after.context_features == context
    for one, other in zip(moments(before), moments(after), strict=True):
        assert torch.allclose(one, other)
    assert torch.allclose(after.logits.exp().sum(), torch.ones(()).double())


def test_of_a_component_in_two_halves_one_is_made() -> None:
    whole, x = mixture(3), torch.randn(50, 3, dtype=torch.float64)
    halves = pf.gmm(3, components=4).double()
    with torch.no_grad():
        for name, parameter in halves.named_parameters():
            own = getattr(whole, name)
            parameter.copy_(torch.cat([own, own[1:2]]))
        halves.logits[[1, 3]] -= torch.tensor(2.0).log()
    assert torch.allclose(halves.log_prob(x), whole.log_prob(x))
    assert torch.allclose(merged(halves).log_prob(x), whole.log_prob(x))
