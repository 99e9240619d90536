"""Half of a row given the other half, on natural image patches: log p(hidden | seen), next to a Gaussian's conditional.

    BENCH_DATA=FOLDER python benchmarks/jobs/conditionals.py [--quick]

FOLDER holds bsds300/train.npy and test.npy (patches of 8 by 8 pixels without the last: rows of 63 numbers). A table's
density and its guide are fitted to ``BENCH_ROWS`` rows, 50,000 by default, in ``BENCH_STEPS`` steps each. Then a random
half of the columns is hidden, another for each of eight groups of test rows; the mean log-density of what is hidden
given the rest is the difference of the whole row's and of a marginal, which is integrated over draws of the guide, with
a standard error. Where few draws count, the marginal is too small and the difference too large: the share of such rows
is in the name of the row, and beside it stands the guide's own answer, which is exact. The Gaussian has the training
rows' mean and covariance. In nats a row. From the papers, with up to a million training rows: 81.8 (ACFlow, Li,
Akbar, Oliva 2020, arXiv:1909.06319) and 86.7 (ACE, Strauss, Oliva 2021, arXiv:2102.04426).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import polars as pl
import torch

import pushforward as pf

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure.jobs import main, row
from measure.results import Row

FOLDER, STEPS = Path(os.environ.get("BENCH_DATA", "."), "bsds300"), int(os.environ.get("BENCH_STEPS", "2000"))
ROWS = int(os.environ.get("BENCH_ROWS", "50000"))
GROUPS, TESTED = 8, 60  # test rows of each group


def cases(quick: bool) -> list[str]:
    return ["bsds300"] if (FOLDER / "train.npy").exists() else []


def run(case: str) -> list[Row]:
    train, test = (np.load(FOLDER / f"{name}.npy")[:n].astype(float) for name, n in (("train", ROWS), ("test", 5000)))
    model = pf.TableDensity("nsf", steps=STEPS, random_state=0).fit(_table(train))
    mean, covariance = train.mean(0), np.cov(train.T)
    rng = np.random.default_rng(0)
    ours, alone, theirs, errors = [], [], [], []
    for group in range(GROUPS):
        x, seen = test[group :: len(test) // TESTED], np.sort(rng.permutation(train.shape[1])[: train.shape[1] // 2])
        value, error = model.score_samples(_table(x), given=[f"x{j}" for j in seen], errors=True)
        ours.append(value)
        errors.append(error)
        alone.append(_guide(model, x, seen))
        theirs.append(_normal(x, mean, covariance) - _normal(x[:, seen], mean[seen], covariance[np.ix_(seen, seen)]))
    few = float((np.concatenate(errors) > 0.5).mean())
    mean_of = [float(np.concatenate(part).mean()) for part in (ours, alone, theirs)]
    rival = "a Gaussian's conditional"
    return [
        row(f"{case}, density and guide; errors above 0.5 on {few:.0%}", rival, mean_of[0], mean_of[2], higher=True),
        row(f"{case}, guide alone", rival, mean_of[1], mean_of[2], higher=True),
    ]


def _guide(model: pf.TableDensity, x: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The guide's own log p(hidden | seen), along the order of the columns."""
    given = torch.zeros(x.shape[1], dtype=torch.bool)
    given[torch.from_numpy(seen)] = True
    assert model.guided is not None
    with torch.no_grad():
        return model.guided.guide.log_prob(torch.from_numpy(x), given=given).double().numpy()


def _normal(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    normal = torch.distributions.MultivariateNormal(torch.from_numpy(mean), torch.from_numpy(covariance))
    return normal.log_prob(torch.from_numpy(x)).numpy()


def _table(x: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({f"x{j}": column for j, column in enumerate(x.T)})


if __name__ == "__main__":
    meaning = "Mean log p(hidden half | seen half) of test rows, in nats: higher is better."
    main("conditionals", "Half of a row given the other half", meaning, cases, run)
