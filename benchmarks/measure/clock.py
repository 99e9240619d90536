"""The clock of all benchmarks; it imports nothing slow, so that imports can be timed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

CPU = os.environ.get("BENCH_CLOCK") == "cpu"


def clock() -> float:
    """Wall time; with ``BENCH_CLOCK=cpu`` the process's CPU time, which other processes affect little: for one thread
    on a busy machine."""
    return time.process_time() if CPU else time.perf_counter()


@contextmanager
def fit_on_clock() -> Iterator[None]:
    """Within it, :func:`pushforward.fit` counts the time of :func:`clock` instead of wall time."""
    with mock.patch.object(time, "monotonic", clock):
        yield
