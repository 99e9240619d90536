"""Questions about some of the columns with known answers: mixtures of Gaussians in 8 dimensions.

    [BENCH_ROWS=50000] [BENCH_MIXTURES=6] [BENCH_DATA=FOLDER] python benchmarks/jobs/marginals.py [--quick]

A table's density is fitted, with all defaults and a seed, to rows of a random mixture of 3 to 8 Gaussians. Then the
log-density of every pair of columns, and of three random halves given the other half, is compared with the truth: the
mean error next to the 0.05 nats required, and the share within two of its reported standard errors next to 95 %.

Of FOLDER/tabular/protein.npz (CASP, Rana 2013), fitted in 1,000 steps, 100,000 rows with three of ten columns missing
are scored: the seconds are compared with the two minutes required.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import pushforward as pf

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure.jobs import main, row
from measure.results import Row

COLUMNS, TESTED, HALVES = 8, 300, 3
ROWS, MIXTURES = int(os.environ.get("BENCH_ROWS", "50000")), int(os.environ.get("BENCH_MIXTURES", "6"))
PROTEIN = Path(os.environ.get("BENCH_DATA", "."), "tabular", "protein.npz")
MANY, HIDDEN = 100_000, 3


class Mixture:
    """A random mixture of 3 to 8 Gaussians, with centres two to three of their widths apart."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        size = int(self.rng.integers(3, 9))
        self.weights = self.rng.dirichlet(np.full(size, 3.0))
        self.means = self.rng.normal(size=(size, COLUMNS)) * self.rng.uniform(2, 3)
        turns = [np.linalg.qr(self.rng.normal(size=(COLUMNS, COLUMNS)))[0] for _ in range(size)]
        self.covariances = [(q * self.rng.uniform(0.3, 1.5, size=COLUMNS) ** 2) @ q.T for q in turns]

    def sample(self, n: int) -> np.ndarray:
        which = self.rng.choice(len(self.weights), n, p=self.weights)
        factors = np.linalg.cholesky(self.covariances)[which]
        return self.means[which] + np.einsum("nij,nj->ni", factors, self.rng.normal(size=(n, COLUMNS)))

    def log_prob(self, x: np.ndarray, columns: list[int]) -> np.ndarray:
        parts = [
            np.log(weight) + multivariate_normal(mean[columns], covariance[np.ix_(columns, columns)]).logpdf(x)
            for weight, mean, covariance in zip(self.weights, self.means, self.covariances, strict=True)
        ]
        return logsumexp(parts, axis=0)


def cases(quick: bool) -> list[str]:
    if quick:
        return ["mixture 0 of 2000 rows"]
    return [f"mixture {seed} of {ROWS} rows" for seed in range(MIXTURES)] + (["protein"] if PROTEIN.exists() else [])


def run(case: str) -> list[Row]:
    return _protein() if case == "protein" else _mixture(case)


def _mixture(case: str) -> list[Row]:
    seed, rows = int(case.split()[1]), int(case.split()[3])
    truth = Mixture(seed)
    model = pf.TableDensity(random_state=seed).fit(_frame(truth.sample(rows), range(COLUMNS)))
    x, found = truth.sample(TESTED), []
    for pair in map(list, itertools.combinations(range(COLUMNS), 2)):
        value, error = model.score_samples(_frame(x[:, pair], pair), errors=True)
        found.append(_compared(value, error, truth.log_prob(x[:, pair], pair)))
    result = _rows(case, "pairs", found)
    found = []
    for order in (truth.rng.permutation(COLUMNS) for _ in range(HALVES)):
        half = sorted(order[: COLUMNS // 2].tolist())
        everything = list(range(COLUMNS))
        value, error = model.score_samples(_frame(x, everything), given=[f"x{j}" for j in half], errors=True)
        found.append(_compared(value, error, truth.log_prob(x, everything) - truth.log_prob(x[:, half], half)))
    return [*result, *_rows(case, "halves", found)]


def _compared(value: np.ndarray, error: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    away = np.abs(value - truth)
    return float(away.mean()), float((away <= 2 * error).mean())


def _rows(case: str, what: str, found: list[tuple[float, float]]) -> list[Row]:
    away, within = np.mean(found, 0)
    return [
        row(f"{case}, {what}, mean error in nats", "what is asked", float(away), 0.05, higher=False),
        row(f"{case}, {what}, share within two errors", "what is asked", float(within), 0.95, higher=True),
    ]


def _protein() -> list[Row]:
    data, rng = np.load(PROTEIN), np.random.default_rng(0)
    train, test = data["train"].astype(float), data["test"].astype(float)
    columns = list(range(train.shape[1]))
    model = pf.TableDensity(steps=1000, random_state=0).fit(_frame(train, columns))
    seen = sorted(rng.permutation(len(columns))[HIDDEN:].tolist())
    asked = _frame(test[rng.integers(len(test), size=MANY)][:, seen], seen)
    started = time.perf_counter()
    _, error = model.score_samples(asked, errors=True)
    seconds = time.perf_counter() - started
    return [
        row(f"{MANY} rows, seconds", "what is asked", seconds, 120.0, higher=False),
        row("their median standard error, nats", "a tenth", float(np.median(error)), 0.1, higher=False),
    ]


def _frame(x: np.ndarray, columns: Iterable[int]) -> pl.DataFrame:
    return pl.DataFrame({f"x{j}": column for j, column in zip(columns, x.T, strict=True)})


if __name__ == "__main__":
    meaning = "Questions about some columns of a table, against the truth where it is known."
    main("marginals", "Questions about some of the columns", meaning, cases, run)
