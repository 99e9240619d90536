"""Training rows with holes: the value of incomplete rows when a fifth of the training cells is hidden.

    [BENCH_DATA=FOLDER] python benchmarks/jobs/holes.py [--quick]

One density is fitted to ``BENCH_ROWS`` rows (20,000) in ``BENCH_STEPS`` steps (600), one to the same rows with a
fifth of the cells hidden at random, and one to those of the latter that are still complete. All are scored on 2,000
other, complete rows. FOLDER holds tabular/protein.npz (CASP, Rana 2013), tabular/diamonds.csv and
anomaly/32_shuttle.npz; the quick case is a table from scikit-learn.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import polars as pl
from sklearn import datasets

import pushforward as pf

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure.jobs import main, row
from measure.results import Row

FOLDER, STEPS = Path(os.environ.get("BENCH_DATA", ".")), int(os.environ.get("BENCH_STEPS", "600"))
ROWS, TESTED, HELD_OUT = int(os.environ.get("BENCH_ROWS", "20000")), 2000, 1000
TABLES = {"protein": "tabular/protein.npz", "diamonds": "tabular/diamonds.csv", "shuttle": "anomaly/32_shuttle.npz"}


def cases(quick: bool) -> list[str]:
    return ["breast cancer"] if quick else [name for name, path in TABLES.items() if (FOLDER / path).exists()]


def run(case: str) -> list[Row]:
    table = _table(case).sample(fraction=1.0, shuffle=True, seed=0)
    tested, held_out = min(TESTED, table.height // 8), min(HELD_OUT, table.height // 16)
    test, validation, train = table[:tested], table[tested : tested + held_out], table[tested + held_out :][:ROWS]
    rng = np.random.default_rng(0)
    holed, judged = _holed(train, rng), _holed(validation, rng)
    ours, everything, complete = (
        _score(*rows, test)
        for rows in ((holed, judged), (train, validation), (holed.drop_nulls(), judged.drop_nulls()))
    )
    return [
        row(case, "everything", ours, everything, higher=True),
        row(case, "complete rows alone", ours, complete, higher=True),
    ]


def _score(train: pl.DataFrame, validation: pl.DataFrame, test: pl.DataFrame) -> float:
    """The mean log-density of the test rows, excluding those with density 0."""
    scores = pf.TableDensity("nsf", steps=STEPS, random_state=0).fit(train, validation=validation).score_samples(test)
    return float(scores[np.isfinite(scores)].mean())


def _holed(table: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    there = rng.random(table.shape) >= 0.2
    return table.with_columns(
        pl.when(pl.Series(seen)).then(pl.col(name)).alias(name)
        for name, seen in zip(table.columns, there.T, strict=True)
    )


def _table(case: str) -> pl.DataFrame:
    if case not in TABLES:
        x = datasets.load_breast_cancer().data[:, :6]
    elif TABLES[case].endswith(".csv"):
        return pl.read_csv(FOLDER / TABLES[case], infer_schema_length=None)
    else:
        found = np.load(FOLDER / TABLES[case])
        x = found["X"] if "X" in found else found["train"]
    return pl.DataFrame({f"x{j}": column for j, column in enumerate(np.asarray(x, dtype=float).T)})


if __name__ == "__main__":
    meaning = "Mean log-density of complete test rows, in nats: higher is better."
    main("holes", "Training rows with a fifth of their cells hidden", meaning, cases, run)
