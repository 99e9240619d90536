"""Marginals in closed form: mixtures of Gaussians behind maps of single entries and beside categories."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward.distributions.average import Average
from pushforward.distributions.guided import Guided
from pushforward.distributions.learning_error import learning_error
from pushforward.distributions.mixed import Mixed
from pushforward.distributions.mixture import GaussianMixture
from pushforward.recipes.by_name import categories_by_size
from pushforward.testing import randomize

PATTERNS = torch.tensor(list(itertools.product([False, True], repeat=3)))
X = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def mixture(features: int = 3, context: int = 0, seed: int = 0) -> GaussianMixture:
    torch.manual_seed(seed)
    made = pf.gmm(features, components=3, context=context).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.6 * torch.randn_like(parameter))
    return made


def behind_maps(base: GaussianMixture) -> pf.Flow:
    T = pf.transforms
    maps = T.Columns([T.Asinh(event_dim=0), T.Identity(event_dim=0), T.LeakyReLU(event_dim=0)])
    scale = T.Standardize(torch.tensor([0.5, 0.0, -0.2]).double(), torch.tensor([1.0, 2.0, 0.7]).double())
    return pf.Flow(T.Compose([maps, scale, T.Identity()]), base, context=base.context_features)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_marginals_of_every_pattern_are_those_of_the_columns(covariance: str) -> None:
    torch.manual_seed(0)
    density = pf.gmm(3, components=3, covariance=covariance).double()
    holed = X.masked_fill(PATTERNS, math.nan)
    found = density.log_marginal(holed)
    for row, hole, value in zip(X, PATTERNS, found, strict=True):
        columns = (~hole).nonzero()[:, 0].tolist()
        want = density.marginal(columns).log_prob(row[columns]) if columns else torch.zeros(())
        assert value.item() == pytest.approx(want.item(), abs=1e-9)
    assert density.exact(holed).all()


def test_with_a_context_the_marginal_is_conditioned_on_it() -> None:
    density, context = mixture(2, context=1), X[:, :1]
    whole = density.among([0, 1, 2], 0)
    holed = X[:, 1:].clone()
    holed[:, 0] = math.nan
    want = whole.marginal([0, 2]).log_prob(X[:, [0, 2]]) - whole.marginal([0]).log_prob(context)
    assert torch.allclose(density.log_marginal(holed, context), want)


def test_maps_of_single_entries_keep_marginals_closed() -> None:
    flow = behind_maps(mixture())
    z, slopes = flow.transform.entries(X)
    assert torch.allclose(z, flow.transform(X)[0])
    assert torch.allclose(slopes.sum(-1), flow.transform(X)[1])
    u = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    rows = X[:2].repeat(len(u), 1, 1)
    rows[..., 0] = u.sinh()[:, None]
    quadrature = (flow(rows) + (u.cosh() * (u[1] - u[0])).log()[:, None]).logsumexp(0)
    holed = X[:2].clone()
    holed[:, 0] = math.nan
    answer = Guided(flow, pf.anyorder(3).double()).marginal(holed)
    assert torch.allclose(answer.value, quadrature.detach(), atol=1e-6)
    assert answer.error.eq(0).all()
    assert answer.effective.eq(math.inf).all()


def test_maps_that_mix_entries_have_none() -> None:
    flow = pf.Flow(pf.transforms.PLU(3), pf.gmm(3))
    assert not flow.transform.entrywise
    assert not flow.exact(X).any()
    assert not pf.maf(3).exact(X).any()
    with pytest.raises(NotImplementedError, match="AnyOrder has no marginals"):
        pf.anyorder(3).log_marginal(X)


def test_a_row_that_stands_for_a_cell_is_averaged_over_it() -> None:
    flow, holed = behind_maps(mixture()), X.clone()
    holed[:, 0] = math.nan
    width = torch.tensor([0.0, 1.0, 0.0])
    density = Guided(flow, pf.anyorder(3).double())
    density._spread = lambda x, u: x + width * u
    answer = density.marginal(holed, draws=256)
    u = torch.linspace(0, 1, 2001, dtype=torch.float64)[:-1, None, None]
    points = flow.log_marginal(holed + (u + 0.5 / 2000) * width).logsumexp(0) - math.log(2000)
    assert (answer.value - points).abs().max() < 0.01
    assert answer.error.gt(0).all()


def test_averages_and_categories_pass_them_on() -> None:
    one, other = mixture(), mixture(seed=1)
    holed = X.masked_fill(PATTERNS, math.nan)
    average = Average([one, other], [1, 3])
    want = 0.25 * one.log_marginal(holed).exp() + 0.75 * other.log_marginal(holed).exp()
    assert torch.allclose(average.log_marginal(holed), want.log(), atol=1e-6)
    assert not Average([pf.maf(3), pf.gmm(3)]).exact(holed).any()

    categories = randomize(categories_by_size([2]), 0.3).double()
    mixed = Mixed(categories, mixture(2, context=2), (0, 2, 0))
    rows = X.clone()
    rows[:, 1] = (rows[:, 1] > 0).double()
    rows = rows.masked_fill(PATTERNS, math.nan)
    exact = mixed.exact(rows)
    assert torch.equal(exact, ~PATTERNS[:, 1])
    found = mixed.log_marginal(rows[exact])
    for row, value in zip(rows[exact], found, strict=True):
        given = torch.nn.functional.one_hot(row[1].long(), 2).double()
        numbers = mixed.numbers.log_marginal(row[None, [0, 2]], given[None])[0]
        assert value.item() == pytest.approx((categories(row[1:2]) + numbers).item(), abs=1e-6)
    answer = Guided(mixed, pf.anyorder(3, classes=(0, 2, 0)).double()).marginal(rows)
    assert answer.error[exact].eq(0).all()


def test_the_error_of_one_gaussian_counts_its_parameters() -> None:
    x = torch.randn(50_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flow = pf.Flow(pf.transforms.Identity(), pf.gmm(3, components=1).double().fit(x))
    assert learning_error(flow, x, None, 1.0).square().mean().item() == pytest.approx(9, rel=0.05)
    assert learning_error(pf.maf(3), x.float(), None, 100.0).eq(0).all()


@pytest.mark.parametrize("context", [0, 1])
def test_errors_are_those_of_fits_to_other_rows(context: int) -> None:
    generator = torch.Generator().manual_seed(0)
    points, rows = _clusters(40, generator), 800

    def fitted() -> pf.Flow:
        x = _clusters(rows, generator)
        base = pf.gmm(3 - context, components=2, context=context).double()
        base.fit(x[:, context:], x[:, :context] if context else None)
        return pf.Flow(pf.transforms.Identity(), base, context=context)

    given = points[:, :context] if context else None
    fits = [fitted() for _ in range(60)]
    spread = torch.stack([fit(points[:, context:], given).detach() for fit in fits]).std(0)
    said = torch.stack([learning_error(fit, points[:, context:], given, rows) for fit in fits]).mean(0)
    assert (said / spread).log().mean().abs() < 0.15


def _clusters(n: int, generator: torch.Generator) -> Tensor:
    which = torch.rand(n, 1, generator=generator) < 0.3
    noise = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return torch.where(which, 3 + 0.7 * noise, noise.cumsum(-1))
