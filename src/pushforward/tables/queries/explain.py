"""``pushforward score --explain``: what makes a row unlikely, as columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ...diagnostics.repairs import POINTS, repairs, typical_values
from ...models.train import Rows
from ..model import TableModel
from ..schema.schema import Schema
from .query import Query


def explain(model: TableModel, rows: Rows, chosen: np.ndarray, seed: int = 0) -> pl.DataFrame:
    """For the chosen rows: the column with the largest gain, the value that would fit, and every column's gain.

    Args:
        model: The fitted table.
        rows: Encoded rows.
        chosen: Indices of those to explain.
        seed: Seed of the points in cells.

    Returns:
        One row per row, null for those that are not explained. The value is text if the model has categories, and a
        number otherwise.
    """

    def log_prob(x: Tensor, context: Tensor | None) -> Tensor:
        return model.log_density(Rows(x, context), samples=POINTS, seed=seed).value

    columns, some = model.schema.fields, rows[chosen]
    gains = values = torch.zeros(0, len(columns), dtype=torch.float64)
    if len(chosen):
        tried = typical_values(rows.x, [column.typical for column in model.schema.columns])[: len(columns)]
        gains, values = repairs(log_prob, some.x, tried, some.context, model.schema.missingness.flags)
    top = gains.argmax(1)
    fits: list[Any] = values.gather(1, top[:, None])[:, 0].tolist()
    if model.schema.speaks:
        fits = [columns[j].shown(value) for j, value in zip(top.tolist(), fits, strict=True)]
    names = [columns[j].name for j in top.tolist()]
    found = {"unlikely_because": names, "would_fit": fits}
    found |= {f"gain_{column.name}": gain.tolist() for column, gain in zip(columns, gains.T, strict=True)}
    everywhere = {name: _placed(len(rows), chosen, values) for name, values in found.items()}
    return pl.DataFrame(everywhere, schema=explained_columns(model.schema))


def cells_given_others(model: TableModel, rows: Rows) -> pl.DataFrame:
    """log p(cell | the other cells) of every cell, in nats; NaN if the others are impossible."""
    found = {}
    for name in model.schema.names:
        asked = model.schema.features_of([name])
        found[f"log_p_{name}"] = Query(rows, asked, ~asked).answer(model).value.numpy()
    return pl.DataFrame(found)


def explained_columns(schema: Schema) -> dict[str, type[pl.DataType]]:
    """Names and kinds of the columns that :func:`explain` returns."""
    value = pl.String if schema.speaks else pl.Float64
    gains = {f"gain_{name}": pl.Float64 for name in schema.names}
    return {"unlikely_because": pl.String, "would_fit": value, **gains}


def _placed(length: int, rows: np.ndarray, values: Sequence[Any]) -> list[Any]:
    filled: list[Any] = [None] * length
    for row, value in zip(rows, values, strict=True):
        filled[row] = value
    return filled
