r"""The distribution of a model's only column given the others: exact, row by row, and without draws.

A density of one number has a distribution function F in closed form (a flow's is that of its noise, an average's the
weighted mean of its members'), and the values of the table are cells of it: v is drawn wherever the density falls into
the cell of v, so

.. math:: P(Y \le v) = F(\text{upper end of the cell of } v),\qquad
          q\text{-quantile of } Y = \text{the value whose cell holds } F^{-1}(q).

A column with a probability for each value has these in place of F.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...distributions.base import Density
from ...distributions.mixed import Mixed
from ..model import TableModel
from ..schema.cells import Cells
from ..schema.columns import Column
from ..schema.schema import Schema
from .weighted_column import ColumnDistribution, WeightedColumn

BATCH = 2048  # rows that are answered at once
SEARCHED = 64  # nodes of each row among which the likeliest value is searched


@dataclass(frozen=True, eq=False)
class OneColumn(ColumnDistribution):
    """p(column | given) in some rows, of a column with a density.

    Args:
        column: The column.
        density: The density of its encoded values.
        cells: The cells of these values.
        context: Context features of each row, ``(n, features)``; None for a model without, which then has one row.
        strange: Which rows have no answer, ``(n,)``; None for none.
    """

    column: Column
    density: Density
    cells: Cells
    context: Tensor | None
    strange: Tensor | None = None

    def __len__(self) -> int:
        return 1 if self.context is None else len(self.context)

    def cdf(self, values: Tensor, *, closed: bool = True) -> Tensor:
        """P(Y <= each value), or P(Y < it) if not closed, for values ``(n,)`` or ``(n, k)``, or one for all rows."""
        values = values.double() if values.dim() else values.double().expand(len(self))
        edges = self._edges(values.reshape(len(self), -1), closed)
        below = self._by_rows(lambda context, x: self.density.cdf(x[..., None], context), edges.t()).t().double()
        below = torch.where(edges.isinf(), (edges > 0).double(), below)
        return below.reshape(values.shape)

    def quantile(self, q: Sequence[float]) -> Tensor:
        each = torch.as_tensor(q, dtype=torch.float64)[:, None].expand(-1, len(self))
        if not len(self):
            return each.t()
        return self._snapped(self._by_rows(lambda context, q: self.density.icdf(q, context)[..., 0], each)).t()

    def mean(self) -> Tensor:
        def one(context: Tensor | None) -> Tensor:
            x, weight = self._nodes(context)
            return (self._snapped(x) * weight).nansum(0)

        return self._by_rows(one)

    def mode(self) -> Tensor:
        """The likeliest value, ``(n,)``; of numbers with cells, that of the highest mean density."""

        def one(context: Tensor | None) -> Tensor:
            x = self._nodes(context)[0].sort(0).values
            x = x[:: -(-len(x) // SEARCHED)]
            for _ in range(2):
                best = self._log_density(x, context).argmax(0, keepdim=True)
                low, high = (x.gather(0, (best + away).clamp(0, len(x) - 1)) for away in (-1, 1))
                x = low + (high - low) * torch.linspace(0, 1, 9, dtype=x.dtype)[:, None]
            best = self._log_density(x, context).argmax(0, keepdim=True)
            return self._snapped(x.gather(0, best)[0])

        return self._by_rows(one)

    def _nodes(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Nodes of the density and their weights, ``(nodes, n)`` each."""
        x, weight = self.density.quadrature(context)
        return x.double().cpu().view(len(x), -1), weight.double().cpu().view(len(x), -1)

    def _log_density(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The log-density of encoded values ``(points, n)``; its mean over their cells, where they have any."""
        x = self._snapped(x)
        low, high = self._cells(x)
        found = self.density.log_prob(x.to(low)[..., None], context).double()
        if self.column.kind.has_cells:
            mass = self.density.cdf(high[..., None], context).double() - self.density.cdf(low[..., None], context)
            found = torch.where(high > low, mass.clamp_min(1e-12).log() - (high - low).log(), found)
        return found.nan_to_num(nan=-math.inf).cpu()

    def _edges(self, values: Tensor, closed: bool) -> Tensor:
        """Where the density is cut so that values up to each of some amounts lie below, whatever lies between cells."""
        snapped = self._snapped(values)
        low, high = (end.cpu() for end in self._cells(snapped))
        below = snapped <= values if closed else snapped < values
        return torch.where((high > low) & values.isfinite(), torch.where(below, high, low), values)

    def _cells(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The ends of the cells of encoded values."""
        x = values[..., None].to(self.cells.low)
        low, high = (self.cells.weighted(x, torch.full_like(x, end), False)[0][..., 0] for end in (0.0, 1.0))
        return low, high

    def _snapped(self, x: Tensor) -> Tensor:
        x = x.double().cpu()
        return torch.from_numpy(self.column.kind.snap(x.flatten().numpy())).reshape(x.shape)

    @torch.no_grad()
    def _by_rows(self, answer: Callable[..., Tensor], *values: Tensor) -> Tensor:
        """What a function of contexts, and of values whose last dimension is that of rows, says of all rows."""
        if self.context is None:
            return answer(None, *values).cpu()
        parts = [
            answer(context, *(each[..., start : start + BATCH].to(context.device) for each in values)).cpu()
            for start, context in zip(range(0, max(len(self), 1), BATCH), self.context.split(BATCH), strict=True)
        ]
        found = torch.cat(parts, -1)
        return found if self.strange is None else found.masked_fill(self.strange, math.nan)


def only_column(model: TableModel, context: Tensor | None, strange: Tensor | None = None) -> ColumnDistribution:
    """The distribution of a model's only column, for encoded contexts ``(n, features)``, NaN in the rows of which
    nothing is known, ``(n,)``; see :func:`has_one_column`."""
    density: Any = model.density
    context = None if context is None else context.to(next(density.parameters()))
    if isinstance(density, Mixed):  # a number, and whether it is missing: it is asked for where it is there
        x = torch.zeros(1 if context is None else len(context), 2, device=model.device)
        density, context = density.numbers, density.divide(x, context)[2]
    column, *_ = model.schema.columns
    found = OneColumn(column, density, Cells(Schema(columns=(column,))).to(model.device), context, strange)
    if not (classes := column.kind.classes):
        return found
    codes = torch.arange(classes, dtype=torch.float32, device=model.device)[:, None, None]

    def log_prob(context: Tensor | None) -> Tensor:
        if context is None:
            return density.log_prob(codes)
        return density.log_prob(codes.expand(-1, len(context), -1), context.expand(classes, *context.shape))

    weights = found._by_rows(log_prob).double().softmax(0)
    return WeightedColumn.of_codes(column, weights, torch.zeros_like(weights))


def has_one_column(model: TableModel) -> bool:
    """Whether a model is one of a single column, on no circle, whose distribution given the others is exact."""
    schema = model.schema
    return len(schema.fields) == 1 and not schema.circles and not schema.follow_names
