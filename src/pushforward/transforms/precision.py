"""Where float64 data meet float32 networks: large offsets survive standardising, and the networks stay fast."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Transform


class Precision(Transform):
    r"""z = x, rounded to the precision of the layers behind it; :math:`\log|\det| = 0`. Samples come out in float64.

    Put it behind a :class:`Standardize`. A timestamp of 1.7e9 seconds has a resolution of two minutes in float32, but
    not once a mean is taken off in float64; float64 minus float32 constants is float64, so the constants may be either.
    """

    like: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("like", torch.zeros(()), persistent=False)  # says the precision of the layers behind

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.to(self.like.dtype), x.new_zeros(x.shape[:-1])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = z if z.device.type == "mps" else z.double()  # Apple's GPUs have no float64
        return x, x.new_zeros(x.shape[:-1])


def rounds_itself(model: nn.Module) -> bool:
    """Whether a model takes x in any precision, because a :class:`Precision` inside it rounds."""
    return any(isinstance(module, Precision) for module in model.modules())
