"""The choice among candidates: what is done with the likeliest one."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import pytest

from pushforward.tables.selection import choice
from pushforward.tables.selection.candidate import Candidate, Fitted, Task


class _Stub(Candidate):
    """A candidate that suits all rows, and whose refit to more of them is told by its name."""

    def suits(self, task: Task, best: Fitted | None) -> bool:
        return True

    def fit(self, task: Task, best: Fitted | None) -> Fitted:
        nothing: Any = None
        found = Fitted("stub", "a stub", nothing, "stub", {}, [], [])
        return replace(found, for_good=lambda: replace(found, name="refitted"))


@pytest.mark.parametrize(("left", "name"), [(math.inf, "refitted"), (60.0, "refitted"), (-1.0, "stub")])
def test_what_is_chosen_is_fitted_to_all_rows_where_time_is_left(monkeypatch, left, name) -> None:
    monkeypatch.setattr(choice, "CANDIDATES", (_Stub(),))
    nothing: Any = None
    assert choice.choose(Task(nothing, nothing, nothing, ends=time.monotonic() + left)).name == name
