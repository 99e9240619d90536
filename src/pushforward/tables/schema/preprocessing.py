"""The first transforms of a table's flow, from the data's own units to standardised numbers, and rows behind them.

As part of the flow they keep log-densities in the data's units, and a saved model scores tables without anything else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...distributions.average import Average
from ...distributions.base import Density
from ...distributions.flow import Flow
from ...distributions.mixed import Mixed
from ...distributions.truncated import untruncated
from ...errors import InputError, listed
from ...transforms.base import Transform
from ...transforms.circle import Circle
from ...transforms.columns import Columns
from ...transforms.compose import Compose
from ...transforms.constrained import Blocks
from ...transforms.elementwise import Identity
from ...transforms.normalization import Precision, Standardize
from .cells import cell_points
from .columns import Column
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


@torch.no_grad()
def latents(density: Density, schema: Schema, x: Tensor, *, samples: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    r"""K points of every row's cell, standardised, and the :math:`\log|\det|` of the map that takes them there.

    A density q of the encoded points has, in the table's own units, the cell log-density
    :math:`\log \frac1K \sum_k q(z_k)\, e^{\ell_k}` with points z and log-slopes :math:`\ell`.

    Args:
        density: A table's.
        schema: Its columns, which must all hold numbers, possibly as categories.
        x: Rows in data units, float64, of shape ``(n, features)``.
        samples: K; 1 if no column has cells and none holds few values with a probability each.

    Returns:
        Points ``(K, n, features)`` and log-slopes ``(K, n)``, both float64.
    """
    columns, numbers = schema.columns, schema.numbers
    named = [c.name for c in columns if not np.isfinite(c.kind.amounts(np.arange(c.kind.classes))).all()]
    if named:
        raise InputError(f"encode: is for columns of numbers, without categories as in {listed(named)}")
    few, whole = [j for j, column in enumerate(columns) if column.classes], untruncated(density)
    while isinstance(whole, Average):  # all of its densities have transforms that suit the columns
        whole = untruncated(whole.members[0])
    flow = whole.numbers if isinstance(whole, Mixed) else whole
    points = cell_points(schema, x, samples=samples, seed=seed).to(density.device)
    points = points.expand(samples if few else -1, -1, -1)
    total, found = torch.zeros(points.shape[:2], dtype=torch.float64), {}
    if numbers:
        z, slopes = (part.double().cpu() for part in first_transforms(flow)(points[..., numbers]))
        total, found = total + slopes, dict(zip(numbers, z.unbind(-1), strict=True))
    for j in few:
        found[j], slopes = _spread_values(columns[j], x[:, j], len(points), seed + j)
        total = total + slopes
    return torch.stack([found[j] for j in range(len(columns))], -1), total


def _spread_values(column: Column, code: Tensor, points: int, seed: int) -> tuple[Tensor, Tensor]:
    """Few numbers as points of cells that end midway between them, standardised, ``(points, n)``; and the log-slopes
    ``(n,)`` that turn a density there into that of the cell's probability, which is what such a column has."""
    if bool((code >= column.kind.classes).any()):
        raise InputError(f"encode: column {column.name!r} has missing cells")
    values = torch.from_numpy(column.kind.amounts(np.arange(column.kind.classes)))
    inner, order = values.sort().values, values.argsort().argsort()
    middles = (inner[1:] + inner[:-1]) / 2
    edges = torch.cat([2 * inner[:1] - middles[:1], middles, 2 * inner[-1:] - middles[-1:]])
    place, generator = order[code.long().cpu()], torch.Generator().manual_seed(seed)
    strata = torch.rand(points, len(place), generator=generator).argsort(0)
    u = (strata + torch.rand(strata.shape, generator=generator, dtype=torch.float64)) / points
    width, scale = edges[place + 1] - edges[place], values.std()
    return (edges[place] + width * u - values.mean()) / scale, (width / scale).log()


def first_transforms(density: object) -> Transform:
    """The transforms from a table's own units to standardised numbers: those up to the flow's :class:`Precision`."""
    parts = density.transform.flattened() if isinstance(density, Flow) else []
    ends = [place for place, part in enumerate(parts) if isinstance(part, Precision)]
    if not ends:
        raise TypeError(f"density must be a flow of a table, got {type(density).__name__}")
    return Compose(parts[: ends[0] + 1])
