"""Densities of one column given what boosted trees say of it: kinds of the average where trees predict best.

Trees follow jumps and interactions of many given columns that a network learns only from many rows; but their
predictions are numbers, not a density. So they become features: for every fold of the rows, boosted trees learn from
the other folds the mean of a number, and how far it is from there, or the scores of classes. What they say of rows that
they did not see is the context of an ordinary density, which learns what remains, its shape, and how far the trees can
be trusted. In the end, that context is the mean of the trees of all folds.

Reference:
    Wolpert (1992), Stacked generalization, Neural Networks 5.
    Ke et al. (2017), LightGBM: a highly efficient gradient boosting decision tree.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...nets.trees import Trees
from .kinds import Features
from .members import Points, others

MOST_ROWS = 20_000  # on which trees are tried
STOPPED, MOST_TREES, FEW_TREES = 500, 200, 80  # rows from which growing stops by some of them; trees, and without that
LEAST = 1e-2  # standard deviations: the smallest distance from the mean that is told
ABSENT = -8.0  # the score of a class that some rows lack
OPTIONS: dict[str, Any] = {"learning_rate": 0.06, "max_leaf_nodes": 15, "min_samples_leaf": 8, "l2_regularization": 1.0}


def can_grow() -> bool:
    """Whether scikit-learn is there, which grows the trees."""
    return importlib.util.find_spec("sklearn") is not None


class TreeFeatures(Features):
    """What trees say of rows that they did not see."""

    @classmethod
    def of_number(cls, rows: Points, folds: Sequence[Tensor], seed: int) -> TreeFeatures:
        """The mean of a number, and the logarithm of its distance from what other rows' trees take for the mean."""
        given, y = _given(rows), rows.x[:, :, 0].double().mean(0).numpy()
        means, predicted = [], np.empty(len(rows))
        for k, fold in enumerate(folds):
            some = others(folds, k)
            means.append(_boosted("Regressor", given[some], y[some], rows.weight[some], seed))
            predicted[fold] = means[-1].predict(given[fold])
        away = np.log(np.abs(y - predicted) + LEAST)
        trees = []
        for k, mean in enumerate(means):
            some = others(folds, k)
            distance = _boosted("Regressor", given[some], away[some], rows.weight[some], seed)
            trees.append(Trees.of(given.shape[1], [*_sums(mean), *_sums(distance)]))
        return cls._told(rows, folds, trees)

    @classmethod
    def of_classes(cls, rows: Points, folds: Sequence[Tensor], classes: int, seed: int) -> TreeFeatures:
        """A score of each class."""
        given, codes, trees = _given(rows), rows.x[0, :, 0].numpy(), []
        for k in range(len(folds)):
            some = others(folds, k)
            model = _boosted("Classifier", given[some], codes[some], rows.weight[some], seed)
            sums = [(0.0, []), *_sums(model)] if len(model.classes_) == 2 else _sums(model)
            known = dict(zip(model.classes_.astype(int).tolist(), sums, strict=True))
            trees.append(Trees.of(given.shape[1], [known.get(k, (ABSENT, [])) for k in range(classes)]))
        return cls._told(rows, folds, trees)

    @classmethod
    def _told(cls, rows: Points, folds: Sequence[Tensor], trees: Sequence[Trees]) -> TreeFeatures:
        assert rows.context is not None
        told = torch.empty(len(rows), trees[0].outputs)
        for fold, grown in zip(folds, trees, strict=True):
            told[fold] = grown(rows.context[fold])
        return cls(Points(rows.x, told, rows.weight), folds, trees, Trees.mean(trees), "on trees")


def _given(rows: Points) -> np.ndarray:
    assert rows.context is not None
    return rows.context.float().numpy()


def _boosted(kind: str, given: np.ndarray, y: np.ndarray, weight: Tensor, seed: int) -> Any:
    """Boosted trees of some rows; of many, some tell when to stop."""
    from sklearn import ensemble

    stops = len(y) >= STOPPED
    options = {**OPTIONS, "max_iter": MOST_TREES if stops else FEW_TREES, "early_stopping": stops}
    model = getattr(ensemble, f"HistGradientBoosting{kind}")(random_state=seed, **options)
    return model.fit(given, y, sample_weight=weight.numpy())


def _sums(model: Any) -> list[tuple[float, list[Any]]]:
    """For each output, the constant and the nodes of the trees, which scikit-learn keeps under private names."""
    start = np.ravel(model._baseline_prediction).tolist()
    return [(b, [grown[j].nodes for grown in model._predictors]) for j, b in enumerate(start)]
