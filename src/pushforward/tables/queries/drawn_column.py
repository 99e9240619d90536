r"""The distribution of one column given what is known of rows: exact shares of values, or weighted draws.

A column with a probability for each value has those of the joint: :math:`p(v \mid s) \propto p(v, s)`. Of any other,
draws of the guide, spread evenly over its conditional, are weighted by the joint; if all other cells are known this is
a quadrature of the joint along the column, and depends on nothing but its nodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ..model import TableModel
from ..schema.columns import Column
from .known import Known
from .probability import log_masses
from .query import most_draws, spread_for
from .region import Region, stacked

FEWEST, MOST, POINTS = 128, 16_384, 32_000  # draws for each row, and for all rows together
CENTRE = 0.25  # share of the draws whose shortest range holds the mode


@dataclass(frozen=True, eq=False)
class DrawnColumn:
    """p(column | what is known) in n rows, as weighted values; all of them are encoded as by the column.

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
    def of(cls, model: TableModel, known: Known, name: str, seed: int) -> DrawnColumn:
        """The distribution of a modelled column.

        Raises:
            InputError: the model has no guide.
        """
        j = next(j for j, column in enumerate(model.schema.columns) if column.name == name)
        column = model.schema.columns[j]
        make = cls._of_values if column.classes else cls._of_numbers
        values, weights, errors = make(model, known, j, seed)
        weights = weights.masked_fill(known.strange, math.nan)
        return cls(column, values, weights, errors)

    @staticmethod
    def _of_values(model: TableModel, known: Known, j: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        classes, size = model.schema.columns[j].kind.classes, model.schema.classes[j]
        regions = [
            [Region({j: np.arange(size) == code}) & known.where(row).region for row in range(len(known.wheres))]
            for code in range(classes)
        ]
        found = [log_masses(model, known.rows, some, seed) for some in regions]
        logs, errors = torch.stack([one.value for one in found]), torch.stack([one.error for one in found])
        weights = logs.softmax(0)
        spread = weights * ((1 - 2 * weights) * errors.square() + (weights.square() * errors.square()).sum(0)).sqrt()
        codes = torch.arange(float(classes), dtype=torch.float64)
        amounts = torch.from_numpy(model.schema.columns[j].kind.amounts(codes.numpy()))
        order = amounts.argsort(stable=True) if not amounts.isnan().any() else slice(None)
        return codes[order, None].expand(weights.shape), weights[order], spread[order]

    @staticmethod
    def _of_numbers(model: TableModel, known: Known, j: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        schema, n = model.schema, len(known)
        flag, anything = schema.missingness.flags.get(j), np.array([[-np.inf], [np.inf]])
        own = Region({**({} if flag is None else {flag: np.array([True, False])}), j: anything})
        regions = [own & known.where(row).region for row in range(n)]
        x = known.rows.x.clone()
        for row, region in enumerate(regions):
            x[row : row + 1] = region.filled(x[row : row + 1], schema)[0]
        filled, log_w = model.guide_for("cannot tell one column from others").weighted(
            x.to(model.device),
            known.rows.to(model.device).context,
            draws=most_draws(n, FEWEST, MOST, POINTS),
            seed=seed,
            spread=spread_for(model),
            region=stacked(regions, schema),
        )
        values = torch.from_numpy(schema.columns[j].kind.snap(filled[..., j].double().cpu().numpy()))
        values, order = values.sort(0)
        weights = log_w.cpu().gather(0, order).softmax(0)
        return values, weights, torch.zeros_like(weights)

    @property
    def probabilities(self) -> Tensor:
        """The probability of each of the column's values given that it is not missing, ``(n, classes)``.

        Raises:
            InputError: the column has a density.
        """
        if not self.column.classes:
            raise InputError(f"column {self.column.name!r} has a density, not a probability for each of its values")
        return self.weights.gather(0, self.values.argsort(0)).t()

    def cdf(self, values: Tensor, *, closed: bool = True) -> Tensor:
        """P(Y <= value of each row), or P(Y < it) if not closed, ``(n,)``; values as encoded."""
        mine, asked = self._amounts(self.values), self._amounts(values)
        return (self.weights * (mine <= asked if closed else mine < asked)).sum(0)

    def central(self, values: Tensor) -> Tensor:
        """The smallest probability between two quantiles, equally far from the median, that hold each row's value, for
        values ``(n,)``."""
        return torch.maximum(1 - 2 * self.cdf(values), 2 * self.cdf(values, closed=False) - 1).clamp_min(0.0)

    def quantile(self, q: Sequence[float] | Tensor) -> Tensor:
        """The quantiles at some probabilities, the same in all rows or ``(n, k)``, encoded, ``(n, k)``.

        Raises:
            InputError: the column's values have no order.
        """
        self._amounts(self.values[:, :1])
        asked = torch.as_tensor(q, dtype=torch.float64).expand(self.values.shape[1], -1).contiguous()
        reached = self.weights.cumsum(0)
        if not self.column.classes:  # a draw stands for what lies half-way to its neighbours
            reached = reached - 0.5 * self.weights
        place = torch.searchsorted(reached.t().contiguous(), asked - 1e-9).clamp_max(len(self.values) - 1)
        return self.values.t().gather(1, place).masked_fill(self.weights[0].isnan()[:, None], math.nan)

    def errors_of_quantiles(self, q: Sequence[float]) -> Tensor:
        """Their standard errors, as amounts, ``(n, k)``: from those of the distribution function there."""
        asked, place = torch.as_tensor(q, dtype=torch.float64), self.quantile(q)
        errors = []
        for k in range(len(asked)):
            below = (self._amounts(self.values) <= self._amounts(place[:, k])).double()
            spread = (self.weights * (below - asked[k])).square().sum(0)
            error = (spread + (self.errors * below).square().sum(0)).sqrt()[:, None]
            ends = self.quantile((asked[k] + torch.cat([-error, error], 1)).clamp(0, 1))
            errors.append(0.5 * (self._amounts(ends[:, 1]) - self._amounts(ends[:, 0])))
        return torch.stack(errors, 1)

    def mean(self) -> Tensor:
        """The expectation of the column as an amount, ``(n,)``.

        Raises:
            InputError: the column's values are no amounts.
        """
        return (self.weights * self._amounts(self.values)).sum(0)

    def mode(self) -> Tensor:
        """The likeliest value, ``(n,)``, encoded; of numbers, the middle of the shortest range that holds a quarter."""
        if self.column.classes:
            return self.values.gather(0, self.weights.nan_to_num(0.0).argmax(0, keepdim=True))[0]
        reached = self.weights.cumsum(0).nan_to_num(0.0)
        start = torch.cat([torch.zeros_like(reached[:1]), reached[:-1]]).t().contiguous()
        stop = torch.searchsorted(reached.t().contiguous(), start + CENTRE - 1e-12)
        last, values = len(self.values) - 1, self.values.t()
        wide = values.gather(1, stop.clamp_max(last)) - values
        first = wide.masked_fill(stop > last, math.inf).argmin(1, keepdim=True)
        middle = start.gather(1, first) + 0.5 * CENTRE
        return self.quantile(middle)[:, 0]

    def _amounts(self, values: Tensor) -> Tensor:
        """Encoded values as amounts.

        Raises:
            InputError: they are names.
        """
        amounts = (
            self.column.kind.amounts(values.flatten().numpy()) if self.column.classes else values.flatten().numpy()
        )
        if self.column.classes and np.isnan(amounts).all():
            raise InputError(f"the values of column {self.column.name!r} are names, which have no order and no mean")
        return torch.from_numpy(np.asarray(amounts, dtype=float)).view(values.shape)
