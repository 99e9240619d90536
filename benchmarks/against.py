"""Times every family next to an older revision of this library: is anything slower than it was?

    python benchmarks/against.py REVISION [--families maf,glow] [--sizes standard] [--rounds 5] [--threads 1]

The revision is exported to a temporary folder. Each version runs in a process of its own; the two take turns of 20 ms,
so that both meet the same state of the machine, whose speed may change by a third from second to second. A ratio is the
median over all pairs of turns; each round has new processes, whose memory is laid out anew.
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
from measure.probe import Contestant
from measure.sizes import SIZES, STANDARD

ROOT = Path(__file__).parents[1]
TURN, BUDGET = 0.02, 3.0  # seconds of a turn, and of all turns of a job in a round


def exported(revision: str, folder: Path) -> Path:
    """The sources of a revision, in a folder."""
    archive = folder / "src.tar"
    subprocess.run(["git", "archive", "-o", archive, revision, "src"], cwd=ROOT, check=True)
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / "src"


def race(family: str, sizes: str, sources: dict[str, Path], rounds: int) -> list[results.Row]:
    """A row for each job: milliseconds of both versions, and the median and quartiles of their ratio."""
    taken: dict[str, list[tuple[float, float]]] = {job: [] for job in JOBS}
    for _ in range(rounds):
        contestants = [Contestant(source, family, sizes) for source in sources.values()]
        for job in contestants[0].jobs:
            taken[job] += pairs(contestants, job)
        for contestant in contestants:
            contestant.leave()
    rows = []
    for job, found in taken.items():
        then, now = (1e3 * statistics.median(each) for each in zip(*found, strict=True))
        low, ratio, high = statistics.quantiles((new / old for old, new in found), n=4)
        ms = dict(zip(sources, (then, now), strict=True))
        rows.append({"family": family, "job": job, **ms, "ratio": ratio, "quartiles": f"{low:.2f} to {high:.2f}"})
        print(rows[-1], flush=True)
    return rows


def pairs(contestants: list[Contestant], job: str) -> list[tuple[float, float]]:
    """Seconds of a call by each contestant, turn by turn; who begins changes from turn to turn."""
    for contestant in contestants:
        contestant.seconds(job, 1)  # may compile
    longest = max(contestant.seconds(job, 1) for contestant in contestants)
    repeats = max(1, round(TURN / longest))
    found = []
    for turn in range(min(max(round(BUDGET / (2 * repeats * longest)), 5), 60)):
        order = contestants[:: -1 if turn % 2 else 1]
        seconds = {id(one): one.seconds(job, repeats) for one in order}
        then, now = (seconds[id(one)] for one in contestants)
        found.append((then, now))
    return found


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
