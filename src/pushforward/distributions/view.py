"""A density seen as a ``torch.distributions.Distribution``, for code that speaks that language (Pyro, for one)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

if TYPE_CHECKING:
    from .base import Density


class DensityView(Distribution):
    """p(x | context) with the context filled in; ``batch_shape`` is the context's.

    Args:
        density: The density that is viewed; its parameters are shared, not copied.
        context: The context, or None.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, density: Density, context: Tensor | None = None) -> None:
        self.density, self.context = density, context
        self.has_rsample = hasattr(density, "rsample_and_log_prob")
        batch = torch.Size() if context is None else context.shape[:-1]
        super().__init__(batch, density.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        return constraints.independent(constraints.real, len(self.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.density(value, self.context)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.density.sample(sample_shape, self.context)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        if not self.has_rsample:
            raise NotImplementedError(f"{type(self.density).__name__} is discrete or has no reparameterised samples")
        return self.density.rsample_and_log_prob(sample_shape, self.context)[0]

    def expand(self, batch_shape: Any, _instance: Any = None) -> DensityView:
        if self.context is None:
            if torch.Size(batch_shape):
                raise ValueError(f"a density without a context has no batch to expand to {tuple(batch_shape)}")
            return self
        return DensityView(self.density, self.context.expand(*batch_shape, self.context.shape[-1]))
