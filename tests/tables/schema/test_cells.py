"""Cell log-densities: the average of the density over a cell, whatever else is in the table."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import torch
from schemas import schema_of

from pushforward.tables.schema.cells import Cells

RNG = np.random.default_rng(1)
COUNTS = np.round(RNG.normal(0, 2, 500))
NORMAL = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 2.0)


def log_normal(x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
    return NORMAL.log_prob(x).sum(-1)


def schema_with(**columns: np.ndarray):
    return schema_of(columns, numbers=list(columns))


def test_whole_numbers_get_the_probability_of_their_cell() -> None:
    x = torch.from_numpy(COUNTS)[:, None]
    value, error = Cells(schema_with(a=COUNTS)).log_density(log_normal, x, samples=64)
    exact = (NORMAL.cdf(x + 0.5) - NORMAL.cdf(x - 0.5)).log()[:, 0]
    assert (value - exact).abs().max() < 0.02
    assert ((value - exact).abs() <= 4 * error + 1e-4).all()
    values = torch.arange(-40.0, 41.0, dtype=torch.float64)[:, None]
    total = Cells(schema_with(a=COUNTS)).log_density(log_normal, values, samples=64)[0].exp().sum()
    assert float(total) == pytest.approx(1.0, abs=5e-3)


def test_rounded_numbers_get_a_density_in_their_own_units() -> None:
    tenths = np.round(RNG.normal(0, 2, 500), 1)
    x = torch.from_numpy(tenths)[:, None]
    value, _ = Cells(schema_with(a=tenths)).log_density(log_normal, x, samples=16)
    exact = ((NORMAL.cdf(x + 0.05) - NORMAL.cdf(x - 0.05)) / 0.1).log()[:, 0]
    torch.testing.assert_close(value, exact, atol=1e-2, rtol=0)


def test_continuous_columns_are_exact() -> None:
    a = RNG.normal(size=100)
    x = torch.from_numpy(a)[:, None]
    value, error = Cells(schema_with(a=a)).log_density(log_normal, x)
    assert torch.equal(value, log_normal(x))
    assert not error.any()


def test_a_score_depends_on_the_row_and_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = schema_with(a=COUNTS, b=np.round(RNG.normal(0, 2, 500), 1))
    x = schema.encode(pl.DataFrame({"a": COUNTS, "b": np.round(RNG.normal(0, 2, 500), 1)}), "t.csv").x
    scores, _ = Cells(schema).log_density(log_normal, x, samples=8)
    monkeypatch.setattr("pushforward.tables.schema.cells.BATCH", 8)
    some, _ = Cells(schema).log_density(log_normal, x[[17, 3]], samples=8)
    assert torch.equal(scores[[17, 3]], some)
    assert not torch.equal(scores, Cells(schema).log_density(log_normal, x, samples=8, seed=1)[0])


def test_an_atom_keeps_its_rows_together_and_apart_from_the_rest() -> None:
    rain = np.where(RNG.random(500) < 0.3, 0.0, RNG.gamma(2.0, 1.0, 500))
    schema = schema_with(rain=rain)
    x = torch.from_numpy(rain)[:, None]
    spread = Cells(schema)(x, torch.rand_like(x))
    at_zero = x == 0
    assert (spread[at_zero] < 0).all()
    assert torch.equal(spread[~at_zero], x[~at_zero])
    assert np.array_equal(schema.decode(spread)["rain"].to_numpy(), rain)


def test_outside_the_support_there_is_no_density() -> None:
    def positive(x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        return -x.log()[..., 0]  # NaN below zero, as a first transform's logarithm is

    x = torch.tensor([[-3.0], [2.0]], dtype=torch.float64)
    value, error = Cells(schema_with(a=np.exp(3 * RNG.normal(size=99)))).log_density(positive, x)
    assert value.tolist() == [-math.inf, pytest.approx(-math.log(2))]
    assert error.tolist() == [0.0, 0.0]
