r"""What makes a row unlikely: how odd its cells are, each given all the others, and which one is to blame.

A density rewards repeated values: earnings of which many are the same to the cent have a probability in tiny cells, and
so 20 nats more than their neighbours, which hides an age of 150. A tail probability does not depend on the cells:

.. math:: s(x) = \sum_j \log t_j,\qquad t_j = 2 \min\{F_j(x_j \mid x_{-j}),\; 1 - F_j(x_j \mid x_{-j})\}

by the guide's one-dimensional conditionals F, at the middle of the row's cells; for a category, t is the probability of
all that are no likelier. The row's oddness is Fisher's combination, and the cell to blame is the one without which the
row is least odd. (All cells of a broken relation have small t given the others, but without the one that breaks it the
others agree.)

Few rows teach a guide tails that are too light: of rows of 24 small tables that no fit saw, 18 times as many cells as
said have t < 1e-4. That changes no order, and p-values are conformal; but a gain of 30 nats is a claim. So gains are
as rare as tails that are as heavy as those of unseen rows (:func:`~pushforward.numerics.tails.log_predictive`).

Reference:
    Fisher (1932), Statistical methods for research workers, section 21.1.
    Pickands (1975), Statistical inference using extreme order statistics, Annals of Statistics 3.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ...diagnostics.repairs import POINTS, repairs, typical_values
from ...distributions.guided import as_if_seen
from ...models.train import Rows
from ...numerics.tails import log_predictive
from ..guide import spread_seen
from ..model import TableModel
from ..schema.schema import Schema
from .query import Query

LEAST = -1e4  # log tail probability, in nats, of what cannot be
TOGETHER = 1024  # rows, with one column or another left out


def explain(model: TableModel, rows: Rows, chosen: np.ndarray, seed: int = 0) -> pl.DataFrame:
    """For the chosen rows: the column with the largest gain, the value that would fit, and every column's gain.

    With a guide, a gain is by how much less odd the row is without a cell, and a value that would fit is one
    near the middle given the others. Without, it is that in the log-density by the best typical value.

    Returns:
        One row per row, null for those that are not explained. The value is text if the model has categories, and a
        number otherwise.
    """
    columns, some = model.schema.fields, rows[chosen]
    if not len(chosen):
        gains, fits = torch.zeros(0, len(columns)), torch.zeros(0)
    elif model.guided is None:
        gains, fits = _repaired(model, some, rows.x, seed)
    else:
        gains = gains_without(model, some)
        fits = _expected(model, some, gains.argmax(1))
    top, kinds = gains.argmax(1), explained_columns(model.schema)
    pairs = zip(top.tolist(), fits.tolist(), strict=True)
    values: list[Any] = [
        columns[j].shown(value)
        if kinds["would_fit"] == pl.String
        else float(columns[j].kind.amounts(np.array([value]))[0])
        for j, value in pairs
    ]
    found = {"unlikely_because": [columns[j].name for j in top.tolist()], "would_fit": values}
    found |= {f"gain_{column.name}": gain.tolist() for column, gain in zip(columns, gains.T, strict=True)}
    return at_places(pl.DataFrame(found, schema=kinds), chosen, len(rows))


def at_places(found: pl.DataFrame, places: np.ndarray, n: int) -> pl.DataFrame:
    """The rows of a table at some places among n; null elsewhere."""
    which = np.full(n, np.nan)
    which[places] = np.arange(len(places))
    return found.select(pl.all().gather(pl.Series(which, nan_to_null=True).cast(pl.UInt32)))


def _expected(model: TableModel, rows: Rows, top: Tensor) -> Tensor:
    """The value that would fit in the column to blame, ``(n,)``."""
    fits = torch.zeros(len(rows), dtype=torch.float64)
    for j in top.unique().tolist():
        fits[top == j] = expected(model, rows[top == j], j)
    return fits


def _repaired(model: TableModel, rows: Rows, reference: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Gains, and the value that attains the largest, by trying typical values of each column."""

    def log_prob(x: Tensor, context: Tensor | None) -> Tensor:
        some = Rows(x, context).to(model.device)
        return model.cells.log_density(model.density, some.x, some.context, samples=POINTS, seed=seed)[0]

    tried = typical_values(reference, [column.typical for column in model.schema.columns])[: len(model.schema.fields)]
    gains, values = repairs(log_prob, rows.x, tried, rows.context, model.schema.missingness.flags)
    return gains, values.gather(1, gains.argmax(1, keepdim=True))[:, 0]


