"""A separate map for each column of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .base import Transform
from .domain import in_blocks


class Columns(Transform):
    """A separate elementwise map for each column, for tables with mixed columns.

    Args:
        maps: One transform of ``event_dim`` 0 per feature, from data to noise.

    Raises:
        ValueError: the list is empty or a map's ``event_dim`` is not 0.
    """

    def __init__(self, maps: Sequence[Transform]) -> None:
        super().__init__()
        if not maps or any(m.event_dim != 0 for m in maps):
            raise ValueError("maps must hold one transform with event_dim=0 for every column, and at least one")
        self.maps: Any = nn.ModuleList(maps)  # Any: a ModuleList's items are untyped

    @property
    def domain(self) -> Any:
        return in_blocks([m.domain for m in self.maps], [1] * len(self.maps))

    def entries(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return stack([m(column) for m, column in zip(self.maps, x.unbind(-1), strict=True)])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, slopes = stack([m.inverse(column) for m, column in zip(self.maps, z.unbind(-1), strict=True)])
        return x, slopes.sum(-1)


def stack(results: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Columns and their slopes side by side."""
    values, slopes = zip(*results, strict=True)
    return torch.stack(values, -1), torch.stack(slopes, -1)
