"""Autoregressive models: they sum to one, samples follow the density, values outside the support are refused."""

import itertools

import pytest
import torch

import pushforward as pf

KINDS = {"gaussian": {}, "mixture": {}, "bernoulli": {}, "categorical": {"classes": 3}}


def model(kind, features=4, context=0, scale=0.5):
    torch.manual_seed(0)
    made = pf.made(features, context=context, hidden=(16, 16), conditional=kind, **KINDS[kind]).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, scale)
    return made


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize(("kind", "values"), [("bernoulli", 2), ("categorical", 3)])
def test_discrete_models_sum_to_one_and_sample_what_they_say(kind, values, context):
    made = model(kind, context=context)
    c = torch.randn(context, dtype=torch.float64) if context else None
    grid = torch.tensor(list(itertools.product(range(values), repeat=4)), dtype=torch.float64)
    probability = made(grid, c).exp()
    torch.testing.assert_close(probability.sum(), torch.ones((), dtype=torch.float64))
    draws = made.sample((20_000,), c, generator=torch.Generator().manual_seed(1))
    frequency = (draws[:, None] == grid[None]).all(-1).double().mean(0)
    assert ((frequency - probability).abs() < 5 * (probability / 20_000).sqrt() + 1e-4).all()


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_values_outside_have_no_probability_where_nobody_looks(kind):
    """Compiled, and on other devices, where a look would wait; gradients stay finite."""
    made = model(kind)
    x = torch.tensor([[0.0, 1, 1, 0], [0, 0.5, 1, 0], [-1, 1, 0, 0], [0, 1, 7, 0], [0, 1, 1, torch.nan]]).double()
    params = made.net(made.conditional.encode(x).movedim(0, -1).flatten(-2).nan_to_num()).detach().requires_grad_()
    log_prob = made.conditional.log_prob(x, params).sum(-1)
    assert log_prob.isfinite().tolist() == [True, False, False, False, False]
    assert bool((log_prob[1:] == -torch.inf).all())
    log_prob[0].backward()
    assert bool(params.grad.isfinite().all())


@pytest.mark.parametrize("kind", ["gaussian", "mixture"])
def test_continuous_models_integrate_to_one(kind):
    made = model(kind, features=2, scale=0.2)
    axis = torch.linspace(-20, 20, 501, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    total = made(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(total - 1) < 1e-3


@pytest.mark.parametrize("kind", ["gaussian", "mixture"])
def test_samples_have_the_entropy_of_the_density(kind):
    made = model(kind, scale=0.2)
    draws = made.sample((4000,), generator=torch.Generator().manual_seed(0))
    others = made.sample((4000,), generator=torch.Generator().manual_seed(1))
    first, second = made(draws), made(others)
    assert abs(first.mean() - second.mean()) < 5 * (first.var() / 2000).sqrt()
    assert abs(made(others.flip(0)).mean() - second.mean()) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_shapes(kind):
    made = model(kind, context=2)
    c = torch.randn(3, 2, dtype=torch.float64)
    draws = made.sample((5,), c)
    assert draws.shape == (5, 3, 4)
    assert made(draws, c).shape == (5, 3)
    assert made.condition(c).sample((2,)).shape == (2, 3, 4)
    torch.testing.assert_close(made(draws, c)[1, 2], made(draws[1, 2], c[2]))


def test_a_gaussian_model_is_an_affine_autoregressive_flow():
    """Lecture, "Gaussian autoregressive model": z_j = (x_j - mu_j) / sigma_j makes it a flow with a normal base."""
    made = model("gaussian", scale=0.3)
    x = torch.randn(6, 4, dtype=torch.float64)
    mu, raw = made.net(x)
    log_sigma = raw / (1 + raw.abs() / made.conditional.limit)
    z = (x - mu) / log_sigma.exp()
    base = torch.distributions.Normal(0.0, 1.0)
    torch.testing.assert_close(made(x), (base.log_prob(z) - log_sigma).sum(-1))


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns(kind):
    torch.manual_seed(0)
    made = pf.made(2, hidden=(16,), conditional=kind, **KINDS[kind])
    x = torch.randint(0, 2, (1000, 1)).float().repeat(1, 2)
    x = x if kind in ("bernoulli", "categorical") else x + 0.1 * torch.randn_like(x)
    before = made(x).mean().item()
    pf.fit(made, x, steps=400, lr=1e-2, progress=False)
    assert made(x).mean().item() > before + 0.5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pf.made(3, conditional="poisson"), "conditional must be one of"),
        (lambda: pf.made(3, conditional="categorical"), "classes is for conditional='categorical'"),
        (lambda: pf.made(3, classes=4), "classes is for conditional='categorical'"),
        (lambda: pf.made(3, conditional="categorical", classes=1), "classes must be at least 2, got classes=1"),
        (
            lambda: model("categorical")(torch.tensor([0.0, 1, 5, 2]).double()),
            "from 0 to 5, but classes=3 allows 0 to 2",
        ),
        (lambda: model("bernoulli")(torch.tensor([0.0, 1, 0.5, 1]).double()), "must be 0 or 1"),
        (lambda: model("gaussian")(torch.zeros(5, 3).double()), r"x has shape \(5, 3\).*\(4,\)"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
