"""Bases on boxes and circles, for flows with such a latent space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from .base import Density, Generator
from .bases import Independent, Numbers
from .torch_base import drawing_by


class BoxUniform(Density):
    """The uniform density in a box; -inf outside. It has no parameters.

    Args:
        low: The lower corner, ``(features,)``.
        high: The upper corner.

    Raises:
        ValueError: the corners have different sizes, or a lower bound is not below the upper one.
    """

    low: Tensor
    high: Tensor

    def __init__(self, low: Sequence[float] | Tensor, high: Sequence[float] | Tensor) -> None:
        super().__init__()
        one, other = (torch.as_tensor(corner, dtype=torch.get_default_dtype()) for corner in (low, high))
        if one.dim() != 1 or one.shape != other.shape or len(one) == 0:
            raise ValueError(f"low and high must hold a number for each feature, got {low} and {high}")
        if not bool((one < other).all()):
            raise ValueError(f"low must be below high in every feature, got {low} and {high}")
        self.event_shape = one.shape
        self.register_buffer("low", one.clone())
        self.register_buffer("high", other.clone())

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.interval(self.low, self.high), 1)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x, _ = self._check(x, context)
        inside = ((x >= self.low) & (x <= self.high)).all(-1)
        volume = (self.high - self.low).log().sum().to(x)
        return torch.where(inside, -volume, -math.inf) + 0.0 * x.sum(-1)

    def closed_form(self, context: Tensor | None = None) -> Distribution:
        return torch.distributions.Independent(torch.distributions.Uniform(self.low, self.high), 1)

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        """``temperature`` contracts points towards the centre, or expands them, within the box."""
        u = torch.rand(*batch, *self.event_shape, generator=generator, dtype=self.low.dtype, device=self.low.device)
        u = (0.5 + (u - 0.5) * temperature).clamp(0, 1)
        return torch.lerp(self.low, self.high, u)


class VonMises(Independent):
    r"""Independent angles, each around its own direction: the circular analogue of the normal.

    .. math:: \log p(z_j) = \kappa_j \cos(z_j - \mu_j) - \log 2\pi I_0(\kappa_j)

    It has period 2 pi, and is a density on any interval of that length; draws lie in [-pi, pi). The trained parameters
    are those of :math:`a \cos z + b \sin z`, which have no seam.

    Args:
        features: Angles per event.
        loc: Initial mu, for all angles or for each.
        concentration: Initial kappa; 0 for the uniform density.
        context: Features of the context, 0 for none.
        hidden: Hidden widths of the network that reads the context; empty for a linear map.

    Raises:
        ValueError: a size is not positive, or a concentration is negative.

    Reference:
        Mardia, Jupp (2000), Directional statistics; Best, Fisher (1979), Efficient simulation of the von Mises
        distribution, Applied Statistics 28.
    """

    start: Tensor

    def __init__(
        self,
        features: int,
        loc: Numbers = 0.0,
        concentration: Numbers = 0.0,
        *,
        context: int = 0,
        hidden: Sequence[int] = (),
    ) -> None:
        super().__init__(features, 2, context=context, hidden=hidden)
        self.loc, self.concentration = loc, concentration
        mu, kappa = (torch.as_tensor(v, dtype=torch.get_default_dtype()) for v in (loc, concentration))
        if mu.shape not in ((), (features,)) or kappa.shape not in ((), (features,)) or not bool((kappa >= 0).all()):
            raise ValueError(
                f"loc and concentration must be one number or {features}, concentration not negative, "
                f"got {mu.tolist()} and {kappa.tolist()}"
            )
        start = torch.stack([kappa * mu.cos(), kappa * mu.sin()]).reshape(2, -1).expand(2, features)
        self.register_buffer("start", start.clone(), persistent=False)

    def log_density(self, x: Tensor, params: Tensor) -> Tensor:
        cosine, sine = self._natural(params)
        kappa = (cosine.square() + sine.square() + 1e-12).sqrt()  # keeps the gradient finite at 0
        log_norm = math.log(2 * math.pi) + torch.special.i0e(kappa).log() + kappa
        return cosine * x.cos() + sine * x.sin() - log_norm

    def draw(self, params: Tensor, generator: Generator, temperature: float) -> Tensor:
        """``temperature`` divides the concentration. Not differentiable."""
        cosine, sine = (part.detach().double() for part in self._natural(params))
        mu, kappa = torch.atan2(sine, cosine), torch.hypot(cosine, sine) / temperature
        kappa = kappa.nan_to_num().clamp(1e-6, 1e15)  # beyond, PyTorch's rejection may never end
        with drawing_by(generator):
            drawn = torch.distributions.VonMises(mu, kappa, validate_args=False).sample()
        return drawn.to(params)

    def _natural(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """kappa cos mu and kappa sin mu, ``(*batch, features)`` each."""
        cosine, sine = params
        return self.start[0] + cosine, self.start[1] + sine
