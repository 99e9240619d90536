"""One column given the others: probabilities of classes, and quantiles of numbers, next to scikit-learn's predictors.

    python benchmarks/jobs/prediction.py [--quick]

Tables that ship inside scikit-learn and plotnine are divided ``BENCH_DIVISIONS`` times (3): two thirds of the rows,
2,000 at most, are fitted by default options, and as many of the others are predicted. Classes are judged by log-loss in
nats, probabilities below 1e-4 taken for that; numbers by the mean pinball loss of nine deciles, in standard deviations,
about half of the continuous ranked probability score.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import BayesianRidge
from sklearn.preprocessing import OrdinalEncoder

import pushforward as pf
from pushforward.cli.demo import bundled_table

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure.jobs import main, row
from measure.results import Row

DIVISIONS, MOST = int(os.environ.get("BENCH_DIVISIONS", "3")), 2000
CLASSES = {"iris": "target", "wine": "target", "breast cancer": "target", "diamonds: cut": "cut"}
NUMBERS = {"diabetes": "target", "wine: alcohol": "alcohol", "diamonds: depth": "depth", "diamonds: price": "price"}
DECILES = [k / 10 for k in range(1, 10)]
RIVALS = ("boosting", "forest", "linear regression")
Losses = Iterator[tuple[str, float]]


def cases(quick: bool) -> list[str]:
    return ["iris", "diabetes"] if quick else [*CLASSES, *NUMBERS]


def run(case: str) -> list[Row]:
    warnings.simplefilter("ignore")
    table, target = _table(case), (CLASSES | NUMBERS)[case]
    scores: dict[str, list[float]] = {}
    for seed in range(DIVISIONS):
        order = np.random.default_rng(seed).permutation(len(table))
        fitted, fresh = order[: min(2 * len(order) // 3, MOST)], order[2 * len(order) // 3 :][:MOST]
        x, y = table.drop(columns=target), table[target].to_numpy()
        judged = _probabilities if case in CLASSES else _deciles
        for name, loss in judged(x.iloc[fitted], y[fitted], x.iloc[fresh], y[fresh], seed):
            scores.setdefault(name, []).append(loss)
    mean = {name: float(np.mean(losses)) for name, losses in scores.items()}
    return [
        row(case, name, mean["pushforward"], theirs, higher=False) for name, theirs in mean.items() if name in RIVALS
    ]


def _table(case: str) -> pd.DataFrame:
    if case.startswith("diamonds"):
        return pd.read_csv(bundled_table())
    loaders = {"iris": "iris", "wine": "wine", "breast cancer": "breast_cancer", "diabetes": "diabetes"}
    return getattr(datasets, f"load_{loaders[case.split(':')[0]]}")(as_frame=True).frame


def _probabilities(x: pd.DataFrame, y: np.ndarray, fresh: pd.DataFrame, truth: np.ndarray, seed: int) -> Losses:
    known, asked = _codes(x, fresh)
    ours = pf.FlowClassifier(random_state=seed).fit(x, y)
    boosting = HistGradientBoostingClassifier(early_stopping=True, random_state=seed).fit(known, y)
    forest = RandomForestClassifier(300, min_samples_leaf=3, random_state=seed).fit(known, y)
    for name, model, rows in (("pushforward", ours, fresh), ("boosting", boosting, asked), ("forest", forest, asked)):
        share = np.clip(model.predict_proba(rows), 1e-4, 1)
        place = np.searchsorted(model.classes_, truth)
        yield name, -np.log((share / share.sum(1, keepdims=True))[np.arange(len(truth)), place]).mean()


def _deciles(x: pd.DataFrame, y: np.ndarray, fresh: pd.DataFrame, truth: np.ndarray, seed: int) -> Losses:
    known, asked = _codes(x, fresh)
    ours = pf.FlowRegressor(random_state=seed).fit(x, y)
    yield "pushforward", _pinball(ours.predict_quantile(fresh, DECILES), truth, y)
    trees = (HistGradientBoostingRegressor(loss="quantile", quantile=q, random_state=seed) for q in DECILES)
    yield "boosting", _pinball(np.sort(np.stack([tree.fit(known, y).predict(asked) for tree in trees], 1)), truth, y)
    mean, spread = BayesianRidge().fit(known, y).predict(asked, return_std=True)
    normal = np.array([-1.2816, -0.8416, -0.5244, -0.2533, 0.0, 0.2533, 0.5244, 0.8416, 1.2816])
    yield "linear regression", _pinball(mean[:, None] + spread[:, None] * normal, truth, y)


def _pinball(deciles: np.ndarray, truth: np.ndarray, y: np.ndarray) -> float:
    off, level = truth[:, None] - deciles, np.array(DECILES)
    return float(np.maximum(level * off, (level - 1) * off).mean() / y.std())


def _codes(x: pd.DataFrame, fresh: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The same with codes for text, for predictors that take numbers alone."""
    texts = x.select_dtypes(exclude="number").columns
    coded = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    if not len(texts):
        return x.to_numpy(float), fresh.to_numpy(float)
    coded.fit(x[texts])
    known, asked = (each.assign(**dict(zip(texts, coded.transform(each[texts]).T, strict=True))) for each in (x, fresh))
    return known.to_numpy(float), asked.to_numpy(float)


if __name__ == "__main__":
    meaning = "Classes: log-loss, nats. Numbers: pinball loss of nine deciles, standard deviations. Lower is better."
    main("prediction", "One column given the others", meaning, cases, run)
