"""How many threads the steps of a run use: measured in its first steps, and again if they become slow."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections import deque
from types import TracebackType

from ..numerics import threads
from .distributed import World

SLICE = 4  # steps per measurement; the first is not counted, as it wakes threads
ROUNDS = 3  # measurements per number of threads, unless it falls behind earlier
BEHIND = 1.3  # times the fastest: not measured again, nor are larger numbers tried
HOPELESS = 3.0  # times the fastest: its slice is aborted, as beside busy neighbours it would cost seconds
WORTH = 1.1  # factor by which a larger number of threads must be faster than a smaller one
SLOW = 1.5  # times the measured time: the machine has changed
WATCHED = 4  # steps whose median is compared with the measured time
SHARE = 50  # the other numbers are tried again after this many times as long as trying them took


class StepThreads:
    """Chooses the number of threads of a run's steps; as a context manager, restores the caller's number at the end.

    With ``"auto"``, all numbers are tried in the steps of the run itself, so nothing is computed twice; unless it
    ``measures`` nothing, or processes train together: these share the cores of their machine, and each waits for the
    others in every step.
    """

    def __init__(self, wish: str | int, world: World, measures: bool = True) -> None:
        if wish != "auto" and not (isinstance(wish, int) and not isinstance(wish, bool) and wish >= 1):
            raise ValueError(f'threads must be "auto" or an integer of at least 1, got threads={wish!r}')
        self.before = threads.available()
        self.number = self.before if isinstance(wish, str) else wish
        if wish == "auto" and world.together:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            self.number = min(self.before, max(cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1))
        measures = measures and wish == "auto" and not world.together
        self.candidates = sorted(_halves(self.before)) if measures else [self.number]
        self.number = self.candidates[0]
        self.recent: deque[float] = deque(maxlen=WATCHED)
        self.usual = self.tried_until = self.spent = 0.0  # time of a step; when numbers were tried, and for how long
        self._begin()
        self.taken = -SLICE  # the first steps of a run are slow: memory is newly allocated

    def __enter__(self) -> StepThreads:
        threads.set_here(self.number)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        threads.set_here(self.before)

    def took(self, seconds: float) -> None:
        """Records the time of a step of the run; may change the number of threads for the next one."""
        if self.waiting:
            self._try(seconds)
        elif len(self.candidates) > 1:
            self.recent.append(seconds)
            self._watch()

    def _begin(self) -> None:
        """Prepares to try all numbers, starting with one thread, which no neighbour can slow down much."""
        self.waiting = list(self.candidates) if len(self.candidates) > 1 else []
        self.times: dict[int, list[float]] = {number: [] for number in self.waiting}
        self.taken, self.rounds, self.began = 0, 0, time.perf_counter()

    def _try(self, seconds: float) -> None:
        """Records one more step with the number that is being tried."""
        if self.taken > 0:
            self.times[self.number].append(seconds)
        self.taken += 1
        others = [statistics.median(times) for n, times in self.times.items() if times and n != self.number]
        quickest = min(others, default=math.inf)
        if seconds > HOPELESS * quickest:
            self.times[self.number] = [seconds]
        elif self.taken < SLICE:
            return
        self.taken = 0
        self.waiting.remove(self.number)
        if statistics.median(self.times[self.number]) > BEHIND * quickest:
            self.waiting = [number for number in self.waiting if number < self.number]
        if not self.waiting:
            self._compare()
        self._use(self.waiting[0] if self.waiting else self.number)

    def _compare(self) -> None:
        """After a round: starts another one with the numbers close to the fastest, or makes the choice."""
        medians = {number: statistics.median(times) for number, times in self.times.items() if times}
        quickest = min(medians.values())
        near = [number for number in sorted(medians) if medians[number] <= BEHIND * quickest]
        self.rounds += 1
        if len(near) > 1 and self.rounds < ROUNDS:
            self.waiting = near
            self.times = {number: self.times[number] for number in near}
            return
        self.number = next(number for number in near if medians[number] <= WORTH * quickest)
        self.usual, self.tried_until = medians[self.number], time.perf_counter()
        self.spent = self.tried_until - self.began
        self.recent.clear()

    def _watch(self) -> None:
        slow = len(self.recent) == WATCHED and statistics.median(self.recent) > SLOW * self.usual
        if slow or time.perf_counter() - self.tried_until > SHARE * self.spent:
            self._begin()
            self._use(self.waiting[0])

    def _use(self, number: int) -> None:
        self.number = number
        threads.set_here(number)


def _halves(number: int) -> list[int]:
    """The number, half of it, and so on down to 1."""
    return [number, *_halves(number // 2)] if number > 1 else [1]
