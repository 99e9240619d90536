"""How likely fresh rows are: log-densities of a table's own rows under densities that did not see them.

Percentiles and p-values of fresh rows stand beside these. Training rows under the density itself would be no measure,
since it has learnt them. An average has a score for every row: its members are fitted to all parts of the rows but one,
for each of the parts, and the average without a part judges the rows of that part, through histograms of columns that
do not count them. A single flow has its validation and test rows, of which the first have only told it when to stop.

Reference:
    Vovk (2015), Cross-conformal predictors, arXiv:1208.0806.
    Barber, Candès, Ramdas, Tibshirani (2021), Predictive inference with the jackknife+, arXiv:1905.02928.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..diagnostics.averages import quantiles
from ..distributions.guided import Guided
from ..models.base import PERCENTS
from ..models.train import Rows
from ..numerics.tails import shapes_learnt
from .fit import Learned
from .model import TableModel
from .queries.column_distribution import has_one_column, only_column
from .queries.explain import log_tails
from .queries.query import completed, marginal

MOST, MOST_HOLED = 10_000, 1_000  # rows; of those with unknown cells, whose marginals take draws


def calibrated(model: TableModel, learned: Learned) -> dict[str, Any]:
    """The facts on rows that a model did not see: their log-densities, sorted, and the quantiles of these."""
    rows, pairs = learned.rows, learned.fitted.unseen
    holed = bool(rows.schema.missingness.hidden(rows.rows.x).any()) and model.guided is not None
    share = min(1.0, (MOST_HOLED if holed else MOST) / sum(len(at) for _, at in pairs))
    random, scores, weights, central = np.random.default_rng(model.seed), [], [], []
    for density, at in pairs:
        some = rows.rows[np.sort(random.permutation(at)[: max(round(share * len(at)), 1)])]
        held, fresh = _holding(model, density), replace(some, x=rows.schema.as_new(some.x))
        scores.append(marginal(held, fresh, model.samples, model.seed).value)
        central += [_central(held, some)] if has_one_column(model) else []
        weights.append(torch.ones(len(some)) if some.weights is None else some.weights)
    weighted = rows.rows.weights is not None
    unseen = _sorted("log_density", torch.cat(scores), torch.cat(weights) if weighted else None)
    counts = np.array(unseen["weights"]) if weighted else None
    facts: dict[str, Any] = {
        "quantiles": quantiles(np.array(unseen["log_density"]), PERCENTS / 100, counts).tolist(),
        "unseen": unseen,
    }
    if has_one_column(model):  # an average is wider than its part for a fold: by far, where a number nearly follows
        own, every = central[-1], torch.cat(central)
        facts["unseen"]["central"] = (own if apart(own, every) else every).sort().values.tolist()
    if model.guided is not None:
        some = rows.rows[np.sort(random.permutation(np.concatenate(rows.split[1:]))[:MOST])]
        tails = log_tails(model, replace(some, x=rows.schema.as_new(some.x)))
        shapes = shapes_learnt(tails, some.weights).tolist()
        facts["unseen_by_guide"] = _sorted("log_tails", tails.sum(1), some.weights) | {"shapes": shapes}
    return facts


def _sorted(name: str, score: Tensor, weight: Tensor | None) -> dict[str, Any]:
    """Finite scores in their order, and their weights, 1 on average, or None."""
    order = score.argsort(stable=True)
    counts = None if weight is None else (weight[order] / weight.double().mean()).tolist()
    return {name: score[order].double().clamp_min(-1e30).tolist(), "weights": counts}


def _central(model: TableModel, rows: Rows) -> Tensor:
    """What calibrates the intervals of a model of one column of amounts: see :meth:`ColumnDistribution.central`."""
    column, some = model.schema.columns[0], completed(model, rows[~model.schema.missingness.found(rows.x)[:, 0]])
    if not len(some) or np.isnan(column.kind.amounts(some.x[:, 0].numpy())).any():
        return torch.empty(0, dtype=torch.float64)
    return only_column(model, some.context).central(some.x[:, 0])


def apart(some: Tensor, others: Tensor) -> bool:
    """Whether two samples differ in their distribution, as those of one do by chance in one of a hundred cases.

    Reference:
        Smirnov (1939), On the estimation of the discrepancy between empirical curves of distribution.
    """
    if not len(some):
        return False
    below = [torch.searchsorted(part.sort().values, others, right=True) / len(part) for part in (some, others)]
    return float((below[0] - below[1]).abs().max()) > 1.63 * math.sqrt(1 / len(some) + 1 / len(others))


def _holding(model: TableModel, density: Any) -> TableModel:
    """The model with another density of whole rows, and the same guide."""
    if density is model.density:
        return model
    other = copy.copy(model)
    if model.guided is not None:
        guided = model.guided
        density = Guided(density, guided.guide, guided.tell)
    other._hold(density, model.facts)
    return other
