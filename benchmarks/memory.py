"""Megabytes of a density and of a training step, each library in a separate process.

    python benchmarks/memory.py [--families maf,nsf] [--batch 4096]

The tables hold how far a call rises above what the process held before it (on Linux; freed memory is returned at
once; flowjax and diffrax compile for each size, which counts) and in brackets the peak of the whole process.
"""

from __future__ import annotations

import argparse

from measure import results
from measure.probe import ask
from measure.sizes import STANDARD
from measure.subjects import EAGER, families_of

JOBS = ("density", "train")


def measured(family: str, batch: int) -> list[results.Row]:
    rows = []
    for library in EAGER:
        if family in families_of(library):
            for job in JOBS:
                answer = ask("memory", library, family, job, str(batch))
                rows.append({"family": family, "library": library, "job": job, "batch": batch} | answer)
                print(rows[-1], flush=True)
    return rows


def overview(rows: list[results.Row], job: str) -> str:
    """A row for each family, a column for each library."""
    of = [row for row in rows if row["job"] == job]
    libraries = list(dict.fromkeys(row["library"] for row in of))
    lines = []
    for family in dict.fromkeys(row["family"] for row in of):
        cells = {
            row["library"]: f"{row.get('job MB', 0):,.0f} ({row['process MB']:,.0f})"
            for row in of
            if row["family"] == family
        }
        lines.append({"MB": family} | {library: cells.get(library) for library in libraries})
    return results.table(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(STANDARD))
    parser.add_argument("--batch", type=int, default=4096, help="rows; of images a sixteenth")
    options = parser.parse_args()
    families = options.families.split(",")
    rows = [row for row in results.earlier("memory") if row["family"] not in families]
    for family in families:
        rows += measured(family, options.batch // 16 if STANDARD[family].side else options.batch)
        tables = {job: overview(rows, job) for job in JOBS}
        results.write("memory", "Memory of one call, and of the whole process", tables, rows)


if __name__ == "__main__":
    main()
