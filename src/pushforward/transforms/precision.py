"""The boundary between float64 data and float32 networks: large offsets keep their digits, and networks stay fast."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Transform


class Precision(Transform):
    r"""z = x, rounded to the precision of the subsequent layers; :math:`\log|\det| = 0`. Samples come out in float64.

    Put it after a :class:`Standardize`. A timestamp of 1.7e9 seconds has a resolution of two minutes in float32, but
    not once a mean has been subtracted in float64; float64 minus float32 gives float64, so the constants may be either.
    """

    like: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("like", torch.zeros(()), persistent=False)  # has the precision of the subsequent layers

    def entries(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.to(self.like.dtype), torch.zeros_like(x)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.to(self.like.dtype), x.new_zeros(x.shape[:-1])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = z if z.device.type == "mps" else z.double()  # Apple's GPUs have no float64
        return x, x.new_zeros(x.shape[:-1])


def rounds_itself(model: nn.Module) -> bool:
    """Whether a model accepts x in any precision, because it contains a :class:`Precision`."""
    return any(isinstance(module, Precision) for module in model.modules())
