"""Linear flows without a matrix, O(m) in both directions: a permutation of the features, and a diagonal map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import at_least_one
from .base import Transform


class Permutation(Transform):
    r"""z_j = x_{order[j]}. :math:`\log|\det| = 0`; O(m) in both directions.

    Args:
        order: A permutation of 0 … m-1.

    Raises:
        ValueError: ``order`` is not a permutation.

    Reference:
        Lecture: "Jacobian structure", case 1.
    """

    order: Tensor
    back: Tensor

    def __init__(self, order: Sequence[int] | Tensor) -> None:
        super().__init__()
        order = torch.as_tensor(order, dtype=torch.long)
        if order.dim() != 1 or not torch.equal(order.sort().values, torch.arange(len(order))) or len(order) == 0:
            last = max(order.numel() - 1, 0)
            raise ValueError(f"order must be a permutation of 0 to {last}, one after the other, got {order.tolist()}")
        self.event_shape = (len(order),)
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.index_select(-1, self.order), x.new_zeros(x.shape[:-1])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z.index_select(-1, self.back), z.new_zeros(z.shape[:-1])


class Diagonal(Transform):
    r"""z = exp(log_scale) · x + shift. :math:`\log|\det| = \sum_j \mathrm{log\_scale}_j`; O(m) in both directions.

    Args:
        features: m, the features of an event.

    Reference:
        Lecture: "Linear normalizing flows", diagonal matrix.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        at_least_one(features=features)
        self.event_shape = (features,)
        self.log_scale = nn.Parameter(torch.zeros(features))
        self.shift = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x * self.log_scale.exp() + self.shift, self.log_scale.sum().expand(x.shape[:-1])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (z - self.shift) * (-self.log_scale).exp(), (-self.log_scale.sum()).expand(z.shape[:-1])
