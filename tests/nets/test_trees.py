"""Boosted trees as a module give what the library that grew them gives, row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

import pushforward as pf
from pushforward.nets.trees import Trees
from pushforward.saving.config import build, describe
from pushforward.tables.selection.trees import _sums

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 3)).astype(np.float32)
Y = X[:, 0] * (X[:, 1] > 0) + 0.1 * RNG.normal(size=300)


def grown(seed: int = 0) -> tuple[HistGradientBoostingRegressor, Trees]:
    model = HistGradientBoostingRegressor(max_iter=20, random_state=seed, max_features=0.5).fit(X, Y)
    return model, Trees.of(3, _sums(model))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_are_the_predictions_of_the_library(dtype: torch.dtype) -> None:
    model, trees = grown()
    x = np.concatenate([X, np.nextafter(X, np.float32(np.inf)), 3 * X])
    found = trees.to(dtype)(torch.from_numpy(x).to(dtype))[:, 0]
    np.testing.assert_allclose(found.numpy(), model.predict(x), atol=1e-5)


def test_scores_of_classes_are_outputs_side_by_side() -> None:
    model = HistGradientBoostingClassifier(max_iter=10).fit(X, np.digitize(Y, [-0.3, 0.3]))
    found = Trees.of(3, _sums(model))(torch.from_numpy(X))
    np.testing.assert_allclose(found.numpy(), model.decision_function(X), atol=1e-5)


def test_the_mean_of_several() -> None:
    parts = [grown(seed)[1] for seed in range(3)]
    expected = torch.stack([part(torch.from_numpy(X)) for part in parts]).mean(0)
    torch.testing.assert_close(Trees.mean(parts)(torch.from_numpy(X)), expected)


def test_any_batch_shape_and_no_rows() -> None:
    trees, x = grown()[1], torch.from_numpy(X)
    torch.testing.assert_close(trees(x.view(2, 150, 3)), trees(x).view(2, 150, 1))
    torch.testing.assert_close(trees(x.expand(4, 300, 3)), trees(x).expand(4, 300, 1))
    assert trees(x[:0]).shape == (0, 1)


def test_it_is_saved_by_its_numbers(tmp_path) -> None:
    trees, x = grown()[1], torch.from_numpy(X)
    again = build(describe(trees))
    again.load_state_dict(trees.state_dict())
    assert torch.equal(again(x), trees(x))
    flow = pf.distributions.GivenFeatures(pf.nsf(1, context=1, layers=1, hidden=(8,)), trees, context=3)
    pf.save(flow, tmp_path / "m")
    assert torch.equal(pf.load(tmp_path / "m")(x[:, :1], x), flow(x[:, :1], x))
