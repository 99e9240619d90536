"""A density whose context is read through features of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .base import Density, Generator


class GivenFeatures(Density):
    r"""A density given features of its context, which are no part of what is trained.

    .. math:: \log p(x \mid c) = \log p_f(x \mid f(c))

    Args:
        density: :math:`p_f`.
        features: f, from contexts ``(*batch, context)`` to the context features of the density.
        context: Features of c.
    """

    def __init__(self, density: Density, features: nn.Module, *, context: int) -> None:
        super().__init__()
        self.density, self.features = density, features
        self.event_shape, self.context_features = density.event_shape, context

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.density.log_prob(x, self._features(context))

    def read(self, context: Tensor | None, told: dict[nn.Module, Tensor]) -> tuple[Density, Tensor | None]:
        if self.features not in told:
            told[self.features] = self._features(context)
        return self.density, told[self.features]

    def cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.density.cdf(x, self._features(context))

    def icdf(self, q: Tensor, context: Tensor | None = None) -> Tensor:
        return self.density.icdf(q, self._features(context))

    def quadrature(self, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.density.quadrature(self._features(context))

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        return self.density._generate(batch, self._features(context), generator, temperature)

    def _features(self, context: Tensor | None) -> Any:
        return self.features(self._check(None, context)[1])
