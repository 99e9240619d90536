"""Bases of flows with parameters, trained with the flow or given by the context.

Each is a density like any other: ``Flow(transform, base, context=...)`` passes its context to a base that takes one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from ..errors import at_least_one
from ..nets.mlp import MLP
from ..numerics.logs import HALF_LOG_2PI
from ..numerics.matrices import triangle
from ..numerics.tails import student_t
from ..numerics.torch_internals import standard_gamma
from ..transforms.base import in_blocks, on_events
from .base import Density, Generator, base_draw, base_log_prob
from .conditional import log_normal, noise_like
from .torch_base import as_density

Numbers = float | Sequence[float]


class Base(Density):
    r"""Parameters :math:`\theta(c)` of a density over vectors: free ones, or a network's output given the context.

    Args:
        features: Features of an event.
        num_params: Parameters per feature.
        context: Features of the context, 0 for none.
        hidden: Widths of the network's hidden layers; empty for a linear map.

    Raises:
        ValueError: a size is not positive.
    """

    def __init__(self, features: int, num_params: int, *, context: int = 0, hidden: Sequence[int] = ()) -> None:
        super().__init__()
        at_least_one(features=features)
        self.event_shape, self.context_features = torch.Size((features,)), context
        self.net = MLP(0, features, num_params, context=context, hidden=hidden)

    def params(self, context: Tensor | None) -> Tensor:
        """``(num_params, *context batch, features)``."""
        return self.net(self.net.biases[0].new_zeros(0), context)  # type: ignore[no-any-return]


class Independent(Base):
    r"""Independent features: :math:`\log p(z \mid c) = \sum_j \log p(z_j; \theta_j(c))`. Subclasses give the family."""

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x, context = self._check(x, context)
        return self.log_density(x, self.params(context)).sum(-1)

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        """``temperature`` scales the noise."""
        params = self.params(context)
        params = torch.stack([each.expand(*batch, -1) for each in params])
        return self.draw(params, generator, temperature)

    def log_density(self, x: Tensor, params: Tensor) -> Tensor:
        """log p of each feature, of the shape of x, for parameters that broadcast to it."""
        raise NotImplementedError

    def draw(self, params: Tensor, generator: Generator, temperature: float) -> Tensor:
        """A draw of each feature, ``(*batch, features)``."""
        raise NotImplementedError


class DiagonalNormal(Independent):
    r"""A normal with independent features, :math:`N(\mu(c), \operatorname{diag} \sigma(c)^2)`, initially standard.

    Args:
        features: Features of an event.
        context: Features of the context, 0 for none.
        hidden: Hidden widths of the network that reads the context; empty for a linear map.

    Raises:
        ValueError: a size is not positive.
    """

    def __init__(self, features: int, *, context: int = 0, hidden: Sequence[int] = ()) -> None:
        super().__init__(features, 2, context=context, hidden=hidden)

    def log_density(self, x: Tensor, params: Tensor) -> Tensor:
        loc, log_scale = params
        return log_normal(x, loc, log_scale)

    def draw(self, params: Tensor, generator: Generator, temperature: float) -> Tensor:
        loc, log_scale = params
        return loc + log_scale.exp() * temperature * noise_like(loc, generator)

    def closed_form(self, context: Tensor | None = None) -> Distribution:
        loc, log_scale = self.params(self._check(None, context)[1])
        return torch.distributions.Independent(torch.distributions.Normal(loc, log_scale.exp()), 1)


class FullNormal(Base):
    r"""A normal with a full covariance, initially standard.

    .. math:: \log p(z \mid c) = -\tfrac12 \lVert A (z - \mu) \rVert^2 + \sum_j \log A_{jj} - \tfrac m2 \log 2\pi

    with A(c) lower triangular with positive diagonal, and covariance :math:`(A^\top A)^{-1}`.

    Args:
        features: Features of an event.
        context: Features of the context, 0 for none.
        hidden: Hidden widths of the network that reads the context; empty for a linear map.

    Raises:
        ValueError: a size is not positive.
    """

    def __init__(self, features: int, *, context: int = 0, hidden: Sequence[int] = ()) -> None:
        super().__init__(features, 1 + features, context=context, hidden=hidden)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x, context = self._check(x, context)
        loc, factors = self._parts(context)
        white = (triangle(factors, lower=True) @ (x - loc)[..., None])[..., 0]
        constant = factors.diagonal(dim1=-2, dim2=-1).sum(-1) - HALF_LOG_2PI * x.shape[-1]
        return constant - 0.5 * white.square().sum(-1)

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        """``temperature`` scales the noise."""
        loc, factors = self._parts(context)
        noise = temperature * noise_like(loc.expand(*batch, -1), generator)
        A = triangle(factors, lower=True)
        return loc + torch.linalg.solve_triangular(A, noise[..., None], upper=False)[..., 0]

    def closed_form(self, context: Tensor | None = None) -> Distribution:
        loc, factors = self._parts(self._check(None, context)[1])
        A = triangle(factors, lower=True)
        return torch.distributions.MultivariateNormal(loc, precision_matrix=A.mT @ A)

    def _parts(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """mu, ``(*batch, m)``, and A with log A_jj on its diagonal, ``(*batch, m, m)``."""
        params = self.params(context)
        return params[0], params[1:].movedim(0, -1)


class StudentT(Independent):
    r"""Student-t with independent features, whose degrees of freedom, centres and scales are trained.

    .. math:: p(z_j) \propto \Bigl(1 + \frac{t^2}{\nu}\Bigr)^{-(\nu + 1) / 2},\quad t = (z_j - \mu_j) / \sigma_j

    Args:
        features: Features of an event.
        df: Initial nu, for all features or for each.
        context: Features of the context, 0 for none.
        hidden: Hidden widths of the network that reads the context; empty for a linear map.

    Raises:
        ValueError: a size or a number of degrees of freedom is not positive.

    Reference:
        Jaini, Kobyzev, Yu, Brubaker (2020), Tails of Lipschitz triangular flows, arXiv:1907.04481; Laszkiewicz,
        Lederer, Fischer (2022), Marginal tail-adaptive normalizing flows, arXiv:2206.10311.
    """

    log_df: Tensor

    def __init__(self, features: int, df: Numbers = 4.0, *, context: int = 0, hidden: Sequence[int] = ()) -> None:
        super().__init__(features, 3, context=context, hidden=hidden)
        self.df = df
        start = _positive("df", df, features, "degrees of freedom")
        self.register_buffer("log_df", start.log(), persistent=False)

    def log_density(self, x: Tensor, params: Tensor) -> Tensor:
        loc, log_scale, log_df = params
        return student_t((x - loc) * (-log_scale).exp(), (self.log_df + log_df).exp()) - log_scale

    def closed_form(self, context: Tensor | None = None) -> Distribution:
        loc, log_scale, log_df = self.params(self._check(None, context)[1])
        df = (self.log_df + log_df).exp()
        return torch.distributions.Independent(torch.distributions.StudentT(df, loc, log_scale.exp()), 1)

    def draw(self, params: Tensor, generator: Generator, temperature: float) -> Tensor:
        r"""By Bailey's polar method, :math:`t^2 = \nu (e^{2E/\nu} - 1) \cos^2 2\pi V`, which is differentiable."""
        loc, log_scale, log_df = params
        df = (self.log_df + log_df).exp()
        E = torch.empty_like(loc).exponential_(generator=generator)
        V = torch.rand(loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
        t = (df * (2 * E / df).expm1()).sqrt() * (2 * math.pi * V).cos()
        return loc + log_scale.exp() * temperature * t


class GeneralisedNormal(Independent):
    r"""Generalised normal with independent features: Laplace at power 1, normal at 2, uniform in the limit.

    .. math:: p(z_j) = \frac{\beta}{2 \sigma\, \Gamma(1 / \beta)}\, e^{-|t|^\beta},\quad t = (z_j - \mu_j) / \sigma_j

    Powers, centres and scales are trained; initially each feature has variance 1.

    Args:
        features: Features of an event.
        power: Initial beta, for all features or for each.
        context: Features of the context, 0 for none.
        hidden: Hidden widths of the network that reads the context; empty for a linear map.

    Raises:
        ValueError: a size or a power is not positive.

    Reference:
        Nadarajah (2005), A generalized normal distribution, Journal of Applied Statistics 32.
    """

    log_power: Tensor
    log_unit: Tensor

    def __init__(self, features: int, power: Numbers = 2.0, *, context: int = 0, hidden: Sequence[int] = ()) -> None:
        super().__init__(features, 3, context=context, hidden=hidden)
        self.power = power
        start = _positive("power", power, features, "the exponent")
        self.register_buffer("log_power", start.log(), persistent=False)
        unit = 0.5 * ((1 / start).lgamma() - (3 / start).lgamma())  # the scale for variance 1
        self.register_buffer("log_unit", unit, persistent=False)

    def log_density(self, x: Tensor, params: Tensor) -> Tensor:
        loc, log_scale, power = self._parts(params)
        t = ((x - loc) * (-log_scale).exp()).abs().clamp_min(torch.finfo(x.dtype).tiny)
        return power.log() - math.log(2) - (1 / power).lgamma() - log_scale - t.pow(power)

    def draw(self, params: Tensor, generator: Generator, temperature: float) -> Tensor:
        r""":math:`|t| = U\, G^{1/\beta}` with U uniform and G gamma of shape :math:`1 + 1/\beta`, and a random sign."""
        loc, log_scale, power = self._parts(params)
        G = standard_gamma(1 + 1 / power.expand_as(loc), generator)
        U = torch.rand(loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
        return loc + log_scale.exp() * temperature * (2 * U - 1) * G.pow(1 / power)

    def _parts(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return params[0], self.log_unit + params[1], (self.log_power + params[2]).exp()


class Product(Density):
    """Independent blocks of a vector, each with its own base, for one or several features.

    Args:
        bases: Of vectors, each as the base of a :class:`~pushforward.Flow`; those that take a context get this one's.

    Raises:
        ValueError: there are no bases, one is not over vectors, or they take contexts of different sizes.
    """

    def __init__(self, bases: Sequence[nn.Module | Distribution]) -> None:
        super().__init__()
        self.bases: Any = nn.ModuleList(as_density(base, 1) for base in bases)  # Any: a ModuleList's items are untyped
        shapes: list[Any] = [tuple(base.event_shape) for base in self.bases]  # type: ignore[arg-type]
        if not shapes or any(len(shape) != 1 for shape in shapes):
            raise ValueError(f"bases must hold at least one density, each of rows, got events of {shapes}")
        contexts = {size for base in self.bases if (size := getattr(base, "context_features", 0))}
        if len(contexts) > 1:
            raise ValueError(f"bases must take the same context, got contexts of {sorted(contexts)} features")
        self.sizes = [shape[0] for shape in shapes]
        self.event_shape, self.context_features = torch.Size((sum(self.sizes),)), max(contexts, default=0)

    def arguments(self) -> dict[str, Any]:
        return {"bases": [*self.bases]}

    @property
    def support(self) -> constraints.Constraint:
        supports = [getattr(base, "support", constraints.real) for base in self.bases]
        return on_events(in_blocks(supports, self.sizes), 1)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x, context = self._check(x, context)
        parts = zip(self.bases, x.split(self.sizes, -1), strict=True)
        return torch.stack([base_log_prob(base, block, context) for base, block in parts]).sum(0)

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        """``temperature`` is passed to every base."""
        return torch.cat([base_draw(base, batch, context, generator, temperature) for base in self.bases], -1)


def _positive(name: str, value: Any, features: int, what: str) -> Tensor:
    """One positive number per feature."""
    numbers = torch.as_tensor(value, dtype=torch.get_default_dtype())
    if numbers.shape not in ((), (features,)):
        raise ValueError(f"{name} must be one number or {features}, got shape {tuple(numbers.shape)}")
    if not bool((numbers > 0).all()):
        raise ValueError(f"{name} must be positive, got {float(numbers.min()):g}: it is {what} of a feature")
    return numbers.expand(features).clone()
