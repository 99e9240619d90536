"""Each feature by itself: a fixed map for each column of a table, or one scalar map with parameters for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..nets.mlp import MLP
from .base import Transform, in_blocks
from .scalar import Scalar


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


class Univariate(Transform):
    r"""z_j = h(x_j; theta_j(c)): each feature is moved separately, given only the context; the Jacobian is diagonal.

    Args:
        net: Gives the parameters from the context alone: ``MLP(0, features, scalar.num_params)``; free parameters if
            there is no context.
        scalar: The scalar map that moves each feature.

    Raises:
        ValueError: ``net`` reads features, or its number of parameters is not that of ``scalar``.

    Reference:
        Meng, Song, Song, Ermon (2020), Gaussianization Flows, arXiv:2003.01941.
    """

    def __init__(self, net: MLP, scalar: Scalar) -> None:
        super().__init__()
        if net.inputs:
            raise ValueError(f"net must read no features, but it reads {net.inputs}")
        if net.num_params != scalar.num_params:
            raise ValueError(f"net gives {net.num_params} parameters per feature, but scalar takes {scalar.num_params}")
        self.net, self.scalar = net, scalar
        self.event_shape = (len(net.biases[-1]) // net.num_params,)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._moved(self.scalar.forward, x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._moved(self.scalar.inverse, z, context)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        planes, params = self._planes(z, context)
        return self.scalar.solve(planes, params).movedim(0, -1)

    def _moved(
        self, scalar_map: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], x: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        moved, log_slope = scalar_map(*self._planes(x, context))
        return moved.movedim(0, -1), log_slope.sum(0)

    def _planes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """The features, first in memory so that operations run along the batch rather than along a handful of features;
        and their parameters."""
        planes = x.movedim(-1, 0).contiguous()
        if context is not None:
            return planes, self.net(x[..., :0], context).movedim(-1, 1)
        params = self.net(x.new_zeros(0)).view(-1, len(planes), *[1] * (x.dim() - 1))  # the same for all events
        return planes, params if self.scalar.broadcasts else params.expand(-1, *planes.shape)
