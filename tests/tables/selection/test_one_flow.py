"""Rows with holes are filled in ways that are as likely as the density says, and judged by many of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from schemas import schema_of
from torch import Tensor

import pushforward as pf
from pushforward.distributions.base import Density
from pushforward.tables.schema.cells import Fill
from pushforward.tables.schema.schema import Schema
from pushforward.tables.selection import one_flow
from pushforward.tables.selection.one_flow import DequantisedKL

ROWS, RHO = 400, 0.95


class Correlated(Density):
    """Two standard normals with a correlation."""

    event_shape, context_features = torch.Size((2,)), 0

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        covariance = torch.tensor([[1.0, RHO], [RHO, 1.0]]).double()
        return torch.distributions.MultivariateNormal(torch.zeros(2).double(), covariance).log_prob(x)


def wide(x: Tensor, u: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Fills uniformly between -8 and 8, whatever is seen; and -log q."""
    hole = x.isnan()
    return torch.where(hole, 16 * u - 8, x), hole.sum(-1).to(x) * math.log(16.0)


def test_of_many_proposals_one_is_drawn_as_the_density_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_flow, "PROPOSALS", 200)
    torch.manual_seed(0)
    frame = pl.DataFrame(
        {"a": np.linspace(-1, 1, ROWS), "b": [math.sin(k * k) if k % 2 else None for k in range(ROWS)]}
    )
    schema = schema_of(frame, numbers=["b"], relations="none").ignoring()
    objective = DequantisedKL(Correlated(), schema, wide)
    x = torch.tensor([0.8, math.nan]).double().expand(ROWS, 2) + 1e-6 * torch.arange(ROWS)[:, None]
    taken, log_q = objective._taken(x, None)
    found, deviation = taken[:, 1], math.sqrt(1 - RHO**2)
    assert torch.equal(taken[:, 0], x[:, 0])
    torch.testing.assert_close(log_q, torch.full_like(log_q, -math.log(16.0)))
    assert abs(float(found.mean()) - 0.8 * RHO) < 4 * deviation / math.sqrt(ROWS)
    assert abs(float(found.std()) / deviation - 1) < 0.15


def test_numbers_known_in_part_are_filled_in_more_ways() -> None:
    """What is known of a measured number proposes it, however far the density is from that."""
    torch.manual_seed(0)
    frame = pl.DataFrame(
        {"a": np.linspace(-1, 1, ROWS), "b": [math.sin(k * k) if k % 2 else None for k in range(ROWS)]}
    )
    schema = schema_of(frame, numbers=["b"], relations="none").ignoring()
    a, b = schema.columns
    measured = Schema((a, replace(b, holes=replace(b.holes, in_part=0.5))))
    x = torch.tensor([0.8, math.nan]).double().repeat(ROWS, 1)
    off = [(DequantisedKL(Correlated(), each, wide)._taken(x, None)[0][:, 1] - 0.8 * RHO).abs().mean()
           for each in (schema, measured)]  # fmt: skip
    assert float(off[1]) < 0.5 * float(off[0])


def test_held_out_rows_are_judged_by_many_proposals() -> None:
    """A bound of log p(seen), near it though one proposal in twenty is likely; exact where nothing is missing."""
    torch.manual_seed(0)
    frame = pl.DataFrame(
        {"a": np.linspace(-1, 1, ROWS), "b": [math.sin(k * k) if k % 2 else None for k in range(ROWS)]}
    )
    schema = schema_of(frame, numbers=["b"], relations="none").ignoring()
    x = torch.tensor([0.8, math.nan]).double().repeat(ROWS, 1)
    x[0, 1] = 0.5
    loss = DequantisedKL(Correlated(), schema, wide).held_out(x)
    assert float(loss[0]) == pytest.approx(-float(Correlated()(x[:1])))
    off = loss[1:] + torch.distributions.Normal(0.0, 1.0).log_prob(x[1:, 0])
    assert 0 < float(off.median()) < 0.5


def test_a_resumed_training_on_rows_with_holes_is_the_same_as_one_that_goes_through(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(np.where(rng.random((200, 2)) < 0.3, math.nan, rng.normal(size=(200, 2))))
    frame = pl.DataFrame({"a": x[:, 0].numpy(), "b": x[:, 1].numpy()}).fill_nan(None)
    schema = schema_of(frame).ignoring()
    steps = 0

    def breaks(x: Tensor, u: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        nonlocal steps
        steps += 1
        if steps == 16:
            raise RuntimeError("broken off")
        return wide(x, u, context)

    def train(name: str, fill: Fill) -> Tensor:
        torch.manual_seed(0)
        objective = DequantisedKL(pf.maf(2, layers=1, hidden=(4,)), schema, fill)
        often: dict[str, Any] = {"checkpoint": tmp_path / name, "checkpoint_every": 10, "validation": None}
        pf.fit(objective, x, steps=24, batch_size=64, threads=1, progress=False, lr=0.01, **often)
        return torch.cat([p.detach().flatten() for p in objective.parameters()])

    whole = train("whole", wide)
    with pytest.raises(RuntimeError, match="broken off"):
        train("parts", breaks)
    assert torch.equal(train("parts", wide), whole)
