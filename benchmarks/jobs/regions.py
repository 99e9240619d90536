"""Regions and quantiles with known answers: mixtures of Gaussians with a category, which the guide has to integrate.

    [BENCH_ROWS=5000] [BENCH_MIXTURES=12] python benchmarks/jobs/regions.py [--quick]

A table of five numbers and a category is drawn from a random mixture and fitted; then the density is replaced by the
mixture itself, without its closed forms, so that every error is one of the answers. A hundred regions of probability
3e-6 to 3e-5 are asked at once, then a hundred that are not rare, half of them given a number: how far off they are, and
how many of their 95 % intervals hold the truth; and quantiles of a column given none to three others one by one.
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
ROWS, MIXTURES = int(os.environ.get("BENCH_ROWS", "5000")), int(os.environ.get("BENCH_MIXTURES", "12"))
REGIONS, RARE, COMMON, QUANTILES = 100, (3e-6, 3e-5), (0.01, 0.99), 12
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

    def _generate(self, batch: torch.Size, context: Any, generator: Any, temperature: float) -> Tensor:
        self.rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        x, codes = self.draw(batch.numel())
        return torch.from_numpy(np.column_stack([x, [CODES.index(code) for code in codes]])).view(*batch, -1)

    def mass(self, box: Box, code: str | None = None, given: dict[int, float] | None = None) -> float:
        """The probability of ranges of some numbers, and of a code, given values of other numbers."""
        columns, total = sorted(box), 0.0
        low, high = np.array([box[j] for j in columns]).T
        for k, (weight, mean, covariance) in enumerate(self.conditionals(columns, given or {})):
            share = 1.0 if code is None else self.shares[k][CODES.index(code)]
            total += weight * share * multivariate_normal.cdf(high, mean, covariance, lower_limit=low, releps=1e-6)
        return float(total)

    def conditionals(self, columns: list[int], given: dict[int, float]) -> list[tuple[float, Any, Any]]:
        """The Gaussians of some numbers given others, and their weights."""
        known, parts = sorted(given), []
        values = np.array([given[i] for i in known])
        for weight, mean, covariance in zip(self.weights, self.means, self.covariances, strict=True):
            centre, spread = mean[columns], covariance[np.ix_(columns, columns)]
            if known:
                among, across = covariance[np.ix_(known, known)], covariance[np.ix_(known, columns)]
                towards = np.linalg.solve(among, across)
                weight = weight * multivariate_normal.pdf(values, mean[known], among)
                centre, spread = centre + (values - mean[known]) @ towards, spread - across.T @ towards
            parts.append((float(weight), centre, spread))
        total = sum(weight for weight, _, _ in parts)
        return [(weight / total, centre, spread) for weight, centre, spread in parts]

    def quantiles(self, j: int, given: dict[int, float]) -> tuple[NDArray[np.float64], float]:
        """Quantiles of a number given others, and its standard deviation."""
        parts = [(w, centre[0], np.sqrt(spread[0, 0])) for w, centre, spread in self.conditionals([j], given)]
        w, centre, scale = np.array(parts).T
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


def common(truth: Mixture, model: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far the answers to questions that are not rare lie from the truth, and their standard errors."""
    x, codes = truth.draw(2000)
    asked: list[dict[str, Any]] = []
    given: list[list[float | None]] = []
    masses: list[float] = []
    while len(asked) < REGIONS:
        columns = truth.rng.permutation(NUMBERS)[: truth.rng.integers(2, 5)].tolist()
        one, other, seen = truth.rng.choice(len(x), 3)
        known = {} if len(asked) < REGIONS // 2 else {columns[-1]: float(x[seen, columns[-1]])}
        box = {j: (float(min(x[[one, other], j])), float(max(x[[one, other], j]))) for j in columns[:-1]}
        code = str(codes[one]) if truth.rng.random() < 0.5 else None
        if COMMON[0] <= (mass := truth.mass(box, code, known)) <= COMMON[1]:
            asked.append({f"x{j}": ends for j, ends in box.items()} | ({} if code is None else {"c": code}))
            given.append([known.get(j) for j in range(NUMBERS)])
            masses.append(mass)
    cells = pl.DataFrame(given, schema=[f"x{j}" for j in range(NUMBERS)], orient="row", strict=False)
    value, error = model.probability(asked, cells.cast(pl.Float64), errors=True)
    return value - np.array(masses), error


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
    far, error = common(truth, model)
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
        row(f"{case}, mean error of a probability", "what is asked", float(np.abs(far).mean()), 0.005, higher=False),
        row(f"{case}, largest error", "what is asked", float(np.abs(far).max()), 0.005, higher=False),
        row(
            f"{case}, share within 95 % intervals",
            "what is asked",
            float((np.abs(far) <= 1.96 * error).mean()),
            0.93,
            higher=True,
        ),
        row(f"{case}, worst quantile, deviations", "what is asked", max(worst), 0.02, higher=False),
    ]


def cases(quick: bool) -> list[str]:
    return ["mixture 0 of 500 rows"] if quick else [f"mixture {seed} of {ROWS} rows" for seed in range(MIXTURES)]


if __name__ == "__main__":
    meaning = "Rare regions and quantiles of a table, against the truth where it is known."
    main("regions", "Regions and quantiles with known answers", meaning, cases, run)
