"""What each client holds of the server at once: requests, their bytes, connections."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from .requests import Refused


class Shares:
    """How much of something each client holds, of which none may hold more than so much; others are not affected.

    Args:
        most: The most that one client may hold.
        what: What it is, in words.
    """

    def __init__(self, most: int, what: str) -> None:
        self.most, self.what = most, what
        self.held: Counter[str] = Counter()

    @contextlib.contextmanager
    def hold(self, client: str, amount: int = 1) -> Iterator[None]:
        """Holds some more for a while.

        Raises:
            Refused: it would be too much.
        """
        if self.held[client] + amount > self.most:
            raise Refused(429, f"one client may hold {self.most:,} {self.what} at once; try again in a second")
        self.held[client] += amount
        try:
            yield
        finally:
            self.held[client] -= amount
            if not self.held[client]:
                del self.held[client]
