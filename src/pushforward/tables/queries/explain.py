"""``pushforward score --explain``: what makes a row unlikely, as columns of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ...diagnostics.repairs import POINTS, repairs, typical_values
from ...models.train import Rows
from ..model import TableModel
from ..schema.schema import Schema
from .oddness import expected, gains_without
from .query import Query


def explain(model: TableModel, rows: Rows, chosen: np.ndarray, seed: int = 0) -> pl.DataFrame:
    """For the chosen rows: the column with the largest gain, the value that would fit, and every column's gain.

    With a guide, a gain is by how much less odd the row is without a cell (:mod:`.oddness`), and a value that would fit
    is one near the middle given the others. Without, it is that in the log-density by the best typical value.

    Args:
        model: The fitted table.
        rows: Encoded rows.
        chosen: Indices of those to explain.
        seed: Seed of the points in cells.

    Returns:
        One row per row, null for those that are not explained. The value is text if the model has categories, and a
        number otherwise.
    """
    columns, some = model.schema.fields, rows[chosen]
    if not len(chosen):
        gains, fits = torch.zeros(0, len(columns)), torch.zeros(0, len(columns))
    elif model.guided is None:
        gains, fits = _repaired(model, some, rows.x, seed)
    else:
        gains = gains_without(model, some)
        fits = _expected(model, some, gains.argmax(1))
    top = gains.argmax(1)
    pairs = zip(top.tolist(), fits.gather(1, top[:, None])[:, 0].tolist(), strict=True)
    values: list[Any] = [
        columns[j].shown(value) if model.schema.speaks else float(columns[j].kind.amounts(np.array([value]))[0])
        for j, value in pairs
    ]
    found = {"unlikely_because": [columns[j].name for j in top.tolist()], "would_fit": values}
    found |= {f"gain_{column.name}": gain.tolist() for column, gain in zip(columns, gains.T, strict=True)}
    everywhere = np.full(len(rows), np.nan)
    everywhere[chosen] = np.arange(len(chosen))
    place = pl.Series(everywhere, nan_to_null=True).cast(pl.UInt32)
    return pl.DataFrame(found, schema=explained_columns(model.schema)).select(pl.all().gather(place))


def _expected(model: TableModel, rows: Rows, top: Tensor) -> Tensor:
    """The value that would fit in the column to blame, ``(n, columns)``; 0 in the others."""
    fits = torch.zeros(len(rows), len(model.schema.fields), dtype=torch.float64)
    for j in top.unique().tolist():
        blamed = top == j
        fits[blamed, j] = expected(model, rows[blamed], j)
    return fits


def _repaired(model: TableModel, rows: Rows, reference: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Gains and the values that attain them, by trying typical values of each column."""

    def log_prob(x: Tensor, context: Tensor | None) -> Tensor:
        some = Rows(x, context).to(model.device)
        return model.cells.log_density(model.density, some.x, some.context, samples=POINTS, seed=seed)[0]

    tried = typical_values(reference, [column.typical for column in model.schema.columns])[: len(model.schema.fields)]
    return repairs(log_prob, rows.x, tried, rows.context, model.schema.missingness.flags)


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