def cells_given_others(model: TableModel, rows: Rows) -> pl.DataFrame:
    """log p(cell | the other cells) of every cell, in nats; NaN if the others are impossible."""
    found = {}
    for name in model.schema.names:
        others = ~model.schema.features_of([name])
        found[f"log_p_{name}"] = Query(rows, others).answer(model).value.numpy()
    return pl.DataFrame(found)


def explained_columns(schema: Schema) -> dict[str, type[pl.DataType]]:
    """Names and kinds of the columns that :func:`explain` returns."""
    value = pl.String if any(column.speaks for column in schema.columns) else pl.Float64
    gains = {f"gain_{name}": pl.Float64 for name in schema.names}
    return {"unlikely_because": pl.String, "would_fit": value, **gains}


def log_tails(model: TableModel, rows: Rows, without: Tensor | None = None) -> Tensor:
    """log t of every entry, ``(n, features)``, for a model with a guide; 0 where there is no value. Features that are
    left out, of all rows or of each, are as if they had not been observed."""
    guide = model.guide_for("has no conditionals").guide
    rows = rows.to(model.device)
    x = _middles(model, rows)
    if without is not None:
        x = x.masked_fill(without.to(x.device), math.nan)
    return guide.tails(x, rows.context).cpu()


def gains_without(model: TableModel, rows: Rows) -> Tensor:
    """By how much less odd every row is without each column's cell, ``(n, names)``, in nats, infinite for one
    without which the row could be; whether the cell is missing counts as well."""
    whole, n = log_tails(model, rows), len(rows)
    left_out = torch.stack([model.schema.features_of([name]) for name in model.schema.names])

    def tails(some: Tensor) -> Tensor:
        repeated = rows[torch.arange(n).repeat(len(some))]
        return log_tails(model, repeated, some.repeat_interleave(n, 0)).unflatten(0, (-1, n))

    rest = torch.cat([tails(some) for some in left_out.split(max(TOGETHER // n, 1))])  # few rows are few calls
    gains = (rest.clamp_min(LEAST).sum(2) - whole.clamp_min(LEAST).sum(1)).t()
    if shapes := model.facts.get("unseen_by_guide", {}).get("shapes"):
        gains = torch.where(gains > 0, -log_predictive(-gains.clamp_min(0), torch.tensor(shapes)), gains)
    mended = whole.isneginf().any(1)[:, None] & ~rest.isneginf().any(2).t()
    return gains.masked_fill(mended, math.inf)


def expected(model: TableModel, rows: Rows, j: int) -> Tensor:
    """A value of column j that rows like these have, encoded, ``(n,)``: a typical one near its median given the others,
    if it lies within the central half, or else the median itself; of a category, the likeliest."""
    guided, kind = model.guide_for("has no conditionals"), model.schema.columns[j].kind
    rows = rows.to(model.device)
    x, context = _middles(model, rows), rows.context
    x[:, j] = math.nan
    x = as_if_seen(x, guided.tell)
    middle = guided.guide.middle(x, j, context).double().cpu()
    found = torch.from_numpy(kind.snap(middle.numpy()))
    if not (kind.typical and not kind.classes):
        return found
    typical = torch.tensor(kind.typical, dtype=torch.float64)
    near = typical[(middle[:, None] - typical).abs().argmin(1)]
    x[:, j] = near.to(x.device)
    central = guided.guide.tails(x, context)[:, j].cpu() >= math.log(0.5)
    return torch.where(central, near, found)


def _middles(model: TableModel, rows: Rows) -> Tensor:
    """The middle of every row's cell."""
    x = model.schema.seen(rows.x)
    return spread_seen(model.cells, x, torch.full_like(x, 0.5)).clone()
