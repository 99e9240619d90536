"""The figures of scores: those of the whole, however many are looked at at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from pushforward.tables.queries import score_figures as module
from pushforward.tables.queries.score_figures import score_figures


def figures(values: np.ndarray) -> tuple[dict[str, Any], pl.DataFrame]:
    return score_figures(pl.LazyFrame({"log_density": values, "percentile": np.full(len(values), 50.0)}))


@pytest.mark.parametrize("n", [1, 2, 999, 5000])
def test_figures_are_those_of_numpy(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENOUGH", 50)
    monkeypatch.setattr(module, "BINS", 7)
    values = np.round(np.random.default_rng(n).normal(size=n) * 10.0 ** np.random.default_rng(1).integers(-3, 9, n), 2)
    values[n // 2 :: 3] = values[0]
    summary, found = figures(values)
    assert summary["median"] == np.median(values)
    assert summary["log_likelihood"] == pytest.approx(values.mean(), rel=1e-9)
    if n > 1:
        assert summary["standard_error"] == pytest.approx(values.std(ddof=1) / np.sqrt(n), rel=1e-9)
    worst = found["row"].to_list()
    assert values[np.array(worst) - 1].tolist() == np.sort(values)[: len(worst)].tolist()


def test_impossible_rows_count_in_the_median_and_the_mean() -> None:
    summary, _ = figures(np.array([1.0, -math.inf, 3.0, 2.0]))
    assert (summary["median"], summary["impossible"], summary["log_likelihood"]) == (1.5, 1, -math.inf)
    assert figures(np.array([1.0, -math.inf, -math.inf]))[0]["median"] == -math.inf


def test_values_at_both_ends_of_what_a_double_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENOUGH", 2)
    assert figures(np.array([-1.7e308, 1.7e308, 3.0, 2.0, 1.0]))[0]["median"] == 2.0


def test_rows_without_a_score_are_counted_and_left_out() -> None:
    scores = pl.LazyFrame({"log_density": [None, 1.0, 2.0, 6.0], "percentile": [None, 0.5, 50.0, 60.0]})
    summary, worst = score_figures(scores)
    assert (summary["rows"], summary["scored"], summary["median"]) == (4, 3, 2.0)
    assert summary["below_1_percent"] == pytest.approx(1 / 3)
    assert worst["row"].to_list() == [2, 3, 4]
