"""A flow: a transform from data to noise and the density that it induces."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from ..transforms.base import Transform, on_events
from ..transforms.compose import Compose, plan
from ..transforms.seam import compile_blocks
from .base import Density, Generator, base_draw, base_log_prob, batch_of_draws
from .guidance import denoised, with_guidance
from .torch_base import as_density


class Flow(Density):
    r"""The density of x if f(x) follows the base.

    .. math:: \log p(x) = \log p(f(x)) + \log|\det J_f(x)|

    Args:
        transform: f, from data to noise.
        base: The distribution of z: an event shape (a standard normal), any density (given the same context, if it
            takes one), a distribution of PyTorch (``Independent`` or not), or a module with ``log_prob``, ``sample``
            and ``event_shape``.
        event_shape: Shape of one x; by default the base's.
        context: Features of the context, 0 for none.
        encoder: As for :class:`~pushforward.distributions.Density`: maps contexts of any shape to ``context`` features.

    Reference:
        Lecture: "Log likelihood", "Change of variable theorem (CoV)".
    """

    def __init__(
        self,
        transform: Transform,
        base: nn.Module | Distribution | Sequence[int] | int,
        *,
        event_shape: Sequence[int] | None = None,
        context: int = 0,
        encoder: nn.Module | None = None,
    ) -> None:
        super().__init__(encoder)
        self.transform = transform
        self.base: Any = as_density(base, transform.out_event_dim)  # anything with log_prob, sample and event_shape
        shape: Any = self.base.event_shape if event_shape is None else event_shape
        self.event_shape = torch.Size(shape)
        self.context_features = context
        if len(self.event_shape) != transform.event_dim:
            raise ValueError(
                f"event_shape is {tuple(self.event_shape)}, but the transform takes events of "
                f"{transform.event_dim} dimensions"
            )
        known = transform.event_shape
        if known is not None and torch.Size(known) != self.event_shape:
            raise ValueError(f"event_shape is {tuple(self.event_shape)}, but the transform takes {tuple(known)}")

    def arguments(self) -> dict[str, Any]:
        own: dict[str, Any] = {"event_shape": list(self.event_shape), "context": self.context_features}
        if self.encoder is not None:
            own["encoder"] = self.encoder
        return {"transform": self.transform, "base": self.base, **own}

    def behind(self, *transforms: Transform, event_shape: Sequence[int] | None = None) -> Flow:
        """The same flow, with shared parameters, for data that go through other transforms first.

        Args:
            transforms: From the new data to those of this flow, in order.
            event_shape: Event shape of the new data; by default this flow's.
        """
        shape = self.event_shape if event_shape is None else event_shape
        parts, context = Compose([*transforms, *self.transform.flattened()]), self.context_features
        return Flow(parts, self.base, event_shape=shape, context=context, encoder=self.encoder)

    @property
    def support(self) -> constraints.Constraint:
        return on_events(self.transform.domain, self.transform.event_dim)

    def log_prob(self, x: Tensor, context: Tensor | None = None, t: float | Tensor | None = None) -> Tensor:
        """log p(x | context) in nats; with ``t``, of the intermediate density p(x, t) (continuous flows, 0 <= t <= 1).

        Raises:
            ValueError: shapes, dtypes or devices do not fit, or ``t`` is given and no part of the flow is continuous.
        """
        x, context = self._check(x, context)
        try:
            z, logdet = self._map(t, x)(x, context)
        except RuntimeError:
            self._check_devices(x=x, context=context)
            raise
        return base_log_prob(self.base, z, context) + logdet

    def exact(self, x: Tensor) -> Tensor:
        """Which rows with NaN have a closed-form marginal, ``(*batch,)``: if the transform acts on each entry alone,
        those for which the base has one."""
        if isinstance(self.base, Density) and self.encoder is None and self.transform.entrywise:
            return self.base.exact(x)
        return super().exact(x)

    def log_marginal(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x, context = self._check(x, context)
        z, slope = self.noise_of_seen(x)
        return self.base.log_marginal(z, context if self.base.context_features else None) + slope

    def cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """P(X <= x | context), ``(*batch,)``, for events of one number: that of the noise, or its complement.

        Where f is not defined, x lies below or above all that can be drawn.
        """
        x, context = self._check(x, context)
        z, given = self.transform(x, context)[0], context if self._base_reads_context else None
        below = self.base.cdf(z, given)
        below = torch.where(self._rises(context), below, 1 - below)
        outside = z[..., 0].isnan()
        if not torch.compiler.is_compiling() and outside.any():
            below = torch.where(outside, (x > self.icdf(torch.full_like(below, 0.5), context))[..., 0].to(below), below)
        return below

    @torch.no_grad()
    def icdf(self, q: Tensor, context: Tensor | None = None) -> Tensor:
        _, context = self._check(None, context)
        q = torch.where(self._rises(context).to(q.device), q, 1 - q).to(self._noise_like)
        z = self.base.icdf(q, context if self._base_reads_context else None)
        return self.transform.generate(z, context)

    @torch.no_grad()
    def quadrature(self, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The base's nodes as events, and their weights."""
        _, context = self._check(None, context)
        z, weight = self.base.quadrature(context)
        return self.transform.generate(z, None if context is None else context.expand(len(z), *context.shape)), weight

    @property
    def _base_reads_context(self) -> bool:
        return isinstance(self.base, Density) and self.base.context_features > 0

    @torch.no_grad()
    def _rises(self, context: Tensor | None) -> Tensor:
        """Whether f is increasing, for events of one number: it is so for all contexts, or for none."""
        one = None if context is None else context.reshape(-1, context.shape[-1])[:1].expand(2, -1)
        ends = torch.tensor([[-1.0], [1.0]]).to(self._noise_like)
        moved = self.transform(ends, one)[0] if torch.compiler.is_compiling() else self.transform.generate(ends, one)
        return (moved[0] < moved[1])[0]  # a graph holds one pass

    @property
    def _noise_like(self) -> Tensor:
        """A tensor of the noise's dtype and device."""
        return next(itertools.chain(self.base.parameters(), self.base.buffers()))

    def noise_of_seen(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z with NaN where x is NaN, and the summed log-slopes of the others, for rows that are :meth:`exact`."""
        hole = x.isnan()
        valid = self.transform.generate(x.new_zeros(self.event_shape))  # a placeholder in the holes, which drops out
        z, slopes = self.transform.entries(torch.where(hole, valid.to(x), x))
        return z.masked_fill(hole, math.nan), slopes.masked_fill(hole, 0.0).sum(-1)

    @torch.no_grad()
    def sample(
        self,
        shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
        t: float | Tensor | None = None,
        guidance: float = 0.0,
        denoise: bool = False,
    ) -> Tensor:
        """Draws of shape ``(*shape, *context batch, *event)``.

        Args:
            shape: Shape of the draws for each context, or their number.
            context: The context, if the flow takes one.
            generator: Source of the randomness; PyTorch's default if None.
            temperature: Scales the base's noise; 0 maps its middle.
            t: For continuous flows, the time whose density is sampled.
            guidance: How far draws are pushed in the direction of the context, away from unconditional ones; see
                :func:`~pushforward.distributions.with_guidance`.
            denoise: Remove the noise of a flow of noisy events (:class:`~pushforward.transforms.GaussianNoise`) by one
                step along the score of the flow itself.

        Raises:
            ValueError: the temperature is negative, ``guidance`` is set for a flow without a context, ``denoise`` for
                one without noise, or ``t`` for one that is not continuous.
        """
        if not temperature >= 0:
            raise ValueError(f"temperature must be at least 0, got temperature={temperature}")
        z, context = self._noise(shape, context, generator, temperature)
        transform = self._map(t, z)
        if guidance:
            self._check_guidance(guidance)
            transform = with_guidance(self.transform if t is None else self.transform.at(t), guidance)
        x = denoised(self, transform, z, context) if denoise else transform.generate(z, context)
        return x.contiguous()  # torch's own transformed distributions view draws

    @torch.no_grad()
    def path(self, x: Tensor, times: Sequence[float], context: Tensor | None = None) -> Tensor:
        """The positions at given times of points x at t = 1 (continuous flows): ``(len(times), *batch, *event)``."""
        x, context = self._check(x, context)
        z = self.transform(x, context)[0]
        return torch.stack([self.transform.at(t).generate(z, context) for t in times])

    def rsample_and_log_prob(
        self,
        shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draws and their log-densities in one pass, differentiable with respect to parameters and context."""
        z, context = self._noise(shape, context, generator, 1.0)
        x, logdet = self._map(None, z).inverse(z, context)
        return x.contiguous(), self.base_log_prob(z, context) - logdet

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        x, context = self._check(x, context)
        self.transform.initialize(x, context)

    def compile(self, **options) -> Flow:  # type: ignore[override]
        """Compiles the transform, a few neighbouring parts per graph; graphs of the same structure share code.

        Without gradients each graph is compiled once for batches of any size; with them, once more for a second size.

        Returns:
            The flow itself.
        """
        compile_blocks(self.transform, **options)
        return self

    def _check_guidance(self, guidance: float) -> None:
        if not self.context_features:
            raise ValueError(f"guidance={guidance} needs a context, but the flow was built with context=0")
        if self.encoder is not None:
            raise ValueError(f"guidance={guidance} is for contexts that are plain numbers, but the flow has an encoder")

    def _check_devices(self, **given: Tensor | None) -> None:
        """Names the likely cause of a PyTorch error."""
        own = {parameter.device for parameter in self.parameters()}
        for name, tensor in given.items():
            if tensor is not None and own and tensor.device not in own:
                names = ", ".join(sorted(map(str, own)))
                raise ValueError(
                    f"{name} has device={tensor.device}, but the flow's parameters have {names}: "
                    "convert one of them with .to(...)"
                )

    def _map(self, t: float | Tensor | None, like: Tensor) -> Transform:
        transform = self.transform if t is None else self.transform.at(t)
        # a composition does its own planning
        return transform if isinstance(transform, Compose) else plan((transform,), like)[0]

    def _noise(
        self, shape: int | Sequence[int], context: Tensor | None, generator: Generator, temperature: float
    ) -> tuple[Tensor, Tensor | None]:
        _, context = self._check(None, context)
        return base_draw(self.base, batch_of_draws(shape, context), context, generator, temperature), context

    def base_log_prob(self, z: Tensor, context: Tensor | None) -> Tensor:
        """The base's log-density, given the encoded context if the base is a density that takes one."""
        return base_log_prob(self.base, z, context)

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        z = base_draw(self.base, batch, context, generator, temperature)
        return self._map(None, z).generate(z, context)
