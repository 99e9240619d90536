"""Scores in machine code: compiled by a process of its own, while the server answers already."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..distributions.base import Density
from ..interop.compiled import Compiled, load_compiled
from ..interop.export import example, export
from ..numerics.threads import least_times
from ..saving.checkpoint import load, save
from ..saving.files import NotSaved

SIZES = (16, 256, 1024)  # points at which it is compared; a row takes sixteen where numbers are rounded
CLOSE = 1e-3  # nats: sums of float32 are taken in another order
REPEATS = 5


class MachineCode:
    """Has a table's density run in machine code, once it is compiled, up to the number of points at which that is
    faster, and then calls ``done``; without a C++ compiler, or for a density that no fixed program holds, never."""

    def __init__(self, density: Density, done: Callable[[], Any]) -> None:
        self.density, self.done, self.folder = density, done, tempfile.TemporaryDirectory()
        self.file = Path(self.folder.name) / "density.pt2"
        save(density, Path(self.folder.name) / "density")
        code = f"from {__name__} import write; write({str(self.file.with_suffix(''))!r}, {str(self.file)!r})"
        apart: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)  # what is written is the server's
        # in a session of its own, its low priority would hold among its own processes alone
        self.process = subprocess.Popen([sys.executable, "-c", code], process_group=0, **apart)
        self.thread = threading.Thread(target=self._finish, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(OSError):  # it ends by itself
                getattr(os, "killpg", os.kill)(self.process.pid, signal.SIGTERM)  # and the C++ compiler
        self.thread.join()

    def _finish(self) -> None:
        with contextlib.suppress(OSError, RuntimeError, ValueError), self.folder:  # a file without machine code, say
            if self.process.wait() == 0:
                compiled = load_compiled(self.file)
                compiled.few = faster_up_to(compiled)
                if compiled.few:
                    self.density.log_prob = compiled.log_prob  # type: ignore[method-assign]
                    self.done()


def compiling(density: Density, done: Callable[[], Any]) -> MachineCode | None:
    """Begins to compile a density; None if it is on another device, or there is nowhere to write."""
    with contextlib.suppress(OSError, NotSaved):
        return MachineCode(density, done) if density.device.type == "cpu" else None
    return None


def write(folder: str, file: str) -> None:
    """Compiles a saved density, where others need the processor more."""
    if hasattr(os, "nice"):
        os.nice(19)
    torch.set_num_threads(1)
    export(load(folder), file, method="log_prob")


def faster_up_to(compiled: Compiled) -> int:
    """The largest of ``SIZES`` up to which machine code is faster, and as exact; 0 if it is at none."""
    compiled.few, most = SIZES[-1], 0
    for size in SIZES:
        x, *context = example(compiled.density, "log_prob", size)
        given = x.double(), *context  # rows of tables are doubles, which machine code of floats refuses
        both = [partial(each.log_prob, *given) for each in (compiled.density, compiled)]
        with torch.no_grad():
            expected, found = (log_prob() for log_prob in both)
        slow, fast = least_times(both, REPEATS)
        if fast >= slow or not torch.allclose(found, expected, rtol=CLOSE, atol=CLOSE):
            break
        most = size
    return most
