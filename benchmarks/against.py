"""Times every family next to an older revision of this library: is anything slower than it was?

    python benchmarks/against.py REVISION [--families maf,glow] [--sizes standard] [--rounds 5] [--threads 1]

The revision is exported to a temporary folder. Each number comes from processes of their own, which take turns; the
lower quartile of the turns within a process, and the median over the rounds. Ratios below 1.15 are noise on a machine
that does other things as well.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tarfile
import tempfile
from pathlib import Path

from measure import results
from measure.models import JOBS
from measure.probe import ask
from measure.sizes import SIZES, STANDARD

ROOT = Path(__file__).parents[1]


def exported(revision: str, folder: Path) -> Path:
    """The sources of a revision, in a folder."""
    archive = folder / "src.tar"
    subprocess.run(["git", "archive", "-o", archive, revision, "src"], cwd=ROOT, check=True)
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / "src"


def race(family: str, sizes: str, sources: dict[str, Path], rounds: int) -> list[results.Row]:
    """A row for each job: milliseconds of both versions, and their ratio."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sources}
    for _ in range(rounds):
        for name, source in sources.items():
            found[name].append(ask("jobs", family, sizes, source=source))
    rows = []
    for job in JOBS:
        ms = {name: statistics.median(each[job] for each in answers) for name, answers in found.items()}
        then, now = ms.values()
        rows.append({"family": family, "job": job, **ms, "ratio": now / then})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision")
    parser.add_argument("--families", default=",".join(STANDARD))
    parser.add_argument("--sizes", default="standard", choices=SIZES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        sources = {options.revision: exported(options.revision, Path(folder)), "now": ROOT / "src"}
        rows = [
            row
            for family in options.families.split(",")
            for row in race(family, options.sizes, sources, options.rounds)
        ]
    title = f"Next to {options.revision}, {options.threads} threads"
    results.write(f"against-{options.revision}", title, {"milliseconds": results.table(rows)}, rows)


if __name__ == "__main__":
    main()
