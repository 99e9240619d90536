"""Rows as the recipe's flow sees them: points of their cells, behind the table's first transforms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..distributions.flow import Flow
from ..transforms.base import Compose, Transform
from ..transforms.precision import Precision
from .errors import InputError, listed
from .schema.cells import cell_points

if TYPE_CHECKING:
    from .density import TableDensity


@torch.no_grad()
def encode(model: TableDensity, x: Tensor, *, samples: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    r"""K points of every row's cell, standardised, and :math:`\log|\det|` of what brought them there.

    A density q of the encoded points has, in the table's own units, the cell log-density
    :math:`\log \frac1K \sum_k q(z_k)\, e^{\ell_k}` with points z and log-slopes :math:`\ell`.

    Args:
        model: The fitted table; its columns must all hold numbers.
        x: Rows in data units, float64, of shape ``(n, features)``.
        samples: K; 1 where no column has cells.
        seed: Of the points.

    Returns:
        Points ``(K, n, features)`` and log-slopes ``(K, n)``, both float64.

    Raises:
        InputError: a column holds categories.
    """
    named = [column.name for column in model.schema.columns if column.categories]
    if named:
        raise InputError(f"encode: is for columns of numbers, and {listed(named)} hold categories")
    points = cell_points(model.schema, x, samples=samples, seed=seed).to(model.device)
    z, slopes = first_transforms(model.density)(points)
    return z.double().cpu(), slopes.double().cpu()


def first_transforms(density: object) -> Transform:
    """The transforms from a table's own units to standardised numbers: those up to the flow's :class:`Precision`.

    Raises:
        TypeError: the density is no flow of a table.
    """
    parts = (
        list(density.transform.transforms)
        if isinstance(density, Flow) and isinstance(density.transform, Compose)
        else []
    )
    ends = [place for place, part in enumerate(parts) if isinstance(part, Precision)]
    if not ends:
        raise TypeError(f"density must be a flow of a table, got {type(density).__name__}")
    return Compose(parts[: ends[0] + 1])
