r"""The distribution of one column given what is known of rows: exact shares of values, or weighted draws.

A column with a probability for each value has those of the joint: :math:`p(v \mid s) \propto p(v, s)`. Of any other,
draws of the guide, spread evenly over its conditional, are weighted by the joint; if all other cells are known this is
a quadrature of the joint along the column, and depends on nothing but its nodes.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ..model import TableModel
from .known import Known
from .probability import log_masses
from .query import most_draws, spread_for
from .region import Region, stacked
from .weighted_column import WeightedColumn

FEWEST, MOST = 128, 65_536  # draws for each row, and for all rows together
NODES = 16_384  # along the column, if all other cells are known


def drawn_column(model: TableModel, known: Known, name: str, seed: int) -> WeightedColumn:
    """p(a modelled column | what is known) in all rows.

    Raises:
        InputError: the model has no guide.
    """
    j = next(j for j, column in enumerate(model.schema.columns) if column.name == name)
    found = (_of_values if model.schema.columns[j].classes else _of_numbers)(model, known, j, seed)
    found.weights[:, known.strange] = math.nan
    return found


def _of_values(model: TableModel, known: Known, j: int, seed: int) -> WeightedColumn:
    column, size = model.schema.columns[j], model.schema.classes[j]
    which, parts = torch.arange(len(known)) % len(known.wheres), np.eye(size, dtype=bool)
    found = [
        log_masses(model, known.rows, [[Region({j: part}) & w.region] for w in known.wheres], which, seed)
        for part in parts[: column.kind.classes]
    ]
    weights, errors = torch.stack([one.value for one in found]).softmax(0), torch.stack([one.error for one in found])
    spread = weights * ((1 - 2 * weights) * errors.square() + (weights.square() * errors.square()).sum(0)).sqrt()
    return WeightedColumn.of_codes(column, weights, spread)


def _of_numbers(model: TableModel, known: Known, j: int, seed: int) -> WeightedColumn:
    schema, n = model.schema, len(known)
    flag, anything = schema.missingness.flags.get(j), np.array([[-np.inf], [np.inf]])
    own = Region({**({} if flag is None else {flag: np.array([True, False])}), j: anything})
    regions = [own & known.where(row).region for row in range(n)]
    x = known.rows.x.clone()
    for row, region in enumerate(regions):
        x[row : row + 1] = region.filled(x[row : row + 1], schema)[0]
    most = MOST if bool((x.isnan().sum(1) > 1).any()) else NODES
    filled, log_w = model.guide_for("cannot tell one column from others").weighted(
        x.to(model.device),
        known.rows.to(model.device).context,
        draws=most_draws(n, FEWEST, most, MOST),
        seed=seed,
        spread=spread_for(model),
        region=stacked(regions, schema),
    )
    values = torch.from_numpy(schema.columns[j].kind.snap(filled[..., j].double().cpu().numpy()))
    values, order = values.sort(0)
    weights = log_w.cpu().gather(0, order).softmax(0)
    return WeightedColumn(schema.columns[j], values, weights, torch.zeros_like(weights))
