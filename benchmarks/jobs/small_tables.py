"""Small tables: held-out log-likelihood of the default fit, next to common choices for so few rows.

    python benchmarks/jobs/small_tables.py [FOLDER] [--limit N] [--quick]

From every table of 120 to 2,500 rows the numerical columns (more than ten values, few missing, no counter), 12 at
most; 80 % of the rows are for fitting, 10 % for validation, 10 % are scored. FOLDER holds CSV files; without it, tables
inside scikit-learn and statsmodels. The rivals get the rows as our flow sees them (``TableDensity.encode``: after
the same first transforms, so that no rival suffers from an income's long tail), and are scored over the same cells.
Each chooses by validation: a mixture its 1 to 20 components and their covariances, a kernel its width. A vine copula is
included if pyvinecopulib is installed. Our CPU time is in the column ``seconds``.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

import pushforward as pf

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure.jobs import main, row
from measure.results import Row, table

Values = NDArray[np.float64]
Score = Callable[[Values], Values]
LEAST, MOST, COLUMNS = 120, 2500, 12
WORST = -1e4  # nats of a row: a kernel far from all rows gives no number for it


def shipped() -> dict[str, Callable[[], pl.DataFrame]]:
    """Tables inside scikit-learn and statsmodels."""
    import statsmodels

    names = ("iris", "wine", "diabetes", "breast_cancer")
    found: dict[str, Callable[[], pl.DataFrame]] = {name: partial(bundled, name) for name in names}
    for path in sorted((Path(statsmodels.__file__).parent / "datasets").glob("*/*.csv")):
        found[path.stem] = partial(read, path)
    return found


def bundled(name: str) -> pl.DataFrame:
    return pl.DataFrame(getattr(datasets, f"load_{name}")(return_X_y=True)[0])


def read(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, infer_schema_length=None, ignore_errors=True)


def numbers(frame: pl.DataFrame) -> pl.DataFrame:
    """Complete rows of the numerical columns that are neither codes nor counters."""
    kept = []
    for column in frame:
        counter = column.dtype.is_integer() and column.n_unique() == len(frame) and column.is_sorted()
        if column.dtype.is_numeric() and column.n_unique() > 10 and column.null_count() < 0.2 * len(frame):
            kept += [] if counter else [column.name]
    return frame.select(kept[:COLUMNS]).drop_nulls()


def suits(load: Callable[[], pl.DataFrame]) -> bool:
    rows = numbers(load())
    return rows.width > 1 and LEAST <= len(rows) <= MOST


def run(tables: dict[str, Callable[[], pl.DataFrame]], case: str) -> list[Row]:
    warnings.simplefilter("ignore")  # mixtures that have not converged
    rows = numbers(tables[case]())
    order, tenth = np.random.default_rng(0).permutation(len(rows)), max(round(0.1 * len(rows)), 1)
    test, validation, train = (
        rows[np.sort(part)] for part in (order[:tenth], order[tenth : 2 * tenth], order[2 * tenth :])
    )
    started = time.process_time()
    model = pf.TableDensity(random_state=0, queries=False).fit(train, validation=validation)
    seconds, ours = time.process_time() - started, np.asarray(model.score_samples(test))
    (a, _), (b, _), (points, slopes) = (model.encode(part) for part in (train, validation, test))
    sizes = {"rows": len(train), "columns": train.width, "seconds": seconds}
    found = []
    for rival, score in rivals(a[0], b[0]):
        cells = np.stack([score(p) + slope for p, slope in zip(points, slopes, strict=True)])
        theirs = np.maximum(np.logaddexp.reduce(cells) - np.log(len(cells)), WORST)
        error = float((ours - theirs).std() / np.sqrt(len(theirs)))
        means = (float(ours.mean()), float(theirs.mean()))
        found.append(row(case, rival, *means, higher=True) | {"gain": means[0] - means[1], "error": error} | sizes)
    return found


def rivals(train: Values, validation: Values) -> Iterator[tuple[str, Score]]:
    yield "Gaussian", GaussianMixture(1, reg_covar=1e-6, random_state=0).fit(train).score_samples
    sizes = [k for k in (1, 2, 3, 5, 8, 12, 20) if 5 * k <= len(train)]
    mixtures = [
        GaussianMixture(k, covariance_type=kind, reg_covar=1e-3, max_iter=200, random_state=0).fit(train)
        for k in sizes
        for kind in ("full", "diag")
    ]
    yield "mixture", max(mixtures, key=lambda mixture: mixture.score(validation)).score_samples
    kernels = [KernelDensity(bandwidth=width).fit(train) for width in (0.1, 0.15, 0.2, 0.3, 0.4, 0.6)]
    yield "kernel", max(kernels, key=lambda kernel: kernel.score(validation)).score_samples
    try:
        import pyvinecopulib
    except ImportError:
        return
    yield "vine copula", vine(pyvinecopulib, train)


def vine(library: Any, train: Values) -> Score:
    """Kernels for columns, and for their dependence a vine of pairwise kernels."""
    margins = [library.Kde1d.from_data(column.copy()) for column in train.T]

    def uniform(x: Values) -> Values:
        columns = [margin.cdf(column.copy()) for margin, column in zip(margins, x.T, strict=True)]
        return np.clip(np.stack(columns, 1), 1e-6, 1 - 1e-6)

    families = [library.BicopFamily.tll, library.BicopFamily.indep]
    controls = library.FitControlsVinecop(family_set=families, num_threads=1)
    copula = library.Vinecop.from_data(uniform(train), controls=controls)

    def score(x: Values) -> Values:
        densities = [margin.pdf(column.copy()) for margin, column in zip(margins, x.T, strict=True)]
        return np.log(np.maximum([copula.pdf(uniform(x)), *densities], 1e-12)).sum(0)

    return score


def means(rows: Sequence[Row]) -> dict[str, str]:
    """Our gain over each rival, and on how many tables we are behind it."""
    found = []
    for rival in dict.fromkeys(each["rival"] for each in rows):
        of = [each for each in rows if each["rival"] == rival]
        gains, errors = (np.array([each[key] for each in of]) for key in ("gain", "error"))
        counts = {"behind": int((gains < 0).sum()), "behind by two errors": int((gains < -2 * errors).sum())}
        gained = {"mean gain": float(gains.mean()), "median gain": float(np.median(gains))}
        found.append({"rival": rival, "tables": len(of), **gained, **counts})
    return {"Gains, nats a row": table(found)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("folder", nargs="?", type=Path, help="a folder of CSV files")
    parser.add_argument("--limit", type=int, help="only the first so many tables")
    chosen = parser.parse_known_args()[0]
    files = sorted(chosen.folder.glob("*.csv")) if chosen.folder else []
    tables: dict[str, Callable[[], pl.DataFrame]] = {path.stem: partial(read, path) for path in files}
    tables = tables or shipped()
    main(
        "small-tables" + (f"-{chosen.folder.name}" if chosen.folder else ""),
        "Small tables: the default fit next to mixtures, kernels and vines",
        "Mean log-density of held-out rows in nats, in the table's own units: higher is better, and 0.1 more means "
        "rows that are 1.1 times as likely.",
        lambda quick: ["iris"] if quick else [name for name in tables if suits(tables[name])][: chosen.limit],
        partial(run, tables),
        arguments=parser,
        summary=means,
    )
