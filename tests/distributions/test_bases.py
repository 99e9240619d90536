"""Bases with parameters: their draws follow their densities, gradients reach them, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward import distributions as D
from pushforward.numerics.tails import student_t
from pushforward.testing import randomize

LINE = {
    "diagonal normal": D.DiagonalNormal,
    "full normal": D.FullNormal,
    "student t": lambda m, **c: D.StudentT(m, 2.0, **c),
    "laplace": lambda m, **c: D.GeneralisedNormal(m, 1.0, **c),
    "nearly uniform": lambda m, **c: D.GeneralisedNormal(m, 20.0, **c),
    "resampled": lambda m, **c: D.Resampled(m, hidden=(8,), points=1024, **c),
}
CIRCLE = {
    "von mises": lambda m, **c: D.VonMises(m, 2.5, 3.0, **c),
    "spread von mises": lambda m, **c: D.VonMises(m, **c),
}
BASES = LINE | CIRCLE


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("name", BASES)
def test_draws_follow_the_density(name, context):
    base = randomize(BASES[name](1, context=context).double(), scale=0.3)
    given = torch.randn(context, generator=seeded(1), dtype=torch.float64) if context else None
    if name in CIRCLE:
        nodes = torch.linspace(-math.pi, math.pi, 2001, dtype=torch.float64)
        slope = torch.ones_like(nodes)
    else:
        u = torch.linspace(-9, 9, 4001, dtype=torch.float64)
        nodes, slope = u.sinh(), u.cosh() * (u[1] - u[0]) / (u.sinh()[1] - u.sinh()[0])
    with torch.no_grad():
        height = base.log_prob(nodes[:, None], given).exp() * slope * (nodes[1] - nodes[0])
    below = torch.cumsum(height, 0) - 0.5 * height
    assert abs(float(height[:-1].sum()) - 1) < 1e-3  # the last point of a circle is the first
    drawn = base.sample((20_000,), given, generator=seeded())[:, 0].sort().values
    found = torch.searchsorted(drawn, nodes) / len(drawn)
    assert float((found - below).abs().max()) < 1.95 / len(drawn) ** 0.5  # Kolmogorov-Smirnov, one in a thousand


@pytest.mark.parametrize("name", ["diagonal normal", "full normal", "student t", "laplace"])
def test_reparameterised_draws_of_a_flow_train_its_base(name):
    flow = randomize(pf.Flow(pf.realnvp(2, layers=1, hidden=(8,)).transform, LINE[name](2)))
    x, _ = flow.rsample_and_log_prob((4,), generator=seeded())
    gradients = torch.autograd.grad(x.sum(), list(flow.base.parameters()), allow_unused=True)
    assert sum(float(g.abs().sum()) for g in gradients if g is not None) > 0


def test_the_context_reaches_the_base_of_every_flow():
    context = torch.randn(6, 3, generator=seeded())
    transform = pf.nsf(2, context=3, layers=1, hidden=(8,)).transform
    flow = randomize(pf.Flow(transform, D.DiagonalNormal(2, context=3), context=3))
    x = torch.zeros(6, 2)
    z, logdet = flow.transform(x, context)
    torch.testing.assert_close(flow.log_prob(x, context), flow.base.log_prob(z, context) + logdet)
    assert (flow.base.log_prob(z, context) != flow.base.log_prob(z, context + 1)).all()
    continuous = pf.Flow(pf.ffjord(2, context=3, hidden=(8,)).transform, flow.base, context=3)
    assert pf.FlowMatching(continuous)(x, context).isfinite()
    assert pf.RegularisedLikelihood(continuous)(x, context).isfinite()


def test_student_t_agrees_with_torch_for_every_number_of_degrees():
    t = torch.linspace(-50, 50, 101, dtype=torch.float64)
    for df in (0.1, 1.0, 7.9, 8.1, 100.0, 1e5):
        want = torch.distributions.StudentT(torch.tensor(df, dtype=torch.float64)).log_prob(t)
        torch.testing.assert_close(student_t(t, torch.tensor(df, dtype=torch.float64)), want, rtol=1e-9, atol=1e-9)
    single = student_t(t.float(), torch.tensor(1e6))
    torch.testing.assert_close(single, -0.5 * t.float().square() - 0.5 * math.log(2 * math.pi), rtol=2e-3, atol=1e-4)


def test_starts_are_what_the_arguments_say():
    x = torch.randn(5, 2, generator=seeded())
    normal = D.StandardNormal((2,)).log_prob(x)
    for base in (D.DiagonalNormal(2), D.FullNormal(2), D.GeneralisedNormal(2)):
        torch.testing.assert_close(base.log_prob(x), normal)
    torch.testing.assert_close(D.StudentT(2, [1e7, 1e7]).log_prob(x), normal, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(D.Resampled(2).log_prob(x), normal)  # a network that says 1/2 everywhere
    angles = torch.distributions.VonMises(0.3, 2.0).log_prob(x).sum(-1)
    torch.testing.assert_close(D.VonMises(2, 0.3, 2.0).log_prob(x), angles)
    torch.testing.assert_close(D.VonMises(2).log_prob(x), torch.full((5,), -2 * math.log(2 * math.pi)))
    torch.testing.assert_close(D.VonMises(2, 0.3, 1e20).sample(5), torch.full((5, 2), 0.3))  # and they end


def test_a_box():
    box = D.BoxUniform([0.0, -1.0], [1.0, 1.0])
    x = torch.tensor([[0.5, 0.0], [1.5, 0.0], [0.5, -1.01]])
    torch.testing.assert_close(box.log_prob(x), torch.tensor([-math.log(2), -math.inf, -math.inf]))
    drawn = box.double().sample((500,), generator=seeded())
    assert box.support.check(drawn).all()
    assert not box.support.check(x.double())[1:].any()
    assert drawn.dtype == torch.float64


def test_one_base_for_each_feature():
    parts = [D.StudentT(1, 1.0), D.GeneralisedNormal(1), D.BoxUniform([0.0], [2.0]), D.StandardNormal((2,))]
    base = D.Product(parts)
    x = torch.rand(4, 5, generator=seeded())
    blocks = x.split([1, 1, 1, 2], -1)
    want = sum(part.log_prob(block) for part, block in zip(parts, blocks, strict=True))
    torch.testing.assert_close(base.log_prob(x), want)
    assert base.support.check(x).all()
    assert not base.support.check(x - 1).any()


def test_resampling_tears_a_hole():
    """Trained on a ring, it puts less mass in the middle than any normal could."""
    generator = seeded()
    angle = 6.28 * torch.rand(512, generator=generator)
    ring = 1.5 * torch.stack([angle.cos(), angle.sin()], -1) + 0.2 * torch.randn(512, 2, generator=generator)
    torch.manual_seed(0)
    base = D.Resampled(2, hidden=(16,), points=256)
    optimizer = torch.optim.Adam(base.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        (-base(ring).mean()).backward()
        optimizer.step()
    assert float(base(torch.zeros(2)).detach()) < -3.5  # the normal's is -1.84
    drawn = base.sample((1000,), generator=generator)
    assert float((drawn.norm(dim=-1) < 0.6).float().mean()) < 0.06  # of the normal's 0.16


BAD = {
    "no features": (lambda: D.DiagonalNormal(0), "features must be at least 1, got features=0"),
    "df": (lambda: D.StudentT(2, 0.0), "df must be positive, got 0: it is degrees of freedom of a feature"),
    "one df": (lambda: D.StudentT(2, [1.0, -3.0]), "df must be positive, got -3"),
    "shape": (lambda: D.StudentT(2, [1.0, 2.0, 3.0]), r"df must be one number or 2, got shape \(3,\)"),
    "power": (lambda: D.GeneralisedNormal(2, -1.0), "power must be positive, got -1"),
    "concentration": (lambda: D.VonMises(2, 0.0, -1.0), "concentration not negative, got 0.0 and -1.0"),
    "box": (lambda: D.BoxUniform([0.0], [0.0]), "low must be below high in every feature"),
    "corners": (lambda: D.BoxUniform([0.0], [1.0, 2.0]), "low and high must hold a number for each feature"),
    "draws": (lambda: D.Resampled(2, draws=0), "draws must be at least 1, got draws=0"),
    "no bases": (lambda: D.Product([]), "bases must hold at least one density"),
    "contexts": (
        lambda: D.Product([D.StudentT(1, context=2), D.StudentT(1, context=3)]),
        r"bases must take the same context, got contexts of \[2, 3\] features",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_told_in_a_sentence(name):
    make, sentence = BAD[name]
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize("density", [pf.maf(2, context=1), pf.gmm(2, context=1)])
def test_a_number_of_draws_is_a_shape(density):
    context = torch.zeros(3, 1)
    assert density.sample(5, context).shape == density.sample((5,), context).shape == (5, 3, 2)


def test_sizes_may_be_integers_of_numpy():
    for recipe in (pf.maf, pf.realnvp):
        flow = recipe(np.int64(2), layers=1, hidden=(4,))
        assert flow.sample(np.int64(3)).shape == (3, 2)
    with pytest.raises(TypeError, match="integer"):
        flow.sample(2.5)


def test_one_hidden_layer_may_be_a_number_and_events_are_those_of_the_transform():
    flow = pf.maf(3, layers=1, hidden=8)
    assert flow.transform[0].net.weights[0].shape == (8, 3)
    with pytest.raises(ValueError, match=r"event_shape is \(5,\), but the transform takes \(3,\)"):
        pf.Flow(flow.transform, 5)
