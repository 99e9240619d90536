r"""How odd the cells of a row are: tail probabilities of each given all the others, and their product.

A density rewards repeated values: earnings of which many are the same to the cent have a probability in tiny cells, and
so 20 nats more than their neighbours, which hides an age of 150. A tail probability does not depend on the cells:

.. math:: s(x) = \sum_j \log t_j,\qquad t_j = 2 \min\{F_j(x_j \mid x_{-j}),\; 1 - F_j(x_j \mid x_{-j})\}

by the guide's one-dimensional conditionals F, at the middle of the row's cells; for a category, t is the probability of
all that are no likelier. The row's oddness is Fisher's combination, and the cell to blame is the one without which the
row is least odd. (All cells of a broken relation have small t given the others, but without the one that breaks it the
others agree.)

Reference:
    Fisher (1932), Statistical methods for research workers, section 21.1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...distributions.guided import as_if_seen
from ...models.train import Rows
from ..guide import spread_seen
from ..model import TableModel

LEAST = -1e4  # log tail probability, in nats, of what cannot be


def log_tails(model: TableModel, rows: Rows, without: Tensor | None = None) -> Tensor:
    """log t of every entry, ``(n, features)``, for a model with a guide; 0 where there is no value. Features that are
    left out are as if they had not been observed."""
    guide = model.guide_for("has no conditionals").guide
    rows = rows.to(model.device)
    x = _middles(model, rows)
    if without is not None:
        x[:, without.to(x.device)] = math.nan
    return guide.tails(x, rows.context).cpu()


def gains_without(model: TableModel, rows: Rows) -> Tensor:
    """By how much less odd every row is without each column's cell, ``(n, names)``, in nats, infinite for one
    without which the row could be; whether the cell is missing counts as well."""
    whole, schema = log_tails(model, rows), model.schema
    rest = torch.stack([log_tails(model, rows, without=schema.features_of([name])) for name in schema.names])
    gains = (rest.clamp_min(LEAST).sum(2) - whole.clamp_min(LEAST).sum(1)).t()
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
    return spread_seen(model.cells.to(x.device), x, torch.full_like(x, 0.5)).clone()
