"""Compares operation counts of every family with the committed ones, or updates these.

    python benchmarks/operation_counts.py            # a table: committed, now
    python benchmarks/operation_counts.py --write    # after a change that is meant to change them

The numbers are in ``operation_counts.json``; ``tests/contracts/test_operation_counts.py`` checks every change against
them. They do not depend on the machine's load: matrix-product FLOPs, operators, the bytes that
these move, and bytes kept for the backward pass.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from unittest import mock

import torch
from measure import ours, results
from measure.models import JOBS, torch_subject
from measure.operations import Cost, cost
from measure.sizes import Size

COMMITTED = Path(__file__).with_suffix(".json")
SLACK = {
    "flops": 0.02,
    "operators": 0.10,
    "moved_bytes": 0.05,
    "saved_bytes": 0.05,
}  # operators differ slightly between PyTorch versions
ROWS = Size(features=12, hidden=(64, 64), layers=3, batch=256)
SIZES = {
    **dict.fromkeys(("maf", "iaf", "nsf", "nsf-coupling", "realnvp"), ROWS),
    "glow": Size(features=3, side=8, hidden=(32, 32), layers=2, batch=8),
    "cnf": Size(features=6, hidden=(32, 32), layers=1, batch=64),
}


def count(family: str) -> dict[str, Cost]:
    """The cost of each job, whichever engine multiplies faster on this machine."""
    torch.manual_seed(0)
    model = ours.build(family, SIZES[family])
    subject = torch_subject("pushforward", model, SIZES[family])
    with mock.patch.dict(os.environ, PUSHFORWARD_PRODUCTS="blas"):
        return {job: cost(subject.jobs[job], model.module) for job in JOBS}


def committed(family: str) -> dict[str, Cost]:
    return {job: Cost(**found) for job, found in json.loads(COMMITTED.read_text())[family].items()}


def regressions(family: str) -> list[str]:
    """A sentence for every number that exceeds the committed one by more than its slack."""
    before, now = committed(family), count(family)
    return [
        f"{family} {job}: {getattr(now[job], name):,} {name}, committed {getattr(before[job], name):,}"
        for job in JOBS
        for name, slack in SLACK.items()
        if getattr(now[job], name) > getattr(before[job], name) * (1 + slack)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace the committed numbers")
    options = parser.parse_args()
    found = {family: count(family) for family in SIZES}
    rows = [
        {"family": family, "job": job} | asdict(numbers)
        for family, jobs in found.items()
        for job, numbers in jobs.items()
    ]
    if options.write:
        lines = {family: {job: asdict(numbers) for job, numbers in jobs.items()} for family, jobs in found.items()}
        COMMITTED.write_text(json.dumps(lines, indent=1) + "\n")
    else:
        for row in rows:
            before = asdict(committed(row["family"])[row["job"]])
            row |= {f"{name} committed": value for name, value in before.items()}
    print(results.table(rows))


if __name__ == "__main__":
    main()
