"""Maps that act on each entry alone, however they are composed, with the log-slope of each entry."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Transform
from .compose import Compose
from .elementwise import Columns, Elementwise
from .normalization import Standardize
from .precision import Precision


def acts_entrywise(transform: Transform) -> bool:
    """Whether z_j depends on x_j alone for every entry, and :func:`entrywise` can give its slope."""
    if isinstance(transform, Compose):
        return all(acts_entrywise(part) for part in transform.transforms)
    return isinstance(transform, Columns | Elementwise | Precision | Standardize) and transform.event_dim == 1


def entrywise(transform: Transform, x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x) and log f_j'(x_j) of every entry, both ``(*batch, features)``, of a map that :func:`acts_entrywise`.

    The sum of the log-slopes is the log-determinant; the sum over some entries is that of their marginal density.
    """
    if isinstance(transform, Compose):
        total = torch.zeros_like(x)
        for part in transform.transforms:
            x, slopes = entrywise(part, x)
            total = total + slopes
        return x, total
    if isinstance(transform, Columns):
        pairs = [f(column) for f, column in zip(transform.maps, x.unbind(-1), strict=True)]
        z, slopes = (torch.stack(parts, -1) for parts in zip(*pairs, strict=True))
        return z, slopes
    z = transform(x)[0]
    if isinstance(transform, Elementwise):
        return z, transform.log_slope(x, z)
    return z, (-transform.scale.log()).expand(x.shape) if isinstance(transform, Standardize) else torch.zeros_like(x)
