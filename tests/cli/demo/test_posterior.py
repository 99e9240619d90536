"""The demo of a posterior: its exact answers are right, and the flow is compared with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from pushforward.cli.demo import posterior
from pushforward.testing import targets


def test_exact_answers_are_those_of_the_target() -> None:
    """Importance weights of draws from the prior are an estimate of log Z that knows nothing of the integral."""
    torch.manual_seed(0)
    prior = torch.cat(
        [
            torch.randn(200_000, 8),
            5 * torch.randn(200_000, 1),
            5 * torch.randn(200_000, 1).abs() / torch.randn(200_000, 1).abs(),
        ],
        1,
    )
    mean, spread = prior[:, 8], prior[:, 9]
    log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(prior[:, :8]).sum(-1)
    log_prior += torch.distributions.Normal(0.0, 5.0).log_prob(mean) + torch.distributions.HalfCauchy(5.0).log_prob(
        spread
    )
    log_weight = targets.eight_schools(prior) - log_prior
    exact, weight = posterior.exactly(), log_weight.softmax(0)
    assert float(log_weight.logsumexp(0)) - math.log(200_000) == pytest.approx(exact["log Z"], abs=0.02)
    assert float(weight @ mean) == pytest.approx(exact["mean of mu"], abs=0.1)
    assert float(weight @ spread) == pytest.approx(exact["mean of tau"], abs=0.1)


def test_the_whole_job(tmp_path: Path, run: Callable[..., Any]) -> None:
    result = run("demo", "--posterior", "-o", tmp_path / "demo", "--budget", "2s")
    assert result["found"].keys() == result["exact"].keys()
    draws = pl.read_csv(tmp_path / "demo" / "draws.csv")
    assert draws.shape == (1000, 10)
    assert draws["x10"].min() > 0


@pytest.mark.parametrize("other", [["--images"], ["table.csv"], ["--flow", "maf"]], ids=lambda other: other[0])
def test_jobs_do_not_mix(other: list[str], run: Callable[..., Any]) -> None:
    run("demo", "--posterior", *other, code=2)
