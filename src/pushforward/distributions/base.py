"""The interface of all densities, and the base distribution of flows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from operator import index
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, constraints

from ..errors import positive
from ..nets.encoders import encoded
from ..numerics.quadrature import normal_nodes
from ..numerics.torch_internals import fake_tensors, transformed
from ..saving.config import Configurable
from ..transforms.base import sum_event
from ..transforms.normalization import rounds_itself
from .view import DensityView

Generator = torch.Generator | None  # of random numbers; PyTorch's own if None


class Density(Configurable):
    """A density p(x | context) over events of a fixed shape: exact ``log_prob`` and ``sample``.

    Calling it returns ``log_prob``, because DistributedDataParallel, FSDP and ``torch.compile`` wrap ``forward``.
    Concrete densities implement ``log_prob`` and ``_generate``.

    Args:
        encoder: Maps contexts of any shape to the density's context features, and is trained with it: one of
            ``pf.nets``, or any module; None if contexts are already features.
    """

    event_shape: torch.Size
    context_features: int = 0

    def __init__(self, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def device(self) -> torch.device:
        """Where its parameters are, or if it has none its buffers."""
        return next(chain(self.parameters(), self.buffers()), torch.empty(0)).device

    def forward(self, x: Tensor, context: Tensor | None = None, **kwargs: Any) -> Tensor:
        return self.log_prob(x, context, **kwargs)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(x | context) in nats, of shape ``(*batch,)``.

        Raises:
            ValueError: shapes, dtypes or devices do not fit.
        """
        raise NotImplementedError

    @torch.no_grad()
    def sample(
        self,
        shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """Draws of shape ``(*shape, *context batch, *event)``, without gradients.

        Args:
            shape: Shape of the draws for each context, or their number.
            context: The context, if the density takes one.
            generator: Source of the randomness; PyTorch's default if None.
            temperature: Scales the spread of numbers and divides the logits of categories.

        Raises:
            ValueError: the context does not fit, or the temperature is not positive.
        """
        _, context = self._check(None, context)
        positive(temperature=temperature)
        drawn = self._generate(batch_of_draws(shape, context), context, generator, temperature)
        return drawn.contiguous()  # torch's own transformed distributions view draws

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        """Draws of shape ``(*batch, *event)``: densities implement this, not ``sample``. The context is encoded."""
        raise NotImplementedError

    def exact(self, x: Tensor) -> Tensor:
        """Which rows have a closed-form marginal, given by :meth:`log_marginal`, ``(*batch,)``; none by default."""
        return torch.zeros(x.shape[:-1], dtype=torch.bool, device=x.device)

    def log_marginal(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(the entries that are not NaN | context) in nats of rows that are :meth:`exact`, ``(*batch,)``."""
        raise NotImplementedError(f"{type(self).__name__} has no marginals in closed form")

    def cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """P(X <= x | context), ``(*batch,)``, for events of one number; of flows, averages and mixtures."""
        raise NotImplementedError(f"{type(self).__name__} has no distribution function in closed form")

    def icdf(self, q: Tensor, context: Tensor | None = None) -> Tensor:
        """The quantiles ``(*batch, 1)`` at probabilities ``(*batch,)``, for events of one number; likewise."""
        raise NotImplementedError(f"{type(self).__name__} has no quantiles in closed form")

    def quadrature(self, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Points ``(points, *batch, 1)`` and their weights ``(points, *batch)``, over which functions of events of one
        number are averaged to their expectation given each context ``(*batch, features)``; likewise."""
        raise NotImplementedError(f"{type(self).__name__} has no nodes in closed form")

    def read(self, context: Tensor | None, told: dict[nn.Module, Tensor]) -> tuple[Density, Tensor | None]:
        """The same density given what it computes from a context, unless others have: it is ``told`` by module."""
        return self, context

    def closed_form(self, context: Tensor | None = None) -> Distribution | None:
        """The same density given the context as a distribution of PyTorch; None if it has none."""
        return None

    @property
    def support(self) -> constraints.Constraint:
        """The support of x, as a constraint of ``torch.distributions``: the whole space if nothing bounds it."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def condition(
        self,
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        validate_args: bool = False,
    ) -> DensityView:
        """This density given a context, as a ``torch.distributions.Distribution``: :class:`DensityView`."""
        self._check(None, context)
        return DensityView(self, context, generator, validate_args=validate_args)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Sets data-dependent parameters, if any, from a batch."""

    def encode(self, context: Tensor) -> Tensor:
        """The features ``(*batch, context_features)`` of a context: the encoder's output, or the context itself.

        Raises:
            ValueError: the context, or the encoder's output, has the wrong shape.
        """
        return self._check(None, context)[1]  # type: ignore[return-value]

    def _check(self, x: Tensor | None, context: Tensor | None) -> tuple[Any, Tensor | None]:
        """Checks shapes and dtypes, without inspecting values; returns x and the encoded context, in the density's
        own dtype if they are narrower."""
        if context is None and self.context_features:
            raise ValueError(f"context is missing, but the flow was built with context={self.context_features}")
        if context is not None and not isinstance(context, Tensor) and self.encoder is None:
            raise TypeError(f"context must be a tensor, got {type(context).__name__}: convert it with torch.as_tensor")
        if context is not None and self.encoder is not None:
            context = encoded(self.encoder, context, self.context_features)
        elif context is not None:
            if not self.context_features:
                raise ValueError(f"context has shape {tuple(context.shape)}, but the flow was built with context=0")
            if context.dim() == 0 or context.shape[-1] != self.context_features:
                raise ValueError(
                    f"context has {context.shape[-1] if context.dim() else 0} features, "
                    f"but the flow was built with context={self.context_features}"
                )
            context = self._promoted(context, "context")
        if x is None:
            return x, context
        if not isinstance(x, Tensor):
            raise TypeError(f"x must be a tensor, got {type(x).__name__}: convert it with torch.as_tensor")
        batch, event = x.shape[: x.dim() - len(self.event_shape)], x.shape[x.dim() - len(self.event_shape) :]
        if x.dim() < len(self.event_shape) or event != self.event_shape:
            raise ValueError(f"x has shape {tuple(x.shape)}, but an event of this flow has {tuple(self.event_shape)}")
        if context is not None and context.shape[:-1] != batch:
            try:
                full = torch.broadcast_shapes(batch, context.shape[:-1])
            except RuntimeError:
                raise ValueError(
                    f"x has batch shape {tuple(batch)} and context {tuple(context.shape[:-1])}: they do not broadcast"
                ) from None
            x = x.expand(*full, *event)
        return self._promoted(x, "x"), context

    def _promoted(self, value: Tensor, name: str) -> Tensor:
        """Integers, truth values and floats that are narrower, in the dtype of the density's own numbers; contexts
        that are wider, too, where rows may be.

        Raises:
            ValueError: the value is wider, and no :class:`~pushforward.transforms.normalization.Precision` says where
                to round it.
        """
        own = self._dtype() or value.dtype
        if value.dtype == own or torch.promote_types(value.dtype, own) == own:
            return value.to(own)
        if not rounds_itself(self):
            raise ValueError(
                f"{name} has dtype={value.dtype}, but the flow's parameters have {own}: "
                "convert one of them with .to(...)"
            )
        return value if name == "x" else value.to(own)

    def _dtype(self) -> torch.dtype | None:
        """That of the first parameter, or else buffer; not of the encoder's, which reads what it likes."""
        number: Tensor  # in loops: the compiler of PyTorch 2.6 cannot trace ``next`` of a generator
        for number in self.parameters(recurse=False):
            if number.is_floating_point():
                return number.dtype
        for numbers in (nn.Module.parameters, nn.Module.buffers):
            for part in self.children():
                if part is not self.encoder:
                    for number in numbers(part):
                        if number.is_floating_point():
                            return number.dtype
        for number in self.buffers(recurse=False):
            if number.is_floating_point():
                return number.dtype
        return None


def alike(*parts: Tensor | None) -> bool:
    """Whether several draws of rows, the first dimension, have the same entries so far, NaN among them; not told
    where nobody can look at them."""
    if torch.compiler.is_compiling() or transformed() or fake_tensors():
        return False
    firsts = ((x.nan_to_num(torch.inf), x[:1].nan_to_num(torch.inf)) for x in parts if x is not None)
    return all(x.dim() > 2 and torch.equal(x, first.expand_as(x)) for x, first in firsts)


def batch_of_draws(shape: int | Sequence[int], context: Tensor | None) -> torch.Size:
    """``(*shape, *context batch)``, the batch shape of the draws of ``sample``, for an encoded context; n is (n,)."""
    shape = shape if isinstance(shape, Sequence) else (index(shape),)
    return torch.Size(shape) if context is None else torch.Size(shape) + context.shape[:-1]


def base_log_prob(base: Any, z: Tensor, context: Tensor | None) -> Tensor:
    """The base's log-density, given the context if the base is a density that takes one."""
    given = isinstance(base, Density) and base.context_features
    return base.log_prob(z, context) if given else base.log_prob(z)


def base_draw(base: Any, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
    """Draws of shape ``(*batch, *event)`` of a base; differentiable in its parameters if it supports this."""
    if isinstance(base, Density):
        return base._generate(batch, context if base.context_features else None, generator, temperature)
    return base.sample(batch, generator, temperature)


class StandardNormal(Density):
    r"""N(0, I) over events of the given shape, the usual base of a flow.

    .. math:: \log p(z) = -\tfrac12 \lVert z \rVert^2 - \tfrac{m}{2} \log 2\pi

    Args:
        event_shape: Shape of one event.
    """

    loc: Tensor

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__()
        self.event_shape = torch.Size(event_shape)
        self.constant = -0.5 * math.log(2 * math.pi) * math.prod(self.event_shape)
        self.register_buffer("loc", torch.zeros(()), persistent=False)  # carries the dtype and the device of draws

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if x.shape[x.dim() - len(self.event_shape) :] != self.event_shape:
            raise ValueError(
                f"events of this density have shape {tuple(self.event_shape)}, got a batch {tuple(x.shape)}"
            )
        return torch.rsub(sum_event(x.square(), len(self.event_shape)), self.constant, alpha=0.5)  # constant - sum / 2

    def closed_form(self, context: Tensor | None = None) -> Distribution:
        loc = self.loc.expand(self.event_shape)
        return Independent(Normal(loc, torch.ones_like(loc)), loc.dim())

    def cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return torch.special.ndtr(x[..., 0])

    def icdf(self, q: Tensor, context: Tensor | None = None) -> Tensor:
        return torch.special.ndtri(q)[..., None]

    def quadrature(self, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        batch = () if context is None else context.shape[:-1]
        z, weight = normal_nodes(self.loc)
        shape = (len(z), *[1] * len(batch))
        return z.view(*shape, 1).expand(-1, *batch, -1), weight.view(shape).expand(-1, *batch)

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        size, loc = (*batch, *self.event_shape), self.loc
        return torch.randn(size, generator=generator, dtype=loc.dtype, device=loc.device) * temperature
