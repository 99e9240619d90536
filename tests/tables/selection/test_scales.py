"""Dozens of different numbers are a list of values or lie on a scale, as rows that were not seen are likelier."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import pushforward as pf
from pushforward.tables.schema.kinds.few_values import FewValues
from pushforward.tables.selection.candidate import Task

RNG = np.random.default_rng(0)
LEVELS = np.sort(RNG.uniform(50, 80, 24)).round(2)  # at no common distance


class Learning(Exception):
    """Training is about to begin, of this task."""


def decided(frame: pl.DataFrame, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Task:
    """What is to be learnt of a table by default."""

    def reached(task: Task) -> None:
        raise Learning(task)

    monkeypatch.setattr("pushforward.tables.fit.learn", reached)
    with pytest.raises(Learning) as found:
        pf.TableDensity(random_state=0, **options).fit(frame)
    return found.value.args[0]


def kind_of(task: Task, name: str) -> type:
    return next(type(column.kind) for column in task.rows.schema.columns if column.name == name)


def test_numbers_whose_neighbours_are_alike_lie_on_a_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    place = RNG.integers(24, size=400)
    frame = pl.DataFrame({"height": LEVELS[place], "son": LEVELS[place] + RNG.normal(size=400)})
    task = decided(frame, monkeypatch)
    assert kind_of(task, "height") is not FewValues
    assert [note for note in task.rows.schema.notes if note.startswith("height: on a scale")]
    assert [note for note in task.console.notes if note.startswith("height: on a scale")]


def test_numbers_that_each_go_with_their_own_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    place, other = RNG.integers(24, size=400), RNG.permutation(24)
    frame = pl.DataFrame({"day": LEVELS[place], "dose": other[place] + 0.6 * RNG.normal(size=400)})
    task = decided(frame, monkeypatch)
    assert kind_of(task, "day") is FewValues
    assert not [note for note in task.rows.schema.notes if "scale" in note]


@pytest.mark.parametrize("options", [{"steps": 10}, {"flow": "maf"}, {"numbers": ["height"]}], ids=str)
def test_nothing_is_compared_where_the_user_decides(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pushforward.tables.selection.scales.fit_average", None)
    place = RNG.integers(24, size=400)
    frame = pl.DataFrame({"height": LEVELS[place], "son": LEVELS[place] + RNG.normal(size=400)})
    assert (kind_of(decided(frame, monkeypatch, **options), "height") is FewValues) == ("numbers" not in options)


@pytest.mark.parametrize("share", [0.6, 0.97])
def test_they_stay_a_list_where_most_rows_lack_something(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    place = RNG.integers(24, size=400)
    other = RNG.normal(size=400).round(3)
    other[RNG.random(400) < share] = np.nan
    frame = pl.DataFrame({"height": LEVELS[place], "son": LEVELS[place] + RNG.normal(size=400), "other": other})
    assert kind_of(decided(frame.fill_nan(None), monkeypatch), "height") is FewValues
