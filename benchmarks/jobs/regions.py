"""Regions and quantiles with known answers: mixtures of Gaussians with a category, which the guide has to integrate.

    [BENCH_ROWS=5000] [BENCH_MIXTURES=4] python benchmarks/jobs/regions.py [--quick]

A table of five numbers and a category is drawn from a random mixture and fitted; then the density is replaced by the
mixture itself, without its closed forms, so that every error is one of the answers. A hundred regions of probability
3e-6 to 3e-5 are asked at once, and quantiles of a column given none to three others one after another.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm
from torch import Tensor, nn

import pushforward as pf
from pushforward.distributions.base import Density

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure.jobs import main, row
from measure.results import Row

NUMBERS, CODES = 5, "abc"
ROWS, MIXTURES = int(os.environ.get("BENCH_ROWS", "5000")), int(os.environ.get("BENCH_MIXTURES", "4"))
REGIONS, RARE, QUANTILES = 100, (3e-6, 3e-5), 12
Q = (0.05, 0.25, 0.5, 0.75, 0.95)
Box = dict[int, tuple[float, float]]


class Mixture(Density):
    """A random mixture of 3 to 6 Gaussians, each with its own shares of the category; no closed forms."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.event_shape, self.rng = torch.Size((NUMBERS + 1,)), np.random.default_rng(seed)
        size = int(self.rng.integers(3, 7))
        self.weights = self.rng.dirichlet(np.full(size, 3.0))
        self.means = self.rng.normal(size=(size, NUMBERS)) * self.rng.uniform(1, 2)
        turns = [np.linalg.qr(self.rng.normal(size=(NUMBERS, NUMBERS)))[0] for _ in range(size)]
        self.covariances = np.stack([(q * self.rng.uniform(0.3, 1.5, NUMBERS) ** 2) @ q.T for q in turns])
        self.shares = self.rng.dirichlet(np.ones(len(CODES)), size)
        self.unit = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def draw(self, n: int) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
        which = self.rng.choice(len(self.weights), n, p=self.weights)
        factors = np.linalg.cholesky(self.covariances)[which]
        x = self.means[which] + np.einsum("nij,nj->ni", factors, self.rng.normal(size=(n, NUMBERS)))
        codes = (self.rng.random(n)[:, None] > self.shares[which].cumsum(1)).sum(1).clip(0, len(CODES) - 1)
        return x, np.array(list(CODES))[codes]

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        numbers, code = x[..., :NUMBERS].double(), x[..., NUMBERS].long()
        parts = []
        for k, weight in enumerate(self.weights):
            A = torch.from_numpy(np.linalg.inv(np.linalg.cholesky(self.covariances[k])))
            z = (numbers - torch.from_numpy(self.means[k])) @ A.T
            normal = A.diagonal().log().sum() - 0.5 * z.square().sum(-1) - 0.5 * NUMBERS * np.log(2 * np.pi)
            parts.append(np.log(weight) + normal + torch.from_numpy(np.log(self.shares[k]))[code])
        return torch.stack(parts).logsumexp(0)

    def mass(self, box: Box) -> float:
        """The probability of ranges of some numbers."""
        columns = sorted(box)
        low, high = np.array([box[j] for j in columns]).T
        return float(
            sum(
                weight
                * multivariate_normal.cdf(
                    high, mean[columns], covariance[np.ix_(columns, columns)], lower_limit=low, releps=1e-6
                )
                for weight, mean, covariance in zip(self.weights, self.means, self.covariances, strict=True)
            )
        )

    def quantiles(self, j: int, given: dict[int, float]) -> tuple[NDArray[np.float64], float]:
        """Quantiles of a number given others, and its standard deviation."""
        known, parts = sorted(given), []
        values = np.array([given[i] for i in known])
        for weight, mean, covariance in zip(self.weights, self.means, self.covariances, strict=True):
            if known:
                among = covariance[np.ix_(known, known)]
                towards = np.linalg.solve(among, covariance[known, j])
                weight *= multivariate_normal.pdf(values, mean[known], among)
                moved = mean[j] + towards @ (values - mean[known]), covariance[j, j] - towards @ covariance[known, j]
            else:
                moved = mean[j], covariance[j, j]
            parts.append((weight, moved[0], np.sqrt(moved[1])))
        w, centre, scale = np.array(parts).T
        w = w / w.sum()
        spread = np.sqrt(w @ (scale**2 + centre**2) - (w @ centre) ** 2)
        found = [brentq(lambda x, p=p: w @ norm.cdf(x, centre, scale) - p, -60, 60) for p in Q]
        return np.array(found), float(spread)


def rare(truth: Mixture, n: int) -> list[tuple[Box, float]]:
    found: list[tuple[Box, float]] = []
    x, _ = truth.draw(2000)
    while len(found) < n:
        columns = truth.rng.choice(NUMBERS, 3, replace=False).tolist()
        centre, width = x[truth.rng.integers(len(x))], truth.rng.uniform(0.02, 0.12, NUMBERS) * x.std(0)
        box = {j: (float(centre[j] - width[j]), float(centre[j] + width[j])) for j in columns}
        if RARE[0] <= (mass := truth.mass(box)) <= RARE[1]:
            found.append((box, mass))
    return found


def run(case: str) -> list[Row]:
    seed, rows = int(case.split()[1]), int(case.split()[3])
    truth = Mixture(seed)
    x, codes = truth.draw(rows)
    frame = pl.DataFrame({**{f"x{j}": x[:, j] for j in range(NUMBERS)}, "c": codes})
    model: Any = pf.TableDensity(flow="gmm", random_state=seed).fit(frame)
    model.density = model.guided.joint = truth
    boxes = rare(truth, REGIONS)
    started = time.process_time()
    value = model.probability([{f"x{j}": ends for j, ends in box.items()} for box, _ in boxes])
    seconds = time.process_time() - started
    away = np.abs(value / np.array([mass for _, mass in boxes]) - 1)
    worst = []
    for k in range(QUANTILES):
        j, *others = truth.rng.permutation(NUMBERS).tolist()
        given = {i: float(x[k, i]) for i in others[: k % 4]}
        expected, spread = truth.quantiles(j, given)
        found = model.quantile(f"x{j}", Q, {f"x{i}": v for i, v in given.items()} or None)
        worst.append(float(np.abs(found - expected).max() / spread))
    return [
        row(f"{case}, seconds of {REGIONS} regions", "what is asked", seconds, 5.0, higher=False),
        row(f"{case}, share within 10 %", "what is asked", float((away < 0.1).mean()), 0.99, higher=True),
        row(f"{case}, worst quantile, deviations", "what is asked", max(worst), 0.02, higher=False),
    ]


def cases(quick: bool) -> list[str]:
    return ["mixture 0 of 500 rows"] if quick else [f"mixture {seed} of {ROWS} rows" for seed in range(MIXTURES)]


if __name__ == "__main__":
    meaning = "Rare regions and quantiles of a table, against the truth where it is known."
    main("regions", "Regions and quantiles with known answers", meaning, cases, run)
