"""Fillings of rows with holes are a Markov chain whose limit is what the density says of the holes."""

from __future__ import annotations

import math
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
from pushforward.tables import objectives
from pushforward.tables.objectives import DequantisedKL, Fillings
from pushforward.tables.schema.cells import Fill

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


def test_fillings_become_draws_of_the_density_though_few_are_proposed_at_a_time() -> None:
    torch.manual_seed(0)
    frame = pl.DataFrame({"a": np.linspace(-1, 1, ROWS), "b": [k if k % 2 else None for k in range(ROWS)]})
    schema = schema_of(frame, numbers=["b"]).ignoring()
    objective = DequantisedKL(Correlated(), schema, wide)
    x = torch.tensor([0.8, math.nan]).double().expand(ROWS, 2) + 1e-6 * torch.arange(ROWS)[:, None]
    first = objective._taken(x, None)[0][:, 1]
    for _ in range(40):
        last, log_q = objective._taken(x, None)
    found, deviation = last[:, 1], math.sqrt(1 - RHO**2)
    assert torch.equal(last[:, 0], x[:, 0])
    torch.testing.assert_close(log_q, torch.full_like(log_q, -math.log(16.0)))
    assert abs(float(found.mean()) - 0.8 * RHO) < 4 * deviation / math.sqrt(ROWS)
    assert abs(float(found.std()) / deviation - 1) < 0.15
    assert float((first - 0.8 * RHO).abs().mean()) > 2 * float((found - 0.8 * RHO).abs().mean())  # four proposals alone


def test_held_out_rows_are_judged_by_many_proposals() -> None:
    """A bound of log p(seen), near it though one proposal in twenty is likely; exact where nothing is missing."""
    torch.manual_seed(0)
    frame = pl.DataFrame({"a": np.linspace(-1, 1, ROWS), "b": [k if k % 2 else None for k in range(ROWS)]})
    schema = schema_of(frame, numbers=["b"]).ignoring()
    x = torch.tensor([0.8, math.nan]).double().repeat(ROWS, 1)
    x[0, 1] = 0.5
    loss = DequantisedKL(Correlated(), schema, wide).held_out(x)
    assert float(loss[0]) == pytest.approx(-float(Correlated()(x[:1])))
    off = loss[1:] + torch.distributions.Normal(0.0, 1.0).log_prob(x[1:, 0])
    assert 0 < float(off.median()) < 0.5


def test_rows_are_found_again_and_others_take_their_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectives, "NUMBERS", 3 * 4)  # four slots of rows of two
    x = torch.tensor([[1.0, math.nan], [math.nan, 2.0]]).double()
    memory = Fillings(x)
    assert memory.last(x)[1].isposinf().all()
    memory.keep(x[:1], torch.tensor([[1.0, 5.0]]).double(), torch.tensor([-2.0]).double())
    points, log_q = memory.last(x[:1])
    assert (points.tolist(), log_q.tolist()) == ([[1.0, 5.0]], [-2.0])
    many = torch.arange(40.0).double().view(20, 2)
    memory.keep(many, many, torch.zeros(20).double())
    assert int(memory.last(many)[1].isfinite().sum()) <= 4
    assert memory.last(x[:1])[1].isposinf().all()


def test_a_state_of_training_holds_what_was_remembered() -> None:
    x = torch.tensor([[1.0, math.nan], [math.nan, 2.0], [3.0, math.nan]]).double()
    memory, points = Fillings(x), x.nan_to_num(7.0)
    memory.keep(x[:2], points[:2], torch.tensor([-1.0, -2.0]).double())
    again = Fillings.of_tensors(memory.tensors())
    for before, after in zip(memory.last(x), again.last(x), strict=True):
        assert torch.equal(before, after)
    assert len(memory.tensors()["keys"]) == 2


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
