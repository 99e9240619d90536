"""The clock of all benchmarks; it imports nothing heavy, so that imports can be timed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

CPU = os.environ.get("BENCH_CLOCK") == "cpu"


def clock() -> float:
    """Wall time; with ``BENCH_CLOCK=cpu`` what the process has computed for, which other processes do not change much:
    for one thread on a busy machine."""
    return time.process_time() if CPU else time.perf_counter()


@contextmanager
def fit_on_clock() -> Iterator[None]:
    """Within it :func:`pushforward.fit`, which counts wall time, counts the time of :func:`clock`."""
    with mock.patch.object(time, "monotonic", clock):
        yield
