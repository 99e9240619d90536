"""Work in parts that ends when the time is over."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Part = TypeVar("Part")


def in_time(parts: Iterable[Part], ends: float) -> Iterator[Part]:
    """The first part, and further ones as long as time is left when the one before is done.

    Args:
        parts: What is to be done; a lazy iterable computes no part that is not taken.
        ends: When the time is over, by :func:`time.monotonic`.
    """
    for part in parts:
        yield part
        if time.monotonic() >= ends:
            return
