"""Shifts and scales from data: fixed (Standardize), or as the initial values of trained parameters (ActNorm)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .base import Transform


class Standardize(Transform):
    r"""z = (x - loc) / scale, with untrained constants.

    It keeps a flow's densities in the data's own units: :math:`\log|\det| = -\sum_j \log \mathrm{scale}_j`.

    Args:
        loc: The mean, of the event's shape.
        scale: The standard deviation, positive, of the event's shape.

    Raises:
        ValueError: shapes differ, or a scale is not positive.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor | Sequence[float] | float, scale: Tensor | Sequence[float] | float) -> None:
        super().__init__()
        loc, scale = torch.as_tensor(loc), torch.as_tensor(scale)
        loc, scale = (v if v.is_floating_point() else v.to(torch.get_default_dtype()) for v in (loc, scale))
        if loc.shape != scale.shape:
            raise ValueError(f"loc has shape {tuple(loc.shape)}, but scale has {tuple(scale.shape)}")
        if not bool((scale > 0).all()):
            raise ValueError(f"scale must be positive everywhere, got a minimum of {float(scale.min())}")
        self.event_dim = loc.dim()
        self.register_buffer("loc", loc.clone())
        self.register_buffer("scale", scale.clone())

    def entries(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x - self.loc) / self.scale, (-self.scale.log()).expand(x.shape)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (x - self.loc) / self.scale, self._logdet(x, -1.0)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z * self.scale + self.loc, self._logdet(z, 1.0)

    def _logdet(self, x: Tensor, sign: float) -> Tensor:
        return (sign * self.scale.log().sum()).expand(x.shape[: x.dim() - self.event_dim])


class Whiten(Transform):
    r"""z = L⁻¹ (x - loc), which whitens data of mean loc and covariance L Lᵀ. Its constants are not trained.

    .. math:: \log|\det| = -\sum_j \log L_{jj}

    Args:
        loc: The mean, ``(features,)``.
        factor: L, lower triangular with a positive diagonal, ``(features, features)``: a Cholesky factor.

    Raises:
        ValueError: shapes do not fit, or the diagonal is not positive.
    """

    loc: Tensor
    factor: Tensor

    def __init__(self, loc: Tensor | Sequence[float], factor: Tensor | Sequence[Sequence[float]]) -> None:
        super().__init__()
        loc = torch.as_tensor(loc)
        factor = torch.as_tensor(factor, dtype=loc.dtype).tril()
        if loc.dim() != 1 or factor.shape != (len(loc), len(loc)):
            raise ValueError(f"loc has shape {tuple(loc.shape)}, but factor has {tuple(factor.shape)}")
        if not bool((factor.diagonal() > 0).all()):
            raise ValueError(f"factor must have a positive diagonal, got a minimum of {float(factor.diagonal().min())}")
        self.register_buffer("loc", loc.clone())
        self.register_buffer("factor", factor.clone())

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        rows = (x - self.loc.to(x.dtype)).reshape(-1, len(self.loc))
        z = torch.linalg.solve_triangular(self.factor.to(x.dtype), rows.t(), upper=False)
        return z.t().reshape(x.shape), self._logdet(x, -1.0)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z @ self.factor.to(z.dtype).T + self.loc.to(z.dtype), self._logdet(z, 1.0)

    def _logdet(self, x: Tensor, sign: float) -> Tensor:
        return (sign * self.factor.diagonal().log().sum()).to(x.dtype).expand(x.shape[:-1])


class PerFeature(Transform):
    """z = scale x + shift for each feature of vectors, or each channel of images, with a trained log-scale and bias."""

    def __init__(self, features: int, event_dim: int = 1) -> None:
        super().__init__()
        if features < 1 or event_dim not in (1, 3):
            raise ValueError(f"features must be at least 1 and event_dim 1 or 3, got {features} and {event_dim}")
        self.event_dim = event_dim
        shape = (features,) if event_dim == 1 else (features, 1, 1)
        self.event_shape = shape if event_dim == 1 else None  # images of any size
        self.bias = nn.Parameter(torch.zeros(shape))
        self.log_scale = nn.Parameter(torch.zeros(shape))

    def _logdet(self, x: Tensor, log_scale: Tensor) -> Tensor:
        places = math.prod(x.shape[x.dim() - self.event_dim + 1 :])  # H · W for images, 1 for vectors
        return (places * log_scale.sum()).expand(x.shape[: x.dim() - self.event_dim])


class ActNorm(PerFeature):
    r"""z = (x + bias) · exp(log_scale) per feature (vectors) or per channel (images), trained like any parameter.

    Starts as the identity; ``initialize(x)`` normalises this batch to mean 0 and variance 1.
    ``forward`` itself never initialises anything.

    Args:
        features: Features of a vector, or channels of an image.
        event_dim: 1 for vectors, 3 for images of shape (C, H, W).

    Raises:
        ValueError: ``features`` is below 1 or ``event_dim`` is neither 1 nor 3.

    Reference:
        Kingma, Dhariwal (2018), Glow, arXiv:1807.03039. Lecture: "Glow samples".
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (x + self.bias) * self.log_scale.exp(), self._logdet(x, self.log_scale)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z * (-self.log_scale).exp() - self.bias, self._logdet(z, -self.log_scale)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        mean, spread = (value.view_as(self.bias) for value in moments(x, self.event_dim))
        self.bias.copy_(-mean)
        self.log_scale.copy_(-spread.log())
        return self.forward(x)[0]

    @torch.no_grad()
    def initialize_inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        mean, spread = (value.view_as(self.bias) for value in moments(z, self.event_dim))
        self.bias.copy_(mean / spread)
        self.log_scale.copy_(spread.log())
        return self.inverse(z)[0]


def moments(x: Tensor, event_dim: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every feature (``event_dim`` 1) or channel (3) over a batch, ``(features,)``."""
    values = x.unsqueeze(0).flatten(0, -event_dim - 1)  # (n, C) or (n, C, H, W)
    values = values.transpose(0, 1).flatten(1)  # (C, everything else)
    return values.mean(1), values.std(1, correction=0).clamp_min(1e-6)
