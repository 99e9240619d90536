r"""Why is a row unlikely? By how many nats each column, alone, could make it likelier.

.. math:: \mathrm{gain}_j(x) = \max_v \log p(x_{-j}, x_j = v) - \log p(x)

v runs over evenly spaced quantiles of the training rows. A large gain says that the other columns are fine and this
one does not fit them. Gains are differences of log-densities in the same units, so they compare across columns; where
several columns are odd together, no single gain is large.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ..data.schema import Schema
from .model import TableModel

POINTS = 4  # points per cell: gains matter in whole nats
BATCH = 65_536  # candidate rows that are scored at once


def explain(model: TableModel, x: Tensor, context: Tensor | None, rows: np.ndarray, seed: int = 0) -> pl.DataFrame:
    """For the chosen rows: the column with the largest gain, the value that would fit, and every column's gain.

    Args:
        model: The model.
        x: All encoded rows.
        context: Their context.
        rows: Which of them to explain.
        seed: Of the points in cells.

    Returns:
        One row per row of ``x``, null where it was not to be explained.
    """
    columns = model.schema.columns
    chosen = x[rows]
    given = None if context is None else context[rows]
    now, _ = model.log_density(chosen, given, samples=POINTS, seed=seed)
    gains, fits = np.zeros((len(rows), len(columns))), np.zeros((len(rows), len(columns)))
    for j, column in enumerate(columns):
        values = np.unique(column.quantiles)
        best, fits[:, j] = _best(model, chosen, given, j, values, seed)
        gains[:, j] = np.maximum(np.where(np.isneginf(best), 0.0, best - now), 0.0)
    top = gains.argmax(1)
    everywhere = {
        "unlikely_because": _place(len(x), rows, [columns[j].name for j in top]),
        "would_fit": _place(len(x), rows, fits[np.arange(len(rows)), top].tolist()),
    }
    for j, column in enumerate(columns):
        everywhere[f"gain_{column.name}"] = _place(len(x), rows, gains[:, j].tolist())
    return pl.DataFrame(everywhere, schema=explained_columns(model.schema))


def explained_columns(schema: Schema) -> dict[str, type[pl.DataType]]:
    """Names and kinds of the columns that :func:`explain` returns."""
    gains = {f"gain_{name}": pl.Float64 for name in schema.names}
    return {"unlikely_because": pl.String, "would_fit": pl.Float64, **gains}


def _best(
    model: TableModel, x: Tensor, context: Tensor | None, j: int, values: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The largest log-density over the values of column j, and the value that has it."""
    best, fit = [], []
    for start in range(0, len(x), step := max(BATCH // len(values), 1)):
        part = x[start : start + step].repeat_interleave(len(values), 0)
        part[:, j] = torch.from_numpy(values).repeat(len(part) // len(values))
        given = None if context is None else context[start : start + step].repeat_interleave(len(values), 0)
        scores = model.log_density(part, given, samples=POINTS, seed=seed)[0].reshape(-1, len(values))
        best.append(scores.max(1))
        fit.append(values[scores.argmax(1)])
    return (np.concatenate(best), np.concatenate(fit)) if best else (np.zeros(0), np.zeros(0))


def _place(length: int, rows: np.ndarray, values: list) -> list:
    filled: list = [None] * length
    for row, value in zip(rows, values, strict=True):
        filled[row] = value
    return filled
