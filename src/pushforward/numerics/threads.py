"""How many threads PyTorch's operators use, for one thread of the caller's and for a while.

Small operators lose by threads: each waits for all of them, and beside a busy neighbour one of them has no core. So
what runs many small operators chooses a number for itself, by measurement where it runs long
(:mod:`pushforward.training.threads`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

_CHANGING = threading.Lock()


def available() -> int:
    """The number of threads that operators called from this thread may use."""
    with _CHANGING:
        return torch.get_num_threads()


def set_here(number: int) -> None:
    """Operators called from this thread use so many threads; those called from other threads as many as before.

    PyTorch's own setting holds for the calling thread, but is also what threads start with that have not computed
    yet; that part is put back, by a thread that has not computed yet.
    """
    with _CHANGING:
        if torch.get_num_threads() == number:  # also: from here on this thread has a number of its own
            return
        before = _on_a_new_thread(torch.get_num_threads)
        torch.set_num_threads(number)
        _on_a_new_thread(lambda: torch.set_num_threads(before))


@contextlib.contextmanager
def using(number: int) -> Iterator[None]:
    """Inside, operators called from this thread use so many threads; afterwards as many as before, come what may."""
    before = available()
    set_here(number)
    try:
        yield
    finally:
        set_here(before)


def _on_a_new_thread(function: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()
