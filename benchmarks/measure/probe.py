"""Measurements that need a process of their own: ``python -m measure.probe import|first|memory …`` prints one number
or several as JSON; :func:`ask` runs it."""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any


def ask(*question: str) -> Any:
    """The answer of a fresh process, in which nothing is imported, cached or compiled.

    Raises:
        RuntimeError: the process failed; the message ends with its last words.
    """
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, "-m", "measure.probe", *question],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent.parent,
            env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache},
        )
    if done.returncode:
        raise RuntimeError(f"{' '.join(question)}: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout.splitlines()[-1])


def import_seconds(module: str) -> dict[str, float]:
    start = time.perf_counter()
    importlib.import_module(module)
    return {"seconds": time.perf_counter() - start}


def first_calls(library: str, family: str, sizes: str) -> dict[str, float]:
    """Seconds for the model and its first density, then for the first training step, then for a second density."""
    from . import sizes as of
    from .subjects import BUILDERS, subject
    from .timing import seconds

    assert library in BUILDERS
    size, start = of.SIZES[sizes][family], time.perf_counter()
    found = subject(library, family, size)
    assert found is not None
    built = time.perf_counter() - start
    return {
        "build": built,
        "first density": seconds(found.jobs["density"]),
        "first train": seconds(found.jobs["train"]),
        "density": seconds(found.jobs["density"], 3),
    }


def memory(library: str, family: str, job: str, batch: str) -> dict[str, float]:
    """Megabytes: the process at its largest, and how far the job's second call rises above what was there before."""
    from .sizes import STANDARD
    from .subjects import subject

    found = subject(library, family, STANDARD[family].but(batch=int(batch)))
    assert found is not None
    found.jobs[job]()
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    answer = {"process MB": largest}
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        before = _status("VmRSS")
        reset.write_text("5")  # the high-water mark starts anew
        found.jobs[job]()
        answer["job MB"] = _status("VmHWM") - before
    return answer


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 2**10 for line in lines if line.startswith(name))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    questions: dict[str, Any] = {"import": import_seconds, "first": first_calls, "memory": memory}
    print(json.dumps(questions[sys.argv[1]](*sys.argv[2:])))
