"""How many threads PyTorch's operators use, set per calling thread and temporarily.

Small operators lose by multithreading: each waits for all threads, and on a busy machine one of them may have no core.
So code that runs many small operators chooses its own number, by measurement for long runs
(:mod:`pushforward.training.threads`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

_CHANGING = threading.Lock()


def available() -> int:
    """The number of threads that operators called from this thread may use."""
    with _CHANGING:
        return torch.get_num_threads()


def set_here(number: int) -> None:
    """Sets the number of threads for operators called from this thread; other threads keep theirs.

    PyTorch's own setting applies to the calling thread, but is also the default of threads that have not computed yet;
    that default is restored, from such a thread.
    """
    with _CHANGING:
        if torch.get_num_threads() == number:  # the call also gives this thread its own number
            return
        before = _on_a_new_thread(torch.get_num_threads)
        torch.set_num_threads(number)
        _on_a_new_thread(lambda: torch.set_num_threads(before))


@contextlib.contextmanager
def using(number: int) -> Iterator[None]:
    """Inside, operators called from this thread use ``number`` threads; the old number is restored on exit."""
    before = available()
    set_here(number)
    try:
        yield
    finally:
        set_here(before)


def least_times(calls: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """The least time of each call in seconds; they take turns, so that disturbances hit all alike."""
    best = [float("inf")] * len(calls)
    with torch.inference_mode(False), torch.no_grad():
        for _ in range(repeats):
            for k, call in enumerate(calls):
                start = time.perf_counter()
                call()
                best[k] = min(best[k], time.perf_counter() - start)
    return best


def _on_a_new_thread(function: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()
