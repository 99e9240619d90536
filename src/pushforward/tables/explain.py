"""``pushforward score --explain``: what makes a row unlikely, as columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ..models.train import Rows
from ..report.reasons import POINTS, repairs, typical_values
from .schema.schema import Schema

if TYPE_CHECKING:
    from .fitted import FittedTable


def explain(model: FittedTable, x: Tensor, context: Tensor | None, rows: np.ndarray, seed: int = 0) -> pl.DataFrame:
    """For the chosen rows: the column with the largest gain, the value that would fit, and every column's gain.

    Args:
        model: The model.
        x: All encoded rows.
        context: Their context.
        rows: Indices of the rows to explain.
        seed: Seed of the points in cells.

    Returns:
        One row per row of ``x``, null for rows that are not explained. The value is text if the model has categories,
        and a number otherwise.
    """

    def log_prob(x: Tensor, context: Tensor | None) -> Tensor:
        return torch.from_numpy(model.log_density(Rows(x, context), samples=POINTS, seed=seed)[0])

    columns = model.schema.fields
    if len(rows):
        given = None if context is None else context[rows]
        gains, values = repairs(
            log_prob, x[rows], typical_values(model.schema, x)[: len(columns)], given, model.schema.missingness.flags
        )
    else:
        gains = values = torch.zeros(0, len(columns), dtype=torch.float64)
    top = gains.argmax(1)
    fits: list[Any] = values.gather(1, top[:, None])[:, 0].tolist()
    if model.schema.speaks:
        fits = [columns[j].shown(value) for j, value in zip(top.tolist(), fits, strict=True)]
    names = [columns[j].name for j in top.tolist()]
    everywhere = {
        "unlikely_because": _place(len(x), rows, names),
        "would_fit": _place(len(x), rows, fits),
    }
    for column, gain in zip(columns, gains.T, strict=True):
        everywhere[f"gain_{column.name}"] = _place(len(x), rows, gain.tolist())
    return pl.DataFrame(everywhere, schema=explained_columns(model.schema))


def explained_columns(schema: Schema) -> dict[str, type[pl.DataType]]:
    """Names and kinds of the columns that :func:`explain` returns."""
    value = pl.String if schema.speaks else pl.Float64
    gains = {f"gain_{name}": pl.Float64 for name in schema.names}
    return {"unlikely_because": pl.String, "would_fit": value, **gains}


def _place(length: int, rows: np.ndarray, values: Sequence[Any]) -> list[Any]:
    filled: list[Any] = [None] * length
    for row, value in zip(rows, values, strict=True):
        filled[row] = value
    return filled
