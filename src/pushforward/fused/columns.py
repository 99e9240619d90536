"""The maps of a table's columns without their tails, where no number lies in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..numerics.torch_internals import watched
from ..transforms.base import Transform
from ..transforms.columns import Columns, stack
from ..transforms.extended import Extended


class NearColumns(NamedTuple):
    """A map for each column. A tail takes a dozen passes over the numbers; asking whether any is there takes one."""

    columns: Columns

    @classmethod
    def make(cls, transform: Transform, like: Tensor) -> NearColumns | None:
        if type(transform) is not Columns or like.device.type != "cpu":  # a GPU would be waited for
            return None
        tailed = any(type(each) is Extended for each in transform.maps)
        return cls(transform) if tailed and not any(map(watched, transform.maps)) else None

    def __call__(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        values, slopes = self._each(x, "ends", lambda one: one)
        return values, slopes.sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        values, slopes = self._each(z, "places", lambda one: one.inverse)
        return values, slopes.sum(-1)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.inverse(z, context)[0]

    def _each(self, x: Tensor, ends: str, way: Callable[[Transform], Any]) -> tuple[Tensor, Tensor]:
        pairs = zip(self.columns.maps, x.unbind(-1), strict=True)
        return stack([way(one.inner if _near(one, column, ends) else one)(column) for one, column in pairs])


def _near(one: Transform, x: Tensor, ends: str) -> bool:
    """Whether all numbers lie between the ends of a map with tails; false for NaN."""
    if type(one) is not Extended or not x.numel():
        return False
    low, high = getattr(one, ends).tolist()
    least, most = torch.aminmax(x.detach())
    return low <= least.item() and most.item() <= high
