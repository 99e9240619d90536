"""How times grow with the number of features, from 2 to 1,024: a log-log curve for each library, family and job.

    python benchmarks/growth.py [--families maf,nsf-coupling] [--batch 64] [--most 1024]

Two layers whose widths equal the number of features, at least 128. A job predicted to take more than ``--limit``
seconds, judging by the previous size, is left out, also at all larger sizes; the table then says so.
"""

from __future__ import annotations

import argparse

from measure import plots, results
from measure.models import JOBS
from measure.sizes import Size
from measure.subjects import OURS, subjects
from measure.timing import interleaved
from speed import row

FAMILIES = ("maf", "nsf", "nsf-coupling", "realnvp", "cnf")
FEATURES = (2, 8, 32, 128, 512, 1024)


def size(family: str, features: int, batch: int) -> Size:
    if family == "cnf":
        return Size(features=features, hidden=(128, 128), layers=1, batch=batch)
    return Size(features=features, hidden=(max(128, features),) * 2, layers=2, batch=batch)


def grow(family: str, sizes: list[int], batch: int, limit: float, budget: float) -> list[results.Row]:
    """Times of all libraries at each size; ``last`` remembers how long each job took at the previous size."""
    rows: list[results.Row] = []
    last: dict[tuple[str, str], tuple[int, float]] = {}
    for features in sizes:
        contestants = subjects(family, size(family, features, batch))
        for job in JOBS:
            able = {
                each.library: each.jobs[job]
                for each in contestants
                if job in each.jobs and _foreseen(last.get((each.library, job)), features) < limit
            }
            for library, times in interleaved(able, budget, least=1, most=15).items():
                last[library, job] = features, times.median / 1e3
                rows.append(row(family, job, library, times) | {"features": features, "batch": batch})
            for each in contestants:
                if job in each.jobs and each.library not in able:
                    last[each.library, job] = features, float("inf")
        print(family, features, flush=True)
    return rows


def _foreseen(before: tuple[int, float] | None, features: int) -> float:
    """Predicted seconds, if the time grows with the square of the features."""
    return 0.0 if before is None else before[1] * (features / before[0]) ** 2


def curves(rows: list[results.Row], family: str, job: str) -> dict[str, tuple[list[float], list[float]]]:
    found: dict[str, tuple[list[float], list[float]]] = {}
    for each in rows:
        if (each["family"], each["job"]) == (family, job):
            x, y = found.setdefault(each["library"], ([], []))
            x.append(each["features"])
            y.append(each["ms"])
    return found


def grid(rows: list[results.Row], family: str, job: str) -> str:
    """A row for each number of features, a column for each library."""
    of = {library: dict(zip(x, y, strict=True)) for library, (x, y) in curves(rows, family, job).items()}
    lines = []
    for features in sorted({x for times in of.values() for x in times}):
        ms = {library: times[features] for library, times in of.items() if features in times}
        shown = results.ratios(ms, OURS)
        lines.append({"features": features} | {library: shown.get(library, "too slow") for library in of})
    return results.table(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--most", type=int, default=1024, help="the largest number of features")
    parser.add_argument("--limit", type=float, default=6.0, help="seconds that one call may take")
    parser.add_argument("--budget", type=float, default=1.0, help="seconds for one job at one size")
    options = parser.parse_args()
    families, sizes = options.families.split(","), [n for n in FEATURES if n <= options.most]
    rows: list[results.Row] = []
    for family in families:
        rows += grow(family, sizes, options.batch, options.limit, options.budget)
    figure, axes = plots.panels(len(families), len(JOBS))
    for line, family in zip(axes, families, strict=True):
        for panel, job in zip(line, JOBS, strict=True):
            plots.curves(panel, curves(rows, family, job), f"{family}: {job}", "features", "ms")
    plots.legend(figure, axes)
    tables = {f"{family}: {job}, ms": grid(rows, family, job) for family in families for job in JOBS}
    results.write("growth", "Times against the number of features", tables, rows, figure=figure)


if __name__ == "__main__":
    main()
