"""Measurements in a process of their own: ``python -m measure.probe import|first|memory …`` prints one or more numbers
as JSON, and :func:`ask` runs it; ``turns …`` answers line by line, and a :class:`Contestant` asks it."""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from .clock import clock

RETURNED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}  # freed memory is returned at once


def ask(*question: str, source: Path | None = None) -> Any:
    """The answer of a fresh process, in which nothing is imported, cached or compiled.

    Args:
        question: The measurement and its arguments.
        source: The folder of another version of the library, to be measured in place of this one.

    Raises:
        RuntimeError: the process failed; the message ends with its last output.
    """
    other = {} if source is None else {"PYTHONPATH": str(source)}
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, "-m", "measure.probe", *question],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent.parent,
            env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache} | (RETURNED if question[0] == "memory" else {}) | other,
        )
    if done.returncode:
        raise RuntimeError(f"{' '.join(question)}: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout.splitlines()[-1])


class Contestant:
    """A process with the jobs of one version of the library, which runs them turn by turn.

    Args:
        source: The folder of that version.
        family, sizes: What is raced.
    """

    def __init__(self, source: Path, family: str, sizes: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "measure.probe", "turns", family, sizes],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
            env=os.environ | {"PYTHONPATH": str(source)},
        )
        self.jobs: list[str] = json.loads(self._answer())

    def seconds(self, job: str, repeats: int) -> float:
        """Average seconds of a call."""
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        print(job, repeats, file=self.process.stdin, flush=True)
        taken = float(self._answer())
        self.process.send_signal(signal.SIGSTOP)  # its threads would go on spinning for a while
        return taken

    def leave(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.communicate()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the process of a version ended without an answer")
        return line


def import_seconds(module: str) -> dict[str, float]:
    start = clock()
    importlib.import_module(module)
    return {"seconds": clock() - start}


def first_calls(library: str, family: str, sizes: str) -> dict[str, float]:
    """Seconds for the model and its first density, then for the first training step, then for a second density."""
    from . import sizes as of
    from .subjects import BUILDERS, subject
    from .timing import seconds

    assert library in BUILDERS
    size, start = of.SIZES[sizes][family], clock()
    found = subject(library, family, size)
    assert found is not None
    built = clock() - start
    return {
        "build": built,
        "first density": seconds(found.jobs["density"]),
        "first train": seconds(found.jobs["train"]),
        "density": seconds(found.jobs["density"], 3),
    }


def memory(library: str, family: str, job: str, batch: str) -> dict[str, float]:
    """Megabytes: the peak of the process, and how far the job rises above the memory held before, if that is known.

    Before that, the job runs on 8 rows. If every size is compiled anew, the compiler's memory is part of the rise.
    """
    from .sizes import STANDARD
    from .subjects import subject

    size = STANDARD[family].but(batch=int(batch))
    found = subject(library, family, size)
    first = subject(library, family, size.but(batch=8))
    assert found is not None
    assert first is not None
    first.jobs[job]()
    before = _restarted()
    found.jobs[job]()
    found.jobs[job]()
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {"process MB": largest} | ({} if before is None else {"job MB": _status("VmHWM") - before})


def turns(family: str, sizes: str) -> None:
    """Takes part in a race: says the names of this library's jobs, then runs each that a line of the input names,
    as often as the line says, and answers with the average seconds of a call."""
    from . import ours
    from . import sizes as of
    from .models import torch_subject
    from .timing import seconds

    size = of.SIZES[sizes][family]
    jobs = torch_subject("pushforward", ours.build(family, size), size).jobs
    print(json.dumps(list(jobs)), flush=True)
    for line in sys.stdin:
        job, repeats = line.split()
        print(seconds(jobs[job], int(repeats)), flush=True)


def _restarted() -> float | None:
    """Resets the memory high-water mark (on Linux); returns the memory that the process holds now."""
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        return None
    reset.write_text("5")
    return _status("VmRSS")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 2**10 for line in lines if line.startswith(name))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    questions: dict[str, Any] = {"import": import_seconds, "first": first_calls, "memory": memory}
    if sys.argv[1] == "turns":
        turns(*sys.argv[2:])
    else:
        print(json.dumps(questions[sys.argv[1]](*sys.argv[2:])))
