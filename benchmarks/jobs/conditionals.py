"""Half of a row given the other half, on natural image patches: log p(hidden | seen), next to a Gaussian's conditional.

    BENCH_DATA=FOLDER python benchmarks/jobs/conditionals.py [--quick]

FOLDER holds bsds300/train.npy and test.npy (patches of 8 by 8 pixels without the last: rows of 63 numbers). A table's
density p and its guide q are fitted to ``BENCH_ROWS`` rows, 50,000 by default, in ``BENCH_STEPS`` steps each. Then a
random half h of the columns is hidden, a new one for each of eight groups of test rows. The first result is a lower
bound on the log-density of imputation's draws, one of K + 1 proposals of the guide in proportion to their weights:

    log q(h | seen) + log w - log mean(w, w_1, ..., w_K),  w = p(seen, h) / q(h | seen)

The difference of two scores, log p(seen, h) - log p(seen), would be too large if few draws dominate: its second term
is then too small. The guide's own answer, which is exact, is reported too. The Gaussian has the training rows' mean
and covariance. In nats per row. Papers, with up to a million training rows: 81.8 (ACFlow, Li, Akbar, Oliva 2020,
arXiv:1909.06319) and 86.7 (ACE, Strauss, Oliva 2021, arXiv:2102.04426).
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
DRAWS = 64


def cases(quick: bool) -> list[str]:
    return ["bsds300"] if (FOLDER / "train.npy").exists() else []


def run(case: str) -> list[Row]:
    train, test = (np.load(FOLDER / f"{name}.npy")[:n].astype(float) for name, n in (("train", ROWS), ("test", 5000)))
    model = pf.TableDensity("nsf", steps=STEPS, random_state=0).fit(_table(train))
    mean, covariance = train.mean(0), np.cov(train.T)
    rng = np.random.default_rng(0)
    parts = []
    for group in range(GROUPS):
        x, seen = test[group :: len(test) // TESTED], np.sort(rng.permutation(train.shape[1])[: train.shape[1] // 2])
        theirs = _normal(x, mean, covariance) - _normal(x[:, seen], mean[seen], covariance[np.ix_(seen, seen)])
        parts.append(np.stack([*_ours(model, torch.from_numpy(x), torch.from_numpy(seen)), theirs]))
    both, alone, gaussian = (float(part) for part in np.concatenate(parts, 1).mean(1))
    rival = "a Gaussian's conditional"
    return [
        row(f"{case}, density and guide, {DRAWS} draws", rival, both, gaussian, higher=True),
        row(f"{case}, guide alone", rival, alone, gaussian, higher=True),
    ]


@torch.no_grad()
def _ours(model: pf.TableDensity, x: torch.Tensor, seen: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The bound, and the guide's own log q(hidden | seen), for every row."""
    assert model.guided is not None
    joint, guide = model.guided.joint, model.guided.guide
    given = torch.zeros(x.shape[1], dtype=torch.bool)
    given[seen] = True
    holed = x.masked_fill(~given, torch.nan).expand(DRAWS, -1, -1)
    filled, log_q = guide.fill(holed, torch.randn(holed.shape, generator=torch.Generator().manual_seed(0)))
    alone = guide.log_prob(x, given=given).double()
    w, others = joint.log_prob(x).double() - alone, joint.log_prob(filled).double() - log_q.double()
    mean = torch.cat([w[None], others.nan_to_num(nan=-torch.inf)]).logsumexp(0) - np.log(DRAWS + 1)
    return (alone + w - mean).numpy(), alone.numpy()


def _normal(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    normal = torch.distributions.MultivariateNormal(torch.from_numpy(mean), torch.from_numpy(covariance))
    return normal.log_prob(torch.from_numpy(x)).numpy()


def _table(x: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({f"x{j}": column for j, column in enumerate(x.T)})


if __name__ == "__main__":
    meaning = "Mean log p(hidden half | seen half) of test rows, in nats: higher is better."
    main("conditionals", "Half of a row given the other half", meaning, cases, run)
