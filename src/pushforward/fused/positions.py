"""Transformer autoregressive transforms, a chunk of events at a time, so that their units stay in the processor's
cache."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..nets.attention import CausalTransformer
from ..transforms.autoregressive import Autoregressive
from ..transforms.base import Transform
from .compiling import in_parts

UNITS = 2**19  # of the widest layer, at a time: 2 MB


class PositionsInParts(NamedTuple):
    """An autoregressive transform over positions; its sequential direction takes the whole batch at every step."""

    transform: Autoregressive
    events: int

    @classmethod
    def make(cls, transform: Transform, like: Tensor) -> PositionsInParts | None:
        """Only on the CPU without gradients; a GPU is best kept full, and gradients need all units in memory anyway."""
        net = transform.net if type(transform) is Autoregressive else None
        if type(net) is not CausalTransformer or like.device.type != "cpu" or torch.is_grad_enabled():
            return None
        events = max(UNITS // (4 * net.width * net.positions), 1)
        return cls(transform, events) if len(like) > events else None  # type: ignore[arg-type]

    def __call__(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.dim() != 2 or len(x) <= self.events:
            return self.transform(x, context)  # type: ignore[no-any-return]
        even = math.ceil(len(x) / math.ceil(len(x) / self.events))
        return in_parts(self.transform, x, context, even)  # type: ignore[no-any-return]

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.transform.inverse(z, context)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.transform.generate(z, context)
