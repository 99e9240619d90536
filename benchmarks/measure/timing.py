"""Fair timing: contestants take turns, so that a slowdown of the machine affects all of them."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from .clock import clock
from .models import Job

TURN = 2e-3  # short jobs are repeated until a turn takes about this many seconds


@dataclass(frozen=True)
class Times:
    """Milliseconds of one call: the median over the turns, the quartiles, and the very first call."""

    median: float
    low: float
    high: float
    turns: int
    first: float


def seconds(job: Job, repeats: int = 1) -> float:
    """Average seconds of one call."""
    start = clock()
    for _ in range(repeats):
        job()
    return (clock() - start) / repeats


def interleaved(jobs: Mapping[str, Job], budget: float = 3.0, least: int = 3, most: int = 30) -> dict[str, Times]:
    """A B C, C A B, … for about ``budget`` seconds, ``least`` to ``most`` turns, or a single turn of slow jobs.

    Every turn has its own order, as threads of the previous job may still be spinning. Before that every job runs
    twice: the first call may compile, the second determines how often a turn repeats the job. A job that fails is
    reported and left out.
    """
    jobs, first = dict(jobs), {}
    for name, job in list(jobs.items()):
        try:
            first[name] = seconds(job)
        except Exception as error:  # whatever a library raises, the others still race
            print(f"{name} failed: {type(error).__name__}: {str(error).strip().splitlines()[0]:.150}", flush=True)
            del jobs[name]
    warm = {name: seconds(job) for name, job in jobs.items()}
    repeats = {name: max(1, math.ceil(TURN / max(taken, 1e-6))) for name, taken in warm.items()}
    a_round = sum(max(taken, TURN) for taken in warm.values())
    turns = min(max(round(budget / a_round), least if a_round < 3 * budget else 1), most)
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    order, shuffle = list(jobs), random.Random(0).shuffle
    for _ in range(turns):
        shuffle(order)
        for name in order:
            taken[name].append(seconds(jobs[name], repeats[name]))
    return {name: _times(values, first[name]) for name, values in taken.items()}


def _times(values: list[float], first: float) -> Times:
    ms = [1e3 * value for value in values]
    low, _, high = statistics.quantiles(ms, n=4, method="inclusive") if len(ms) > 1 else ms * 3
    return Times(statistics.median(ms), low, high, len(ms), 1e3 * first)
