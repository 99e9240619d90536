"""A density as a ``torch.distributions.Distribution``, for code that expects one, such as Pyro."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

if TYPE_CHECKING:
    from .base import Density


class DensityView(Distribution):
    """p(x | context) for a fixed context; ``batch_shape`` is the context's.

    Args:
        density: The underlying density; its parameters are shared, not copied.
        context: The context, or None.
        generator: Source of the randomness of draws; PyTorch's default if None.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(
        self, density: Density, context: Tensor | None = None, generator: torch.Generator | None = None
    ) -> None:
        self.density, self.context, self.generator = density, context, generator
        self.has_rsample = hasattr(density, "rsample_and_log_prob")
        batch = torch.Size()
        if context is not None:
            with torch.no_grad():
                batch = density.encode(context).shape[:-1]
        super().__init__(batch, density.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        return self.density.support

    def log_prob(self, value: Tensor) -> Tensor:
        return self.density(value, self.context)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.density.sample(sample_shape, self.context, generator=self.generator)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        draw = getattr(self.density, "rsample_and_log_prob", None)
        if draw is None:
            raise NotImplementedError(f"{type(self.density).__name__} is discrete or has no reparameterised samples")
        return draw(sample_shape, self.context, generator=self.generator)[0]

    def expand(self, batch_shape: Any, _instance: Any = None) -> DensityView:
        if self.context is None:
            if torch.Size(batch_shape):
                raise ValueError(f"a density without a context has no batch to expand to {tuple(batch_shape)}")
            return self
        context = self.context.expand(*batch_shape, *self.context.shape[len(self.batch_shape) :])
        return type(self)(self.density, context, self.generator)
