"""Rows as the recipe's flow sees them: points of their cells, after the table's first transforms."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..distributions.average import Average
from ..distributions.flow import Flow
from ..distributions.mixed import Mixed
from ..distributions.truncated import untruncated
from ..errors import InputError, listed
from ..transforms.compose import Compose, Transform
from ..transforms.normalization import Precision
from .model import TableModel
from .schema.cells import cell_points
from .schema.columns import Column


@torch.no_grad()
def latents(model: TableModel, x: Tensor, *, samples: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    r"""K points of every row's cell, standardised, and the :math:`\log|\det|` of the map that takes them there.

    A density q of the encoded points has, in the table's own units, the cell log-density
    :math:`\log \frac1K \sum_k q(z_k)\, e^{\ell_k}` with points z and log-slopes :math:`\ell`.

    Args:
        model: The fitted table; its columns must all hold numbers, possibly as categories.
        x: Rows in data units, float64, of shape ``(n, features)``.
        samples: K; 1 if no column has cells and none holds few values with a probability each.

    Returns:
        Points ``(K, n, features)`` and log-slopes ``(K, n)``, both float64.
    """
    columns = model.schema.columns
    named = [c.name for c in columns if not np.isfinite(c.kind.amounts(np.arange(c.kind.classes))).all()]
    if named:
        raise InputError(f"encode: is for columns of numbers, without categories as in {listed(named)}")
    few, numbers = [j for j, column in enumerate(columns) if column.classes], model.schema.numbers
    whole = untruncated(model.density)
    while isinstance(whole, Average):  # all of its densities have transforms that suit the columns
        whole = untruncated(whole.members[0])
    flow = whole.numbers if isinstance(whole, Mixed) else whole
    points = cell_points(model.schema, x, samples=samples, seed=seed).to(model.device)
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
