"""The composition of several scalar maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from .scalar import Scalar


class ScalarChain(Scalar):
    """h = h_K ∘ … ∘ h_1, each with its own parameters, all from one network.

    Args:
        scalars: The maps, in the order from x to z.

    Raises:
        ValueError: ``scalars`` is empty, or one of them has several inputs per feature, as circular maps do.
    """

    def __init__(self, scalars: Sequence[Scalar]) -> None:
        super().__init__()
        if not scalars:
            raise ValueError("scalars is empty: a chain needs at least one")
        if any(scalar.inputs != 1 for scalar in scalars):
            raise ValueError("scalars must be maps of the line: circular ones are used alone")
        self.scalars: Any = nn.ModuleList(scalars)  # Any: a ModuleList's items are untyped
        self.sizes = [scalar.num_params for scalar in scalars]
        self.num_params = sum(self.sizes)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        total = None
        for scalar, own in zip(self.scalars, params.split(self.sizes), strict=True):
            x, log_slope = scalar(x, own)
            total = log_slope if total is None else total + log_slope
        return x, total  # type: ignore[return-value]  # there is at least one

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        total = None
        for scalar, own in zip(reversed(self.scalars), reversed(params.split(self.sizes)), strict=True):
            z, log_slope = scalar.inverse(z, own)
            total = log_slope if total is None else total + log_slope
        return z, total  # type: ignore[return-value]
