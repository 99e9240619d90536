r"""The distribution of one column in some rows: as weighted values, or exact, without draws.

Given all others, a model's only column has a distribution function F in closed form (a flow's is that of its noise, an
average's the weighted mean of its members'), and the values of the table are cells of it: v is drawn wherever the
density falls into the cell of v, so

.. math:: P(Y \le v) = F(\text{upper end of the cell of } v),\qquad
          q\text{-quantile of } Y = \text{the value whose cell holds } F^{-1}(q).

A column with a probability for each value has these in place of F.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...distributions.base import Density
from ...distributions.mixed import Mixed
from ...errors import InputError
from ..model import TableModel
from ..schema.cells import Cells
from ..schema.columns import Column
from ..schema.schema import Schema

CENTRE = 0.25  # share of the draws whose shortest range holds the mode
BATCH = 2048  # rows that are answered at once
SEARCHED = 64  # nodes of each row among which the likeliest value is searched


def error_of_share(weights: Tensor, held: Tensor, share: Tensor) -> Tensor:
    r"""The standard error of the share of weighted draws ``(K, n)`` for which something holds; weights sum to 1.

    That of the delta method, :math:`\sum w^2 (1_k - v)^2`, is small by chance if those of a few large weights agree; so
    it is at least that of as many independent draws as are effective, :math:`v (1 - v) \sum w^2`.

    Reference:
        Kong (1992), A note on importance sampling using standardized weights, University of Chicago, report 348.
    """
    by_delta, independent = (weights * (held - share)).square().sum(0), share * (1 - share) * weights.square().sum(0)
    return by_delta.maximum(independent).sqrt()


class ColumnDistribution:
    """p(column | what is known) in n rows; all values, asked and answered, are encoded as by the column. An
    ``InputError`` says of a column of names that it has no order and no mean.
    """

    column: Column
    # P(Y <= value of each row) of ``cdf(values)``, or P(Y < it) if ``closed=False``, ``(n,)``
    cdf: Callable[..., Tensor]
    quantile: Callable[..., Tensor]  # the quantiles at some probabilities, ``(n, len(q))``, of ``quantile(q)``
    mean: Callable[[], Tensor]  # the expectation of the column as an amount, ``(n,)``, of ``mean()``
    mode: Callable[[], Tensor]  # the likeliest value, ``(n,)``, of ``mode()``

    @property
    def probabilities(self) -> Tensor:
        """The probability of each of the column's values given that it is not missing, ``(n, classes)``."""
        raise InputError(f"column {self.column.name!r} has a density, not a probability for each of its values")

    def central(self, values: Tensor) -> Tensor:
        """The smallest probability between two quantiles, equally far from the median, that hold each row's value, for
        values ``(n,)``."""
        return torch.maximum(1 - 2 * self.cdf(values), 2 * self.cdf(values, closed=False) - 1).clamp_min(0.0)

    def errors_of_quantiles(self, q: Sequence[float]) -> Tensor:
        """Their standard errors, as amounts, ``(n, len(q))``; none of a closed form."""
        found = self.quantile(q)
        return torch.zeros_like(found).masked_fill(found.isnan(), math.nan)


