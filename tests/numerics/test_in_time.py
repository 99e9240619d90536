"""Work in parts that ends when the time is over."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from pushforward.numerics.in_time import in_time


def test_the_first_part_is_done_in_any_case_and_no_other_is_begun_after_the_end() -> None:
    begun = list[int]()

    def parts() -> Iterator[int]:
        for part in range(3):
            begun.append(part)
            yield part

    assert [*in_time(parts(), -math.inf)] == begun == [0]
    begun.clear()
    assert [*in_time(parts(), time.monotonic() + 60)] == begun == [0, 1, 2]
    assert [*in_time([], 0.0)] == []
