"""A density given a context is a distribution of PyTorch's: batches, moments, entropies and divergences."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

import pushforward as pf
from pushforward import distributions as D
from pushforward import transforms as T
from pushforward.distributions.bases import DiagonalNormal, FullNormal
from pushforward.testing import randomize

BATCH = (2, 3)


@pytest.mark.parametrize("context", [0, 2])
def test_it_expands_to_a_batch(context: int) -> None:
    flow = pf.maf(3, context=context, layers=1, hidden=(8,))
    view = flow.condition(torch.ones(2) if context else None).expand(BATCH)
    assert (view.batch_shape, view.event_shape) == (torch.Size(BATCH), torch.Size([3]))
    draws = view.rsample((5,))
    assert draws.shape == (5, *BATCH, 3)
    assert view.sample().shape == (*BATCH, 3)
    assert view.log_prob(draws).shape == (5, *BATCH)
    assert view.log_prob(torch.zeros(3)).shape == BATCH
    assert view.expand((4, *BATCH)).sample().shape == (4, *BATCH, 3)


def normals() -> list[pf.distributions.Density]:
    return [randomize(make(3), seed=seed) for seed, make in enumerate((DiagonalNormal, FullNormal))]


@pytest.mark.parametrize("density", normals(), ids=lambda density: type(density).__name__)
def test_moments_and_entropy_of_normals_are_those_of_their_draws(density: pf.distributions.Density) -> None:
    view = density.condition(generator=torch.Generator().manual_seed(0))
    draws = view.sample((100_000,))
    assert torch.allclose(view.mean, draws.mean(0), atol=0.03)
    assert torch.allclose(view.variance, draws.var(0), rtol=0.03)
    assert torch.allclose(view.stddev, view.variance.sqrt())
    assert view.entropy().item() == pytest.approx(-view.log_prob(draws).mean().item(), abs=0.02)
    assert view.expand(BATCH).mean.shape == (*BATCH, 3)


def test_moments_follow_the_context() -> None:
    view = randomize(DiagonalNormal(2, context=1)).condition(torch.tensor([[0.0], [1.0]]))
    assert view.mean.shape == (2, 2)
    assert not torch.allclose(view.mean[0], view.mean[1])


def test_a_mixture_has_moments_but_no_entropy_in_closed_form() -> None:
    mixture = randomize(pf.gmm(2, components=3), scale=2.0)
    view = mixture.condition(generator=torch.Generator().manual_seed(0))
    draws = view.sample((100_000,))
    assert torch.allclose(view.mean, draws.mean(0), atol=0.05)
    assert torch.allclose(view.variance, draws.var(0), rtol=0.05)
    with pytest.raises(NotImplementedError, match="no entropy in closed form"):
        view.entropy()


@pytest.mark.parametrize("covariance", ["full", "tied", "diagonal", "spherical"])
def test_a_mixture_given_a_context_is_one_of_pytorch(covariance: str) -> None:
    mixture = randomize(pf.gmm(2, components=3, covariance=covariance, context=1)).double()
    context, x = torch.randn(4, 1).double(), torch.randn(5, 4, 2).double()
    torch.testing.assert_close(mixture.closed_form(context).log_prob(x), mixture.log_prob(x, context))
    assert mixture.condition(context).mean.shape == (4, 2)


BASES = [D.StandardNormal((3,)), D.StandardNormal(()), D.BoxUniform([-1.0, 0.0], [1.0, 3.0]), randomize(D.StudentT(3))]


@pytest.mark.parametrize("base", [*normals(), *BASES], ids=lambda base: type(base).__name__)
def test_bases_are_those_of_pytorch(base: D.Density) -> None:
    x = base.sample((5,))
    torch.testing.assert_close(base.closed_form().log_prob(x), base.log_prob(x))
    assert base.condition().expand((2,)).entropy().shape == (2,)


def test_divergences_between_normals_are_exact() -> None:
    first, second = (density.condition() for density in normals())
    draws = first.expand(()).sample((100_000,))
    torch.manual_seed(0)
    estimate = (first.log_prob(draws) - second.log_prob(draws)).mean().item()
    assert kl_divergence(first, second).item() == pytest.approx(estimate, rel=0.05)
    draws = second.sample((100_000,))
    estimate = (second.log_prob(draws) - first.log_prob(draws)).mean().item()
    assert kl_divergence(second, first).item() == pytest.approx(estimate, rel=0.05)
    torchs = Independent(Normal(torch.zeros(3), torch.ones(3)), 1)
    assert kl_divergence(torchs, torchs).item() == kl_divergence(first, first).item() == 0
    assert kl_divergence(first, torchs).item() > 0
    assert kl_divergence(torchs, first).item() > 0


def test_a_flow_says_that_it_has_no_closed_form() -> None:
    view = pf.maf(2, layers=1, hidden=(8,)).condition()
    for ask in (lambda: view.mean, lambda: view.variance, view.entropy, lambda: kl_divergence(view, view)):
        with pytest.raises(NotImplementedError, match="estimate it from draws"):
            ask()


def test_draws_are_contiguous() -> None:
    assert pf.gmm(2, context=1).sample((3,), torch.zeros(4, 1)).is_contiguous()
    flow = pf.glow((1, 8, 8), levels=1, steps=1, hidden=4)
    assert flow.sample((2,)).is_contiguous()
    assert flow.rsample_and_log_prob((2,))[0].is_contiguous()


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: pf.maf(2)(torch.zeros(4, 2).numpy()),
        lambda: pf.maf(2, context=1)(torch.zeros(4, 2), torch.zeros(4, 1).numpy()),
        lambda: pf.Flow(pf.maf(2).transform, torch.nn.Linear(2, 2)),
        lambda: pf.Flow(pf.maf(2).transform, "normal"),
        lambda: pf.Flow(pf.maf(2).transform, Normal(torch.zeros(3, 2), 1.0)),
        lambda: pf.transforms.Squeeze()(torch.zeros(1, 3, 4)),
        lambda: pf.transforms.Squeeze().inverse(torch.zeros(33, 4, 4)),
        lambda: pf.residual((1, 8, 8)),
        lambda: pf.gmm((1, 8, 8)),
        lambda: pf.made((1, 8, 8)),
        lambda: pf.transforms.Squeeze()(torch.zeros(4, 4)),
        lambda: D.StandardNormal((2,))(torch.zeros(5, 3)),
        lambda: pf.maf(2.5),
        lambda: pf.maf(2).sample(temperature=-1.0),
        lambda: pf.made(2, conditional="bernoulli").sample(temperature=0.0),
        lambda: pf.anyorder(2).sample(temperature=float("nan")),
    ],
    ids=[
        "an array",
        "an array given",
        "no density",
        "a name",
        "a batch of bases",
        "odd sides",
        "odd channels",
        "an image's shape",
        "an image's shape of a mixture",
        "an image's shape of a model",
        "no image",
        "another event",
        "half a feature",
        "a negative temperature",
        "a temperature of 0 of categories",
        "a temperature that is no number",
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(attempt) -> None:
    with pytest.raises((TypeError, ValueError), match=r"got|expected") as caught:
        attempt()
    assert "\n" not in str(caught.value)


def test_values_outside_of_the_support_are_nan_or_refused() -> None:
    flow = pf.Flow(pf.transforms.Logit(), 1)
    assert not bool(flow.log_prob(torch.tensor([[0.0], [1.0], [2.0]])).isfinite().any())
    view = flow.condition(validate_args=True).expand((2,))
    assert bool(view.log_prob(torch.full((2, 1), 0.5)).isfinite().all())
    with pytest.raises(ValueError, match="support"):
        view.log_prob(torch.full((2, 1), 2.0))
    x, logdet = pf.transforms.Exp().inverse(torch.tensor([-1.0]))
    assert bool(x.isnan().all())
    assert bool(logdet.isnan())


def test_angles_are_taken_modulo_a_turn() -> None:
    flow = randomize(pf.ncsf(2, layers=1, hidden=(8,))).double()
    x = torch.rand(5, 2, dtype=torch.float64)
    torch.testing.assert_close(flow.log_prob(x + 20 * torch.pi), flow.log_prob(x))


IMAGES = {
    "tarflow": lambda: pf.tarflow((1, 4, 4), width=16, heads=2),
    "glow": lambda: pf.glow((1, 4, 4), levels=1, steps=1, hidden=4),
}
RECIPES = ("maf", "nsf", "realnvp", "iaf", "residual", "bnaf", "gf", "nice", "ffjord")


@pytest.mark.parametrize("name", [*RECIPES, *IMAGES])
def test_events_of_another_shape_are_refused(name: str) -> None:
    flow = IMAGES[name]() if name in IMAGES else getattr(pf, name)(3)
    for attempt in (flow.transform.inverse, flow.transform.generate, flow.transform):
        event = (*flow.event_shape[:-1], 6) if attempt is flow.transform else (6,)
        if name != "glow" or attempt is not flow.transform:  # its transform takes images of any size
            with pytest.raises(ValueError, match=r"events of this transform have shape .* got"):
                attempt(torch.zeros(2, *event))


@pytest.mark.parametrize("transform", [T.Logit, T.Atanh, T.Log])
def test_the_ends_of_an_open_domain_are_outside(transform: type[T.Transform]) -> None:
    density = pf.Flow(transform(), 1).condition(validate_args=True)
    with pytest.raises(ValueError, match="support"):
        density.log_prob(torch.tensor([0.0 if transform is not T.Atanh else -1.0]))
    if transform is T.Logit:
        with pytest.raises(ValueError, match="support"):
            density.log_prob(torch.ones(1))
    inside = torch.distributions.biject_to(density.support)(torch.zeros(1))
    assert density.log_prob(inside).isfinite().all()
