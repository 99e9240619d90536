"""Missing cells: how close each tool's draws come to values that were hidden.

    [BENCH_DATA=FOLDER] python benchmarks/jobs/imputation.py [--quick]

In small tables from scikit-learn, a tenth of the cells is hidden at random. The score of a hidden cell is the
continuous ranked probability score of its draws, E|X - x| - E|X - X'| / 2, in standard deviations of its
column: 0 is perfect, and for a single number, which most tools fill in, it is the absolute error.

In large tables, a fifth of the cells is hidden in ``BENCH_ROWS`` training rows (36,000) and in ``BENCH_TESTED`` others
(1,000), which are filled. The mean of ten draws is a point estimate for a cell, judged by its root mean square error in
standard deviations, next to those of chained equations. Intervals of 90 % from 100 draws should hold 90 % of the
values: reported is the deviation from that, next to the 0.03 required. FOLDER holds tabular/protein.npz
(CASP, Rana 2013) and bsds300/train.npy and test.npy (natural image patches); the density is fitted in ``BENCH_STEPS``
steps (1,000), its guide in three times as many.
"""

from __future__ import annotations

import os
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
FOLDER, STEPS = Path(os.environ.get("BENCH_DATA", ".")), int(os.environ.get("BENCH_STEPS", "1000"))
LARGE = {"protein": "tabular/protein.npz", "bsds300": "bsds300/train.npy"}
ROWS, TESTED = (int(os.environ.get(f"BENCH_{name}", most)) for name, most in (("ROWS", 36_000), ("TESTED", 1000)))
TABLES: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "diabetes": datasets.load_diabetes,
    "breast cancer": datasets.load_breast_cancer,
}


def cases(quick: bool) -> list[str]:
    return list(TABLES)[:1] if quick else [*TABLES, *(name for name, path in LARGE.items() if (FOLDER / path).exists())]


def run(case: str) -> list[Row]:
    warnings.simplefilter("ignore")  # imputers that stop before convergence
    return _large(case) if case in LARGE else _small(case)


def _small(case: str) -> list[Row]:
    x = TABLES[case](return_X_y=True)[0]
    x = (x - x.mean(0)) / x.std(0)
    hidden = np.random.default_rng(0).random(x.shape) < 0.1
    holed = np.where(hidden, np.nan, x)
    drawn = pf.TableDensity(random_state=0).fit(_table(holed)).impute(_table(holed), draws=DRAWS)
    ours = crps(drawn.to_numpy().reshape(DRAWS, *holed.shape), x, hidden)
    return [row(case, rival, ours, crps(theirs, x, hidden), higher=False) for rival, theirs in _rivals(holed)]


def _large(case: str) -> list[Row]:
    train, test = _rows(case)
    rng = np.random.default_rng(0)
    hidden = rng.random(test.shape) < 0.2
    known, holed = np.where(rng.random(train.shape) < 0.2, np.nan, train), np.where(hidden, np.nan, test)
    model = pf.TableDensity("nsf", steps=STEPS, random_state=0).fit(_table(known))
    ten, hundred = (model.impute(_table(holed), draws=k).to_numpy().reshape(k, *test.shape) for k in (10, 100))
    ours = _rmse(ten.mean(0), test, hidden)
    chained = _rmse(IterativeImputer(random_state=0).fit(known).transform(holed), test, hidden)
    low, high = np.quantile(hundred, [0.05, 0.95], axis=0)
    covered = float(((low <= test) & (test <= high))[hidden].mean())
    return [
        row(f"{case}, error of the mean of ten draws", "chained equations", ours, chained, higher=False),
        row(f"{case}, intervals of 90 % hold {covered:.1%}", "3 points", abs(covered - 0.9), 0.03, higher=False),
    ]


def _rows(case: str) -> tuple[np.ndarray, np.ndarray]:
    """Training rows, and others to fill, in standard deviations of the training rows."""
    path = FOLDER / LARGE[case]
    both = np.load(path) if path.suffix == ".npz" else {n: np.load(path.with_stem(n)) for n in ("train", "test")}
    train, test = (np.asarray(both[name], dtype=float)[:n] for name, n in (("train", ROWS), ("test", TESTED)))
    return (train - train.mean(0)) / train.std(0), (test - train.mean(0)) / train.std(0)


def _rmse(guess: np.ndarray, x: np.ndarray, hidden: np.ndarray) -> float:
    return float(np.sqrt(np.mean((guess - x)[hidden] ** 2)))


def crps(drawn: np.ndarray, x: np.ndarray, hidden: np.ndarray) -> float:
    """The mean over the hidden cells, for draws ``(draws, n, features)``."""
    cells, truth = drawn[:, hidden], x[hidden]
    spread = np.abs(cells[:, None] - cells[None]).sum((0, 1)) / max(len(cells) * (len(cells) - 1), 1)
    return float((np.abs(cells - truth).mean(0) - spread / 2).mean())


def _table(x: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({f"x{j}": column for j, column in enumerate(x.T)})


def _rivals(holed: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "mean", SimpleImputer().fit_transform(holed)[None]
    yield "nearest neighbours", KNNImputer().fit_transform(holed)[None]
    chained = [IterativeImputer(sample_posterior=True, random_state=k).fit_transform(holed) for k in range(DRAWS)]
    yield "chained equations, draws", np.stack(chained)


if __name__ == "__main__":
    meaning = "Errors at hidden cells, in standard deviations of their columns: lower is better, 0 is perfect."
    main("imputation", "Missing cells: draws next to other imputers", meaning, cases, run)
