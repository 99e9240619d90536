"""The first transforms of a table's flow: from the data's own units to standardised numbers, as part of the flow.

With them inside, log-densities are in the data's units and a saved model needs nothing else to score a table.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..transforms.base import Compose, Transform
from ..transforms.elementwise import Asinh, Columns, Identity, InverseSoftplus, Log, Logit
from ..transforms.normalization import Standardize
from ..transforms.precision import Precision
from .columns import Column
from .schema import Schema

_FIRST: dict[str, type[Transform]] = {
    "log": Log,
    "asinh": Asinh,
    "softplus": InverseSoftplus,
    "logit": Logit,
}


def front(schema: Schema, x: Tensor) -> list[Transform]:
    """The transforms that come before the recipe's own, from data to standardised float32 numbers.

    Args:
        schema: The columns, all of them numbers.
        x: Training rows spread over their cells, float64, of shape ``(n, features)``.
    """
    parts: list[Transform] = []
    if any(column.first != "none" for column in schema.columns):
        parts.append(Columns([_first(column) for column in schema.columns]))
        x = parts[0](x)[0]
    parts.append(Standardize(x.mean(0).float(), x.std(0).float()))
    parts.append(Precision())
    return parts


def _first(column: Column) -> Transform:
    if column.first == "none":
        return Identity(event_dim=0)
    f = _FIRST[column.first](event_dim=0)
    if column.loc == 0.0 and column.scale == 1.0:
        return f
    return Compose([Standardize(torch.tensor(column.loc), torch.tensor(column.scale)), f])
