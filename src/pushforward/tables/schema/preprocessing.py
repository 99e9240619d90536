"""The first transforms of a table's flow: from the data's own units to standardised numbers, as part of the flow.

As part of the flow they keep log-densities in the data's units, and a saved model scores tables without anything else.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...transforms.base import Transform
from ...transforms.circle import Circle
from ...transforms.columns import Columns
from ...transforms.constrained import Blocks
from ...transforms.elementwise import Identity
from ...transforms.normalization import Precision, Standardize
from .schema import Schema


def preprocessing(schema: Schema, x: Tensor) -> list[Transform]:
    """The transforms that come before the recipe's own, from data to standardised float32 numbers.

    Args:
        schema: The columns, all of them numbers.
        x: Training rows spread over their cells, float64, of shape ``(n, features)``.
    """
    parts: list[Transform] = [relation.transform(schema.columns) for relation in reversed(schema.near)]
    shares = [composition for composition in schema.compositions if composition.ratios]
    parts += [composition.transform(schema.columns) for composition in shares]
    for part in parts:
        x = part(x)[0]
    remainders = {relation.name: relation.remainder for relation in schema.near}
    ratios = {name for composition in shares for name in composition.parts}
    kinds = [remainders.get(column.name, column.kind) for column in schema.columns]
    maps = [
        Identity(event_dim=0) if column.name in ratios else kind.first_map() or Identity(event_dim=0)
        for column, kind in zip(schema.columns, kinds, strict=True)
    ]
    if not all(isinstance(first, Identity) for first in maps):
        parts.append(Columns(maps))
        x = parts[-1](x)[0]
    if schema.circles:
        turns = [column.kind.circle for column in schema.columns]  # density 0 outside of each
        angles = [Identity() if turn is None else Circle(*turn, within=True) for turn in turns]
        parts.append(Blocks(angles, [1] * len(angles)))
        x = parts[-1](x)[0]
    return [*parts, *_standardize(x, schema.circles), Precision()]


def _standardize(x: Tensor, angles: Sequence[int]) -> list[Transform]:
    """Mean 0 and variance 1; if float32 is too coarse for the means (1e12 ± 1, say), a second time on the remainder.
    Angles are unchanged."""
    kept = torch.zeros(x.shape[1], dtype=torch.bool).index_fill(0, torch.tensor(angles, dtype=torch.long), True)
    loc, scale = x.mean(0).masked_fill(kept, 0.0), x.std(0).masked_fill(kept, 1.0)
    parts: list[Transform] = [Standardize(loc.float(), scale.float())]
    for _ in range(2):
        x = parts[-1](x)[0]
        rest = x.mean(0).masked_fill(kept, 0.0)
        if bool((rest.abs() < 0.01).all()):
            break
        parts.append(Standardize(rest.float(), torch.ones_like(rest).float()))
    return parts
