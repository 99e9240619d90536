"""Calibration: exact posteriors pass at the stated rate, wrong ones are found and said to be wrong in the right way."""

from __future__ import annotations

import json
import re

import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward import plot
from pushforward.diagnostics import calibration, local_test, ranks
from pushforward.transforms import Standardize

N, K, SD = 1000, 99, 0.5


def simulated(seed: int, n: int = N, features: int = 2) -> tuple[Tensor, Tensor, torch.Generator]:
    """x given its context is N(context, SD^2)."""
    generator = torch.Generator().manual_seed(seed)
    context = torch.randn(n, features, generator=generator)
    return context + SD * torch.randn(n, features, generator=generator), context, generator


def draws(context: Tensor, generator: torch.Generator, width: float = 1.0, shift: float = 0.0) -> Tensor:
    return context + SD * (shift + width * torch.randn(K, *context.shape, generator=generator))


def test_an_exact_posterior_is_refused_about_once_in_a_hundred_times():
    refused = []
    for seed in range(100):
        x, context, generator = simulated(seed, 200)
        refused.append(not calibration(draws(context, generator), x, generator=generator).trusted)
    assert sum(refused) <= 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 0.8}, r"about (1\d|2\d)% too narrow"),
        ({"width": 1.25}, r"about (1\d|2\d)% too wide"),
        ({"shift": 0.3}, r"too high, by about 0\.(2|3)\d"),
        ({"shift": -0.3}, r"too low, by about 0\.(2|3)\d"),
    ],
)
def test_what_is_wrong_is_found_with_1000_simulations_and_said(change, words):
    for seed in range(5):
        x, context, generator = simulated(seed)
        found = calibration(draws(context, generator, **change), x, generator=generator)
        assert not found.trusted
        assert found.p_value < 1e-6
    assert re.search(words, found.verdict), found.verdict


def test_a_wrong_correlation_shows_in_the_distance_alone():
    x, context, generator = simulated(0)
    own = draws(context, generator)
    own[..., 1] = context[:, 1] + own[..., 0] - context[:, 0]  # right by itself, and the same as the first
    found = calibration(own, x, generator=generator)
    assert min(found.tests["x1"].p_value, found.tests["x2"].p_value) > 1e-3
    assert found.tests["distance"].p_value < 1e-6
    assert "all dimensions together, by distance" in found.verdict


def test_of_a_density_the_regions_of_highest_density_are_looked_at_too():
    generator = torch.Generator().manual_seed(0)
    x = 1.25 * torch.randn(500, 2, generator=generator)  # a fresh flow is N(0, I), 20 % too narrow
    flow, context = pf.realnvp(2, context=1, layers=2), torch.randn(500, 1, generator=generator)
    found = calibration(flow, x, context, columns=["a", "b"], generator=generator)
    assert list(found.tests) == ["a", "b", "density", "distance"]
    assert not found.trusted
    covered = found.coverage([0.5])
    expected = 1 - 0.5 ** (1 / 1.25**2)  # of a chi-squared with two degrees of freedom
    assert covered["density"][0] == pytest.approx(expected, abs=4 * covered["error"][0])
    assert calibration(flow, x / 1.25, context, generator=generator).trusted


def test_a_density_without_a_context_and_pieces_of_any_size():
    flow = pf.Flow(Standardize(torch.zeros(2), torch.ones(2)), 2)
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    found = calibration(flow, x, chunk=200, generator=torch.Generator().manual_seed(1))
    assert found.ranks.shape == (50, 2)
    assert found.trusted


def test_ranks_of_ties_are_uniform_and_a_missing_value_is_the_lowest():
    generator = torch.Generator().manual_seed(0)
    x, drawn = (torch.randint(2, shape, generator=generator).double() for shape in ((N,), (K, N)))
    assert ranks.rank_test(ranks.rank(x, drawn, generator), K).p_value > 0.01
    assert ranks.rank(torch.tensor([torch.nan]), torch.zeros(3, 1)).tolist() == [0]


def test_the_band_holds_uniform_ranks_nineteen_times_in_twenty():
    width = ranks.band(100, 19)
    u = torch.arange(1, 20) / 20
    drawn = torch.randint(20, (2000, 100), generator=torch.Generator().manual_seed(7))
    reached = (drawn[:, None, :] < torch.arange(1, 20)[:, None]).double().mean(-1)
    inside = ((reached - u).abs() <= width * (u * (1 - u) / 100).sqrt()).all(1).double().mean()
    assert inside == pytest.approx(0.95, abs=0.03)


def test_numbers_and_pictures():
    x, context, generator = simulated(0, 100)
    found = calibration(draws(context, generator, 0.5), x, generator=generator)
    assert json.loads(json.dumps(found.summary()))["trusted"] is False
    figures = found.figures()
    assert sorted(figures) == ["coverage", "ranks"]
    assert "x1" in [text.get_text() for text in figures["ranks"].axes[0].get_legend().get_texts()]
    assert plot.ranks(found.ranks, K, 3.0).axes


@pytest.mark.slow
def test_a_classifier_finds_what_the_ranks_of_all_contexts_hide():
    pytest.importorskip("sklearn")
    x, context, generator = simulated(0, 400, 1)
    own = draws(context, generator) + 0.5 * SD * context.sign()  # too high for some, too low for others
    assert abs(calibration(own, x, generator=generator).tests["x1"].shift) < 0.1
    found = local_test(own, x, context, permutations=20)
    assert not found.trusted
    assert (found.p_values <= 0.05).double().mean() > 0.3
    assert "tells draws from true values" in found.verdict
    exact = local_test(draws(context, generator), x, context, permutations=20)
    assert exact.trusted
    assert json.dumps(exact.summary())


def test_what_does_not_fit_is_said():
    x, context, _ = simulated(0, 30)
    flow = pf.realnvp(2, context=2, layers=2)
    with pytest.raises(ValueError, match="n of at least 20, got \\(5, 2\\)"):
        calibration(flow, x[:5], context[:5])
    with pytest.raises(ValueError, match=r"draws of shape \(K, 30, 2\), got \(9, 30, 3\)"):
        calibration(torch.zeros(9, 30, 3), x)
    with pytest.raises(TypeError, match="must be a density or a tensor of draws, got function"):
        calibration(lambda c: c, x)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="context has 3 features, but the flow was built with context=2"):
        calibration(flow, x, torch.zeros(30, 3))
    with pytest.raises(ValueError, match=r"context must have shape \(30, features\)"):
        calibration(flow, x, context[:29])
    with pytest.raises(ValueError, match="columns has 1 names, but x has 2 features"):
        calibration(flow, x, context, columns=["a"])
    with pytest.raises(ValueError, match="draws must be at least 1, got draws=0"):
        calibration(flow, x, context, draws=0)
    with pytest.raises(ValueError, match="at least 100 rows for a classifier, got 30"):
        local_test(flow, x, context)
    x, context, _ = simulated(0, 100)
    with pytest.raises(
        ValueError, match=r"context must have shape \(100, features\), one row for each x, got NoneType"
    ):
        local_test(flow, x, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="draws must be at least 22, got 5"):
        local_test(flow, x, context, draws=5)
    with pytest.raises(ValueError, match="permutations must be at least 1, got permutations=0"):
        local_test(flow, x, context, permutations=0)
