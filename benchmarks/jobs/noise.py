"""Densities of true values from noisy measurements: next to extreme deconvolution, on values that have no noise.

    python benchmarks/jobs/noise.py [--quick]

Needs astroML, whose own example (a bent stream in a plane, from 2,000 points with errors of their own) is the first
case; the second is a ring. Ours fits with all defaults but ``noise``. The measure is the mean log-density of 20,000
true values that neither has seen, in nats: the difference of two is that of their divergences from the truth.

Reference:
    Bovy, Hogg, Roweis (2011), Extreme deconvolution, arXiv:0905.2979.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from astroML.density_estimation import XDGMM

import pushforward as pf

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure.jobs import main, row
from measure.results import Row

ROWS, FRESH, COMPONENTS, ITERATIONS = 2_000, 20_000, 10, 500  # the latter two as in astroML's example
NOISE = {"x": "x_err", "y": "y_err"}


def stream(random: np.random.Generator, n: int) -> np.ndarray:
    """astroML's bent stream, which is narrower on one side."""
    x = (1.4 + 2 * random.random(n)) ** 2
    spread = random.normal(0, 1, (2, n)) * np.stack([0.1 + 4 / x**2, 0.1 + 10 / x**2])
    return np.stack([x, 0.1 * x**2], 1) + spread.T


def ring(random: np.random.Generator, n: int) -> np.ndarray:
    """A ring of radius 4 and width 0.2."""
    angle, radius = random.uniform(0, 2 * np.pi, n), random.normal(4, 0.2, n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


TRUTHS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {"stream": stream, "ring": ring}


def run(case: str) -> list[Row]:
    """The mean log-densities of ours and of extreme deconvolution."""
    warnings.simplefilter("ignore")
    random = np.random.default_rng(0)
    true, fresh = (TRUTHS[case](random, n) for n in (ROWS, FRESH))
    errors = 0.2 + 0.5 * random.random((ROWS, 2))
    seen = true + errors * random.normal(size=true.shape)
    rival = XDGMM(COMPONENTS, max_iter=ITERATIONS, random_state=0).fit(seen, np.stack([np.diag(e**2) for e in errors]))
    theirs = float(rival.logL(fresh, np.zeros((FRESH, 2, 2))) / FRESH)
    table = pd.DataFrame(np.hstack([seen, errors]), columns=["x", "y", *NOISE.values()])
    model = pf.TableDensity(noise=NOISE, threads=1).fit(table)
    exact = pd.DataFrame(np.hstack([fresh, np.zeros_like(fresh)]), columns=table.columns)
    return [row(case, "extreme deconvolution", model.score(exact), theirs, higher=True)]


if __name__ == "__main__":
    main(
        "noise",
        "True values from noisy measurements",
        "Mean log-density of true values, in nats; more is nearer to the truth.",
        lambda quick: list(TRUTHS)[: 1 if quick else None],
        run,
    )
