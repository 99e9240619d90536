"""How good a fitted table's samples are: compared with held-out rows, and with the rows it was trained on."""

from __future__ import annotations

from typing import Any

import polars as pl
import torch
from torch import Tensor

from ..diagnostics.sampling_quality import SamplingQuality, sampling_quality
from ..distributions.base import Density
from ..models.train import Rows
from .prepare import TableSplits
from .schema.schema import Schema

MOST = 1_000  # draws, and held-out rows
MOST_TRAINING = 20_000


@torch.no_grad()
def drawn_beside_held_out(density: Density, rows: TableSplits, seed: int) -> SamplingQuality:
    """As many rows as there are held-out ones, drawn given their contexts, and compared in the table's own units.

    If rows have weights, held-out and training rows are resampled by them.
    """
    held = _resampled(rows.test, MOST, seed)
    generator = torch.Generator(next(density.parameters()).device).manual_seed(seed)
    if held.context is None:
        x = density.sample((len(held),), generator=generator)
    else:
        x = density.sample((), held.context.to(generator.device), generator=generator)
    x = rows.schema.missingness.drawn(x, generator)
    tables = (_resampled(rows.train, MOST_TRAINING, seed), held, Rows(x, held.context))
    train, held_out, drawn = (_table(rows.schema, each.x, each.context) for each in tables)
    return sampling_quality(train, held_out, drawn, seed=seed)


def _resampled(rows: Rows, most: int, seed: int) -> Rows:
    """At most this many of the rows at random, by their weights if they have any."""
    generator = torch.Generator().manual_seed(seed)
    if rows.weights is None:
        return rows[torch.randperm(len(rows), generator=generator)[:most]]
    return rows[torch.multinomial(rows.weights, min(most, len(rows)), replacement=True, generator=generator)]


def _table(schema: Schema, x: Tensor, context: Tensor | None) -> pl.DataFrame:
    """Rows in the table's own units, together with the numeric columns of their contexts."""
    frame = schema.decode(x)
    given: dict[str, Any] = {}
    if context is not None:
        given = {f"given {j}": column.double().cpu().numpy() for j, column in enumerate(context.T)}
    return frame.with_columns(**given)
