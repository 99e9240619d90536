"""The demo of simulations: its exact answers are right, and the model is compared with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pushforward.cli.demo import simulations


def test_exact_answers_are_those_of_the_simulations() -> None:
    """Of a million simulated stars, those that were seen as this one."""
    frame = simulations.simulate(1_000_000, 0)
    alike = frame.filter(pl.col("on") == simulations.SEEN["on"], pl.col("off") == simulations.SEEN["off"])
    assert alike.height > 500
    for where in simulations.QUESTIONS:
        counted = alike.filter(pl.sql_expr(where)).height / alike.height
        assert counted == pytest.approx(simulations.exactly(where), abs=4 * (0.25 / alike.height) ** 0.5)


@pytest.mark.slow
def test_the_whole_job(tmp_path: Path, run: Callable[..., Any]) -> None:
    result = run("demo", "--simulations", "-o", tmp_path / "demo", "--budget", "4s")
    assert [each["where"] for each in result["ask"]] == list(simulations.QUESTIONS)
    assert all(abs(each["probability"] - each["exact"]) < 0.4 for each in result["ask"])
    drawn = pl.read_csv(tmp_path / "demo" / "posterior.csv")
    assert drawn.height == 1000
    assert drawn["signal"].min() >= 0
    assert set(drawn["on"]) == {simulations.SEEN["on"]}
