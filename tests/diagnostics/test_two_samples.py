"""Two samples compared: p-values hold whatever is looked at, and what moved comes first."""

from __future__ import annotations

import pytest
import torch

from pushforward.diagnostics.two_samples import (
    Comparison,
    category_features,
    compared,
    divisions,
    kernel_features,
    middle_ranks,
    rank_features,
    surprises,
)


def two_samples(groups: dict, second: torch.Tensor, seed: int) -> Comparison:
    return compared(surprises(groups, divisions(second, seed)))


def of(x: torch.Tensor) -> dict[str, dict[int, torch.Tensor]]:
    codes = (2 * x).round().clamp(-2, 2)
    return {
        "numbers": {j: rank_features(x[:, j]) for j in range(x.shape[1])},
        "categories": {j: category_features(codes[:, j]) for j in range(x.shape[1])},
        "rows": {0: kernel_features(x, 0, 2.0)},
    }


@pytest.fixture(scope="module")
def second() -> torch.Tensor:
    return torch.arange(240) >= 100


@pytest.mark.slow
def test_p_values_of_unchanged_samples_are_uniform(second):
    generator = torch.Generator().manual_seed(0)
    found = [two_samples(of(torch.randn(240, 3, generator=generator).double()), second, r).p_value for r in range(80)]
    p = torch.tensor(found)
    assert 0.01 <= (p <= 0.1).double().mean() <= 0.2  # 0.1 within three standard errors
    assert 0.33 <= (p <= 0.5).double().mean() <= 0.67


@pytest.mark.parametrize("moved", [0, 2])
def test_what_moved_comes_first_and_the_rest_is_corrected_for_many(second, moved):
    x = torch.randn(240, 3, generator=torch.Generator().manual_seed(1)).double()
    x[second, moved] += 0.7
    found = two_samples(of(x), second, 0)
    assert found.p_value <= 0.005
    for group in ("numbers", "categories"):
        first, *others = found.groups[group].items()
        assert first[0] == moved
        assert first[1].p_value <= 0.01
        assert all(other.p_value > 0.05 for _, other in others)


def test_a_change_of_the_whole_alone_is_seen_by_the_kernel(second):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(240, 2, generator=generator).double()
    x[second, 1] = x[second, 0] + 0.3 * x[second, 1]
    found = two_samples({"rows": {0: kernel_features(x, 0, 1.0)}}, second, 0)
    assert found.p_value <= 0.01


def test_ranks_are_in_the_middle_of_equal_ones_and_missing_values_have_none():
    x = torch.tensor([3.0, 1.0, float("nan"), 1.0])
    assert middle_ranks(x).tolist() == pytest.approx([5 / 6, 1 / 3, 0.5, 1 / 3])
    features = rank_features(x)
    assert features[2].abs().sum() == 0
    assert features.sum(0).abs().max() < 1e-12


def test_nothing_that_varies_is_no_surprise(second):
    constant = torch.ones(240, 1)
    found = two_samples({"a": {0: constant}, "b": {}}, second, 0)
    assert found.p_value == 1.0
    assert found.groups["b"] == {}
