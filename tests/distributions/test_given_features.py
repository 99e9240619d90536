"""A density given features of its context is that density given the features, in every respect."""

from __future__ import annotations

import torch
from torch import nn

import pushforward as pf
from pushforward.distributions import Average, GivenFeatures
from pushforward.distributions.average import Recalibrated


def test_it_is_the_density_given_the_features() -> None:
    inner, features = pf.testing.randomize(pf.nsf(1, context=2, layers=1, hidden=(16,))), nn.Linear(4, 2)
    density, context = GivenFeatures(inner, features, context=4), torch.randn(7, 4)
    told, q = features(context).detach(), torch.rand(7)
    x = density.icdf(q, context)
    torch.testing.assert_close(x, inner.icdf(q, told))
    torch.testing.assert_close(density.cdf(x, context), q, atol=1e-5, rtol=0)
    torch.testing.assert_close(density(x, context), inner(x, told))
    (points, weights), (expected, same) = density.quadrature(context), inner.quadrature(told)
    torch.testing.assert_close(points, expected)
    torch.testing.assert_close(weights, same)
    draws = [
        each.sample((3,), c, generator=torch.Generator().manual_seed(0))
        for each, c in ((density, context), (inner, told))
    ]
    assert draws[0].shape == (3, 7, 1)
    assert torch.equal(*draws)


def test_an_average_computes_features_that_its_members_share_once() -> None:
    features, asked = nn.Linear(4, 2), list[str]()
    features.register_forward_hook(lambda *_: asked.append("features"))
    inner = [pf.testing.randomize(pf.nsf(1, context=2, layers=1, hidden=(16,)), seed=k) for k in range(2)]
    members = [GivenFeatures(each, features, context=4) for each in inner]
    average = Average([*members, pf.nsf(1, context=4, layers=1, hidden=(16,))])
    context, q = torch.randn(7, 4), torch.rand(7)
    x = average.icdf(q, context)
    assert asked == ["features"]
    torch.testing.assert_close(average.cdf(x, context), q, atol=1e-5, rtol=0)
    asked.clear()
    log_p = Recalibrated(average, 0.5).log_prob(x, context)
    assert asked == ["features"]
    expected = average.log_prob(x, context) + torch.log1p(0.5 * (6 * q * (1 - q) - 1))
    torch.testing.assert_close(log_p, expected, atol=1e-4, rtol=0)