@dataclass(frozen=True, eq=False)
class WeightedColumn(ColumnDistribution):
    """Weighted values; the mode of numbers is the middle of the shortest range that holds a quarter."""

    column: Column
    values: Tensor  # ``(K, n)``, float64, increasing if they have an order
    weights: Tensor  # their weights, which sum to 1 in each row, ``(K, n)``; NaN in rows that have no answer
    # standard errors of the weights, if the values are those of a column with a probability for each; else 0
    errors: Tensor

    @classmethod
    def of_codes(cls, column: Column, weights: Tensor, errors: Tensor) -> WeightedColumn:
        """A column with a probability for each value, and these with their standard errors, ``(classes, n)`` each."""
        codes = torch.arange(float(len(weights)), dtype=torch.float64)
        amounts = torch.from_numpy(column.kind.amounts(codes.numpy()))
        order = codes.long() if amounts.isnan().any() else amounts.argsort(stable=True)
        return cls(column, codes[order, None].expand(weights.shape), weights[order], errors[order])

    @classmethod
    def of_draws(cls, column: Column, values: Tensor, log_w: Tensor) -> WeightedColumn:
        """A column with some values in draws, NaN where it has none, and their log-weights, ``(K, n)`` each."""
        weights = log_w.masked_fill(torch.from_numpy(column.missing(values.numpy())), -math.inf).softmax(0)
        if not column.classes:
            values, order = values.nan_to_num(0.0).sort(0)
            return cls(column, values, weights.gather(0, order), torch.zeros_like(weights))
        held = [(values == code).double() for code in range(column.kind.classes)]
        shares = torch.stack([(weights * each).sum(0) for each in held])
        errors = [error_of_share(weights, *each) for each in zip(held, shares, strict=True)]
        return cls.of_codes(column, shares, torch.stack(errors))

    @property
    def probabilities(self) -> Tensor:
        if not self.column.classes:
            return super().probabilities
        return self.weights.gather(0, self.values.argsort(0)).t()

    def cdf(self, values: Tensor, *, closed: bool = True) -> Tensor:
        mine, asked = self._amounts(self.values), self._amounts(values)
        return (self.weights * (mine <= asked if closed else mine < asked)).sum(0)

    def quantile(self, q: Sequence[float] | Tensor) -> Tensor:
        """The quantiles at some probabilities, the same in all rows or ``(n, k)``."""
        self._amounts(self.values[:, :1])
        asked = torch.as_tensor(q, dtype=torch.float64).expand(self.values.shape[1], -1).contiguous()
        reached = self.weights.cumsum(0)
        if not self.column.classes:  # a draw stands for what lies half-way to its neighbours
            reached = reached - 0.5 * self.weights
        place = torch.searchsorted(reached.t().contiguous(), asked - 1e-9).clamp_max(len(self.values) - 1)
        return self.values.t().gather(1, place).masked_fill(self.weights[0].isnan()[:, None], math.nan)

    def errors_of_quantiles(self, q: Sequence[float]) -> Tensor:
        asked, place = torch.as_tensor(q, dtype=torch.float64), self.quantile(q)
        errors = []
        for k in range(len(asked)):
            amounts, at = self._amounts(self.values), self._amounts(place[:, k])
            below = (amounts <= at).double()
            if self.column.classes:
                error = (self.errors * below).square().sum(0).sqrt()[:, None]
            else:
                one = (self.weights * (amounts == at)).amax(0)  # a draw of much weight may hold more than the error
                error = (error_of_share(self.weights, below, asked[k]) + one)[:, None]
            ends = self.quantile((asked[k] + torch.cat([-error, error], 1)).clamp(0, 1))
            errors.append(0.5 * (self._amounts(ends[:, 1]) - self._amounts(ends[:, 0])))
        return torch.stack(errors, 1)

    def mean(self) -> Tensor:
        return (self.weights * self._amounts(self.values)).sum(0)

    def mode(self) -> Tensor:
        if self.column.classes:
            found = self.values.gather(0, self.weights.nan_to_num(0.0).argmax(0, keepdim=True))[0]
            return found.masked_fill(self.weights[0].isnan(), math.nan)
        reached = self.weights.cumsum(0).nan_to_num(0.0)
        start = torch.cat([torch.zeros_like(reached[:1]), reached[:-1]]).t().contiguous()
        stop = torch.searchsorted(reached.t().contiguous(), start + CENTRE - 1e-12)
        last, values = len(self.values) - 1, self.values.t()
        wide = values.gather(1, stop.clamp_max(last)) - values
        first = wide.masked_fill(stop > last, math.inf).argmin(1, keepdim=True)
        return self.quantile(start.gather(1, first) + 0.5 * CENTRE)[:, 0]

    def _amounts(self, values: Tensor) -> Tensor:
        """Encoded values as amounts."""
        kind = self.column.kind
        amounts = np.asarray(kind.amounts(values.flatten().numpy()), dtype=float)
        if kind.classes and np.isnan(kind.amounts(np.arange(float(kind.classes)))).all():
            instead = "predict with `kind='mode'` or `kind='proba'`"
            raise InputError(f"the values of column {self.column.name!r} are names, without order and mean; {instead}")
        return torch.from_numpy(amounts).view(values.shape)


@dataclass(frozen=True, eq=False)
class OneColumn(ColumnDistribution):
    """p(column | given) in some rows, of a column with a density."""

    column: Column
    density: Density  # the density of its encoded values
    cells: Cells  # the cells of these values
    # context features of each row, ``(n, features)``; None for a model without, which then has one row
    context: Tensor | None
    strange: Tensor | None = None  # which rows have no answer, ``(n,)``; None for none

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
