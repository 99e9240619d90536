"""Missing cells: how near the draws of each tool come to values that were hidden, on small tables of scikit-learn's.

    python benchmarks/jobs/imputation.py [--quick]

A tenth of the cells is hidden at random. The score of a hidden cell is the continuous ranked probability score of what
was drawn for it, E|X - x| - E|X - X'| / 2, in standard deviations of its column: 0 is perfect, and a single number,
which is what most tools fill in, pays its whole error.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
from sklearn import datasets
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

import pushforward as pf

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure.jobs import main, row
from measure.results import Row

DRAWS = 20
TABLES: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "diabetes": datasets.load_diabetes,
    "breast cancer": datasets.load_breast_cancer,
}


def cases(quick: bool) -> list[str]:
    return list(TABLES)[: 1 if quick else None]


def run(case: str) -> list[Row]:
    warnings.simplefilter("ignore")  # of imputers that stop before they have converged
    x = TABLES[case](return_X_y=True)[0]
    x = (x - x.mean(0)) / x.std(0)
    hidden = np.random.default_rng(0).random(x.shape) < 0.1
    holed = np.where(hidden, np.nan, x)
    ours = crps(_ours(holed), x, hidden)
    return [row(case, rival, ours, crps(drawn, x, hidden), higher=False) for rival, drawn in _rivals(holed)]


def crps(drawn: np.ndarray, x: np.ndarray, hidden: np.ndarray) -> float:
    """The mean over the hidden cells, for draws ``(draws, n, features)``."""
    cells, truth = drawn[:, hidden], x[hidden]
    spread = np.abs(cells[:, None] - cells[None]).sum((0, 1)) / max(len(cells) * (len(cells) - 1), 1)
    return float((np.abs(cells - truth).mean(0) - spread / 2).mean())


def _ours(holed: np.ndarray) -> np.ndarray:
    table = pl.DataFrame({f"x{j}": column for j, column in enumerate(holed.T)})
    filled = pf.TableDensity(random_state=0).fit(table).impute(table, draws=DRAWS)
    return filled.to_numpy().reshape(DRAWS, *holed.shape)


def _rivals(holed: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "mean", SimpleImputer().fit_transform(holed)[None]
    yield "nearest neighbours", KNNImputer().fit_transform(holed)[None]
    chained = [IterativeImputer(sample_posterior=True, random_state=k).fit_transform(holed) for k in range(DRAWS)]
    yield "chained equations, draws", np.stack(chained)


if __name__ == "__main__":
    meaning = "Score of hidden cells, in standard deviations of their columns: lower is better, 0 is perfect."
    main("imputation", "Missing cells: draws next to other imputers", meaning, cases, run)
