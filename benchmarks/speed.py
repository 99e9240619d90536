"""Milliseconds of density, training step and sampling at standard sizes, next to every peer that has the family.

    python benchmarks/speed.py [--families maf,nsf] [--jobs density,train,sample] [--sizes standard] [--compiled]

The contestants take turns; the tables hold medians, with the ratio to pushforward. Ratios carry over between machines
better than times do. Families run earlier on the same day and machine stay in the result file.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext

from measure import plots, results
from measure.models import JOBS
from measure.sizes import SIZES, STANDARD, Size
from measure.subjects import BUILDERS, EAGER, OURS, subjects
from measure.timing import Times, interleaved

import pushforward


def race(family: str, size: Size, jobs: list[str], libraries: list[str], budget: float) -> list[results.Row]:
    """One row of results for each library and job."""
    contestants = subjects(family, size, libraries)
    rows: list[results.Row] = []
    for job in jobs:
        able = {each.library: each.jobs[job] for each in contestants if job in each.jobs}
        for library, times in interleaved(able, budget).items():
            parameters = next(each.parameters for each in contestants if each.library == library)
            rows.append(row(family, job, library, times) | {"parameters": parameters, "size": str(size)})
        print(family, job, results.ratios(medians(rows, family, job), OURS), flush=True)
    return rows


def row(family: str, job: str, library: str, times: Times) -> results.Row:
    return {"family": family, "job": job, "library": library, "ms": times.median} | {
        f"ms_{name}": getattr(times, name) for name in ("low", "high", "turns", "first")
    }


def medians(rows: list[results.Row], family: str, job: str) -> dict[str, float]:
    return {each["library"]: each["ms"] for each in rows if (each["family"], each["job"]) == (family, job)}


def overview(rows: list[results.Row], job: str) -> str:
    """A row for each family: all medians of one job."""
    families = list(dict.fromkeys(each["family"] for each in rows))
    libraries = [name for name in BUILDERS if any(each["library"] == name for each in rows)]
    lines = []
    for family in families:
        found = results.ratios(medians(rows, family, job), OURS)
        lines.append({"ms": family} | {library: found.get(library) for library in libraries})
    return results.table(lines)


def picture(rows: list[results.Row], jobs: list[str]):
    families = list(dict.fromkeys(each["family"] for each in rows))
    figure, axes = plots.panels(len(families), len(jobs), height=1.9)
    for line, family in zip(axes, families, strict=True):
        for panel, job in zip(line, jobs, strict=True):
            plots.bars(panel, medians(rows, family, job), f"{family}: {job}", "ms")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(STANDARD))
    parser.add_argument("--jobs", default=",".join(JOBS))
    parser.add_argument("--libraries", help="by default all that are installed; ours compiled only with --compiled")
    parser.add_argument(
        "--compiled", action="store_true", help="also time ours after flow.compile() and as machine code"
    )
    parser.add_argument("--batch", type=int, help="rows, in place of the size's")
    parser.add_argument("--features", type=int, help="features, in place of the size's")
    parser.add_argument("--plain", action="store_true", help="ours without the fast room, as PUSHFORWARD_FUSED=0")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--budget", type=float, default=4.0, help="seconds for one job of one family")
    parser.add_argument("--sizes", choices=SIZES, default="standard", help="row: one row at a time; large: 65,536 rows")
    options = parser.parse_args()
    jobs = options.jobs.split(",")
    libraries = options.libraries.split(",") if options.libraries else list(BUILDERS if options.compiled else EAGER)
    changes = {key: value for key in ("batch", "features", "device") if (value := getattr(options, key)) is not None}
    families = options.families.split(",")
    name = "-".join(["speed", options.sizes, *["plain"] * options.plain, *results.card(options.device)])
    rows = [each for each in results.earlier(name) if each["family"] not in families]
    for family in families:
        size = SIZES[options.sizes][family].but(**changes)
        with pushforward.plain() if options.plain else nullcontext():
            rows += race(family, size, jobs, libraries, options.budget)
        write(name, rows, jobs)


def write(name: str, rows: list[results.Row], jobs: list[str]) -> None:
    tables = {job: overview(rows, job) for job in jobs}
    sizes = {each["family"]: each["size"] for each in rows}
    tables["Sizes"] = results.table([{"family": family, "size": size} for family, size in sizes.items()])
    title = "Milliseconds of one call, and how many times ours a peer takes"
    results.write(name, title, tables, rows, figure=picture(rows, jobs))


if __name__ == "__main__":
    main()
