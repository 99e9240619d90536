"""Runs every benchmark that needs no data, one after the other, and reports how long each took.

    python benchmarks/all.py             # 40 minutes on two cores
    python benchmarks/all.py --quick     # about 5 minutes: small models, few sizes
    python benchmarks/all.py --jobs      # only the jobs next to their rivals; goes on where it stopped
    python benchmarks/all.py --gpu       # only what runs on a GPU, its results named after the card

Each script writes its own dated result files; if one fails, the rest still run, but the exit code shows it. With a
GPU the standard sizes are also raced there. On a machine with other load, only ratios and counts are meaningful.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

QUICK = (
    "operation_counts.py",
    "speed.py --sizes quick --budget 0.7",
    "floors.py --sizes quick",
    "growth.py --families maf,cnf --most 32 --budget 0.3",
    "memory.py --families realnvp --batch 2048",
    "startup.py --families realnvp --rounds 1",
)
FULL = (
    "operation_counts.py",
    "speed.py --compiled",
    "speed.py --sizes row --budget 2 --compiled",
    "speed.py --sizes large",
    "growth.py",
    "memory.py",
    "startup.py",
    "floors.py",
    "floors.py --sizes row",
)
GPU = (
    "speed.py --compiled --device cuda",
    "speed.py --sizes large --device cuda",
    "speed.py --sizes row --device cuda --budget 1",
    "speed.py --plain --libraries pushforward --device cuda --budget 1",
)
FOLDER = Path(__file__).parent
PATHS = {**os.environ, "PYTHONPATH": os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")])}


def jobs(quick: bool) -> tuple[str, ...]:
    """Every script in ``jobs/``, so that new ones are found automatically."""
    scripts = sorted((FOLDER / "jobs").glob("*.py"))
    return tuple(f"jobs/{path.name}{' --quick' if quick else ''}" for path in scripts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--jobs", action="store_true")
    options = parser.parse_args()
    every = QUICK if options.quick else FULL + (GPU if torch.cuda.is_available() else ())
    commands = GPU if options.gpu else (() if options.jobs else every) + jobs(options.quick)
    took: dict[str, float] = {}
    failed: list[str] = []
    for command in commands:
        print(f"== {command}", flush=True)
        start = time.monotonic()
        script, *arguments = command.split()
        done = subprocess.run([sys.executable, "-W", "ignore", str(FOLDER / script), *arguments], env=PATHS)
        took[command] = time.monotonic() - start
        if done.returncode:
            failed.append(command)
    for command, seconds in took.items():
        print(f"{seconds:7.0f} s  {command}{'  FAILED' if command in failed else ''}")
    print(f"{sum(took.values()) / 60:7.1f} minutes altogether")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
