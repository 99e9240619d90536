"""Autoregressive transforms: the Jacobian is triangular, one direction is parallel and the other sequential."""

from __future__ import annotations

import torch
from torch import Tensor

from ..nets.made import MADE
from .base import Transform
from .scalar import Scalar


class Autoregressive(Transform):
    r"""z_j = h(x_j; theta_j(x_{1:j-1}, c)): f in one pass, g feature by feature.

    Args:
        net: The masked network that gives the parameters.
        scalar: The scalar map that moves each feature.

    Reference:
        Papamakarios, Pavlakou, Murray (2017), arXiv:1705.07057. Lecture: "Gaussian autoregressive NF".
    """

    def __init__(self, net: MADE, scalar: Scalar) -> None:
        super().__init__()
        self.net, self.scalar = net, scalar

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_slope = self.scalar(x, self.net(x, context))
        return z, log_slope.sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = torch.zeros_like(z)
        for j in range(z.shape[-1]):
            value, log_slope = self.scalar.inverse(z, self.net(x, context))
            x = torch.cat([x[..., :j], value[..., j : j + 1], x[..., j + 1 :]], -1)
        return x, log_slope.sum(-1)
