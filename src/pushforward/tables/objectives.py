"""What is minimised on tables: rows are spread over their cells, with fresh noise in every batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..distributions.base import Density
from ..distributions.flow import Flow
from ..objectives.continuous import FlowMatching
from ..objectives.divergences import Objective, weighted_mean
from .schema.cells import Cells, Fill
from .schema.schema import Schema


class DequantisedKL(Objective):
    """Maximum likelihood of rows that are spread over their cells, with fresh noise in every batch.

    Args:
        flow: The density that is trained.
        schema: The columns.
        fill: Draws what is missing, as in :class:`~.schema.cells.Cells`.
    """

    calls_flow = True

    def __init__(self, flow: Density, schema: Schema, fill: Fill | None = None) -> None:
        super().__init__(flow)
        self.cells = Cells(schema, fill)
        self.schema = schema

    @property
    def takes_missing(self) -> bool:
        return self.schema.has_holes

    def forward(self, x: Tensor, context: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """The mean negative log-likelihood in nats, a scalar."""
        return weighted_mean(self.held_out(x, context), weights)

    def held_out(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """-log p of every row at one point of its cell, of shape ``(*batch,)``, in nats."""
        spread, weight = self.cells.weighted(x, torch.rand_like(x))
        return -self.flow(spread, context) - weight


class DequantisedMatching(FlowMatching):
    """Flow matching of rows that are spread over their cells, with fresh noise in every batch.

    Args:
        flow: The continuous flow that is trained.
        schema: The columns.
        fill: Draws what is missing, as in :class:`~.schema.cells.Cells`.
    """

    def __init__(self, flow: Flow, schema: Schema, fill: Fill | None = None) -> None:
        super().__init__(flow)
        self.cells = Cells(schema, fill)
        self.schema = schema

    @property
    def takes_missing(self) -> bool:
        return self.schema.has_holes

    def _errors(self, x: Tensor, context: Tensor | None, spread: bool) -> Tensor:
        return super()._errors(self.cells(x, torch.rand_like(x)), context, spread)


OBJECTIVES: dict[str, Callable[[Any, Schema, Fill | None], Objective]] = {
    "likelihood": DequantisedKL,
    "matching": DequantisedMatching,
}
