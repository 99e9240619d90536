"""A density as a ``torch.distributions.Distribution``, for code that expects one, such as Pyro."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, kl_divergence, register_kl

if TYPE_CHECKING:
    from .base import Density


class DensityView(Distribution):
    """p(x | context) for a fixed context; ``batch_shape`` is the context's, or that of :meth:`expand`.

    Mean, variance, entropy and Kullback-Leibler divergences are those of the same distribution of PyTorch, where there
    is one: of most bases and of mixtures. Of other densities they have no closed form, and raise NotImplementedError.

    Args:
        density: The underlying density; its parameters are shared, not copied.
        context: The context, or None.
        generator: Source of the randomness of draws; PyTorch's default if None.
        batch_shape: The batch shape of a density without a context.
        validate_args: Whether ``log_prob`` refuses values outside of the support, as PyTorch's distributions do.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        density: Density,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
        batch_shape: Sequence[int] = (),
        validate_args: bool = False,
    ) -> None:
        self.density, self.context, self.generator = density, context, generator
        self.has_rsample = hasattr(density, "rsample_and_log_prob")
        batch = torch.Size(batch_shape)
        if context is not None:
            with torch.no_grad():
                batch = density.encode(context).shape[:-1]
        super().__init__(batch, density.event_shape, validate_args=False)
        self._validate_args = validate_args  # of values: there are no arguments to be checked

    @property
    def support(self) -> Any:
        return self.density.support

    @property
    def mean(self) -> Tensor:
        return self._known("mean", lambda known: known.mean)  # type: ignore[no-any-return]

    @property
    def variance(self) -> Tensor:
        return self._known("variance", lambda known: known.variance)  # type: ignore[no-any-return]

    def entropy(self) -> Tensor:
        return self._known("entropy", lambda known: known.entropy())  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        if self.context is None and self.batch_shape:
            value = value.expand(torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape))
        if self._validate_args:
            self._validate_sample(value)
        found = self.density(value, self.context)
        if self._validate_args and bool(found.isnan().any()):  # PyTorch's intervals hold their ends, where maps do not
            raise ValueError("value must lie within the support, but the density at some is not a number")
        return found

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.density.sample(self._shape(sample_shape), self.context, generator=self.generator)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        draw = getattr(self.density, "rsample_and_log_prob", None)
        if draw is None:
            raise NotImplementedError(f"{type(self.density).__name__} is discrete or has no reparameterised samples")
        return draw(self._shape(sample_shape), self.context, generator=self.generator)[0]

    def expand(self, batch_shape: Any, _instance: Any = None) -> DensityView:
        batch_shape, context = torch.Size(batch_shape), self.context
        if context is not None:
            context = context.expand(*batch_shape, *context.shape[len(self.batch_shape) :])
        return type(self)(self.density, context, self.generator, batch_shape, self._validate_args)

    def _shape(self, sample_shape: Any) -> torch.Size:
        """The shape of draws to ask for; a context adds its batch itself."""
        return torch.Size(sample_shape) + (self.batch_shape if self.context is None else torch.Size())

    def _known(self, what: str = "divergence", figure: Callable[[Distribution], Any] = lambda known: known) -> Any:
        """The same distribution as one of PyTorch's, or a figure of it."""
        found = self.density.closed_form(self.context)
        if found is not None:
            with suppress(NotImplementedError):
                return figure(found if self.context is not None else found.expand(self.batch_shape))
        name = type(self.density).__name__
        raise NotImplementedError(f"{name} has no {what} in closed form: estimate it from draws and log_prob")


@register_kl(DensityView, DensityView)
@register_kl(DensityView, Distribution)
@register_kl(Distribution, DensityView)
def _kl(p: Distribution, q: Distribution) -> Tensor:
    p, q = (each._known() if isinstance(each, DensityView) else each for each in (p, q))
    if isinstance(p, MultivariateNormal) or isinstance(q, MultivariateNormal):
        p, q = _full(p), _full(q)
    return kl_divergence(p, q)


def _full(normal: Distribution) -> Distribution:
    """Independent normals as one with a full covariance: PyTorch has no divergence between the two."""
    if isinstance(normal, Independent) and type(normal.base_dist) is Normal and len(normal.event_shape) == 1:
        return MultivariateNormal(normal.mean, scale_tril=normal.stddev.diag_embed())
    return normal
