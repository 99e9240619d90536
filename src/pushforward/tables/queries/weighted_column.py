"""The distribution of one column in some rows, and its form as weighted values: those that it can have, or draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ..schema.columns import Column

CENTRE = 0.25  # share of the draws whose shortest range holds the mode


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

    Attributes:
        column: The column.
        cdf: P(Y <= value of each row) of ``cdf(values)``, or P(Y < it) if ``closed=False``, ``(n,)``.
        quantile: The quantiles at some probabilities, ``(n, len(q))``, of ``quantile(q)``.
        mean: The expectation of the column as an amount, ``(n,)``, of ``mean()``.
        mode: The likeliest value, ``(n,)``, of ``mode()``.
    """

    column: Column
    cdf: Callable[..., Tensor]
    quantile: Callable[..., Tensor]
    mean: Callable[[], Tensor]
    mode: Callable[[], Tensor]

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
    """Weighted values; the mode of numbers is the middle of the shortest range that holds a quarter.

    Args:
        column: The column.
        values: ``(K, n)``, float64, increasing if they have an order.
        weights: Their weights, which sum to 1 in each row, ``(K, n)``; NaN in rows that have no answer.
        errors: Standard errors of the weights, if the values are those of a column with a probability for each; else 0.
    """

    column: Column
    values: Tensor
    weights: Tensor
    errors: Tensor

    @classmethod
    def of_codes(cls, column: Column, weights: Tensor, errors: Tensor) -> WeightedColumn:
        """A column with a probability for each value, and these with their standard errors, ``(classes, n)`` each."""
        codes = torch.arange(float(len(weights)), dtype=torch.float64)
        amounts = torch.from_numpy(column.kind.amounts(codes.numpy()))
        order = codes.long() if amounts.isnan().any() else amounts.argsort(stable=True)
        return cls(column, codes[order, None].expand(weights.shape), weights[order], errors[order])

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
