"""Mixtures of Gaussians: the fit, exact marginals and conditionals, saving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward.distributions import em

KINDS = {"full": "full", "tied": "tied", "diagonal": "diag", "spherical": "spherical"}  # scikit-learn's names
sklearn_mixture = pytest.importorskip("sklearn.mixture")


def clusters(n: int = 600, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(3, (n,), generator=generator)
    centres = torch.tensor([[0.0, 0.0, 0.0], [6.0, 1.0, -4.0], [-5.0, 7.0, 2.0]], dtype=torch.float64)
    turn = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [-0.3, 0.2, 1.4]], dtype=torch.float64)
    noise = torch.randn(n, 3, generator=generator, dtype=torch.float64) @ turn.T
    return 100.0 + centres[which] + noise


@pytest.mark.parametrize(("covariance", "theirs"), KINDS.items())
def test_finds_what_scikit_learn_finds(covariance: str, theirs: str) -> None:
    x = clusters()
    ours = pf.gmm(3, components=3, covariance=covariance).double().fit(x, tolerance=1e-8)
    reference = sklearn_mixture.GaussianMixture(
        3, covariance_type=theirs, tol=1e-8, max_iter=500, n_init=5, random_state=0
    )
    want = reference.fit(x.numpy()).score_samples(x.numpy())
    assert np.allclose(ours.log_prob(x).detach().numpy(), want, atol=1e-3)


def test_one_component_is_the_maximum_likelihood_gaussian() -> None:
    x = clusters()
    mixture = pf.gmm(3, components=1).double().fit(x)
    assert torch.allclose(mixture.loc[0], x.mean(0))
    assert torch.allclose(mixture.covariances()[0], torch.cov(x.T, correction=0), rtol=1e-4)


def test_weights_count_as_repeated_rows_do() -> None:
    x, weight = clusters(200), torch.arange(200) % 3
    repeated = x.repeat_interleave(weight, 0)
    a = pf.gmm(3, components=1).double().fit(x, weight=weight)
    b = pf.gmm(3, components=1).double().fit(repeated)
    assert torch.allclose(a.log_prob(x), b.log_prob(x))


@pytest.mark.parametrize("covariance", KINDS)
def test_marginal_times_conditional_is_the_joint(covariance: str) -> None:
    x = clusters()
    mixture = pf.gmm(3, components=4, covariance=covariance).double().fit(x)
    marginal, conditional = mixture.marginal([2, 0]), mixture.conditional([2, 0])
    product = marginal.log_prob(x[:, [2, 0]]) + conditional.log_prob(x[:, [1]], x[:, [2, 0]])
    assert torch.allclose(product, mixture.log_prob(x))


def test_conditional_draws_follow_the_conditional_density() -> None:
    mixture = pf.gmm(3, components=3).double().fit(clusters()).conditional([0])
    given = torch.tensor([106.0], dtype=torch.float64)
    draws = mixture.sample((20_000,), given, generator=torch.Generator().manual_seed(0))
    grid = torch.linspace(85, 120, 700, dtype=torch.float64)
    density = mixture.log_prob(torch.cartesian_prod(grid, grid), given).exp().detach()
    mass = density.view(700, 700) * (grid[1] - grid[0]) ** 2
    assert abs(float(mass.sum()) - 1) < 1e-3
    assert abs(float((mass.sum(1) * grid).sum() - draws[:, 0].mean())) < 0.05
    assert abs(float((mass.sum(0) * grid).sum() - draws[:, 1].mean())) < 0.05


def test_a_prior_keeps_components_of_few_rows_from_collapsing() -> None:
    x, held_out = clusters(40, seed=1), clusters(500, seed=2)
    bare, drawn = (pf.gmm(3, components=12).double().fit(x, prior=prior).log_prob(held_out) for prior in (0.0, 2.0))
    assert drawn.mean() > bare.mean() + 1


def test_the_seed_fixes_the_fit() -> None:
    x = clusters()
    first, second = (pf.gmm(3, components=5).fit(x, seed=3).log_prob(x.float()) for _ in range(2))
    assert torch.equal(first, second)


def test_is_trained_by_gradients_too() -> None:
    x = clusters().float()
    result = pf.fit(pf.gmm(3, components=3), x, steps=20, progress=False)
    assert result.best_validation_loss is not None
    assert result.best_validation_loss < 6


def test_saves_and_loads(tmp_path: Path) -> None:
    x = clusters().float()
    mixture = pf.gmm(3, components=3).fit(x)
    pf.save(mixture, tmp_path / "mixture")
    assert torch.equal(pf.load(tmp_path / "mixture").log_prob(x), mixture.log_prob(x))


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="components=0"):
        pf.gmm(3, components=0)
    with pytest.raises(
        ValueError, match="covariance must be one of full, tied, diagonal, spherical, got covariance='round'"
    ):
        pf.gmm(3, covariance="round")
    mixture = pf.gmm(3, components=4)
    with pytest.raises(ValueError, match="3 rows, too few for 4 components"):
        mixture.fit(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="not finite"):
        mixture.fit(torch.full((5, 3), torch.nan))
    with pytest.raises(ValueError, match="weight must hold a number of at least 0 for each of the 5 rows"):
        mixture.fit(torch.randn(5, 3), weight=-torch.ones(5))
    with pytest.raises(ValueError, match="columns must name some of the features 0 to 2 once each"):
        mixture.marginal([0, 3])
    with pytest.raises(ValueError, match="leaves none of the 3 features"):
        mixture.conditional([0, 1, 2])
    with pytest.raises(ValueError, match="no marginals or conditionals of its own"):
        mixture.conditional([0]).marginal([0])


def test_many_rows_are_judged_in_parts_to_the_same_densities(monkeypatch: pytest.MonkeyPatch) -> None:
    x = clusters().float()
    mixture = pf.gmm(2, components=4, context=1).fit(x[:, 1:], x[:, :1], max_steps=5)
    whole = mixture.log_prob(x[:, 1:], x[:, :1])
    monkeypatch.setattr("pushforward.distributions.mixture.PART", 70)
    monkeypatch.setattr(mixture, "white", lambda y, columns, white=mixture.white: white(check(y), columns))

    def check(y: Tensor) -> Tensor:
        assert y.shape[:-1].numel() <= 70
        return y

    with torch.no_grad():
        assert torch.allclose(mixture.log_prob(x[:, 1:], x[:, :1]), whole, atol=1e-5)
        twice = mixture.log_prob(x[:, 1:].expand(2, -1, -1), x[:, :1])
        assert torch.allclose(twice, whole.expand(2, -1), atol=1e-5)


@pytest.mark.parametrize("kept", [0, 1_000_000], ids=["formed again", "kept"])
@pytest.mark.parametrize("covariance", KINDS)
def test_many_products_are_held_in_parts_to_the_same_fit(
    monkeypatch: pytest.MonkeyPatch, covariance: str, kept: int
) -> None:
    x = clusters()
    whole = pf.gmm(3, components=4, covariance=covariance).double().fit(x)
    held = []
    monkeypatch.setattr(em, "CACHED", 500)
    monkeypatch.setattr(em, "KEPT", kept)
    monkeypatch.setattr(
        em._Statistics, "of", lambda self, y, of=em._Statistics.of: held.append(of(self, y)) or held[-1]
    )
    parts = pf.gmm(3, components=4, covariance=covariance).double().fit(x)
    assert torch.allclose(parts.log_prob(x), whole.log_prob(x))
    assert 0 < max(t.numel() for t in held) <= 500


def test_what_is_given_may_be_far_away() -> None:
    mixture = pf.gmm(2, components=3, context=2)
    with torch.no_grad():
        mixture.factors[:, 0, 0] = 60.0  # a context that never varied
    x, context = torch.randn(5, 2), torch.tensor([1.0, 0.0])
    assert mixture.log_prob(x, context).isfinite().all()
    assert mixture.log_marginal(x, context).isfinite().all()
