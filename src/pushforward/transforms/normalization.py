"""Shifts and scales from data: fixed (Standardize, Whiten), initial values of trained ones (ActNorm), or statistics
that follow the batches (BatchNorm); and the rounding of what has been standardised (Precision)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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


class Precision(Transform):
    r"""z = x, rounded to the precision of the subsequent layers; :math:`\log|\det| = 0`. Samples come out in float64.

    Put it after a :class:`Standardize`. A timestamp of 1.7e9 seconds has a resolution of two minutes in float32, but
    not once a mean has been subtracted in float64; float64 minus float32 gives float64, so the constants may be either.
    """

    like: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("like", torch.zeros(()), persistent=False)  # has the precision of the subsequent layers

    def entries(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.to(self.like.dtype), torch.zeros_like(x)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.to(self.like.dtype), x.new_zeros(x.shape[:-1])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = z if z.device.type == "mps" else z.double()  # Apple's GPUs have no float64
        return x, x.new_zeros(x.shape[:-1])


def rounds_itself(model: nn.Module) -> bool:
    """Whether a model accepts x in any precision, because it contains a :class:`Precision`."""
    return any(isinstance(module, Precision) for module in model.modules())


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


class BatchNorm(PerFeature):
    r"""z = (x - mean) / std · exp(log_scale) + bias with running statistics, per feature (vectors) or channel (images).

    Unlike ``torch.nn.BatchNorm1d`` it has no training mode. Both directions read the statistics without updating them,
    so the density of an event never depends on the rest of its batch, and evaluation uses the same map as training.
    They are updated only on request: ``initialize(x)`` sets them to those of x (:func:`pf.fit` does so with its first
    batch), and within :func:`running_statistics` every batch updates them. No gradient flows through them. Starts as
    the identity.

    Args:
        features: Features of a vector, or channels of an image.
        event_dim: 1 for vectors, 3 for images of shape (C, H, W).

    Raises:
        ValueError: ``features`` is below 1 or ``event_dim`` is neither 1 nor 3.

    Reference:
        Ioffe, Szegedy (2015), arXiv:1502.03167; Dinh, Sohl-Dickstein, Bengio (2017), arXiv:1605.08803.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: int, event_dim: int = 1) -> None:
        super().__init__(features, event_dim)
        self.register_buffer("mean", torch.zeros_like(self.bias))
        self.register_buffer("std", torch.ones_like(self.bias))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = (x - self.mean) * (self.log_scale.exp() / self.std) + self.bias
        return z, self._logdet(x, self.log_scale - self.std.log())

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = (z - self.bias) * (self.std * (-self.log_scale).exp()) + self.mean
        return x, self._logdet(z, self.std.log() - self.log_scale)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.update(x, 1.0)
        return self.forward(x)[0]

    @torch.no_grad()
    def update(self, x: Tensor, momentum: float) -> None:
        """Moves mean and variance towards those of a batch: ``(1 - momentum) · old + momentum · new``."""
        mean, std = (value.view_as(self.mean) for value in moments(x, self.event_dim))
        self.mean.lerp_(mean, momentum)
        self.std.copy_(self.std.square().lerp(std.square(), momentum).sqrt())


@contextmanager
def running_statistics(model: nn.Module, momentum: float = 0.1) -> Iterator[None]:
    """Inside, every call of a :class:`BatchNorm` of the model first updates its running statistics with the batch.

    For training loops: ``with running_statistics(flow): loss = objective(x)``. Batches that go through ``inverse``,
    from noise to data, update nothing.

    Args:
        model: Any module; it need not contain a :class:`BatchNorm`.
        momentum: The weight of the batch, in (0, 1].

    Raises:
        ValueError: ``momentum`` is outside (0, 1].
    """
    if not 0 < momentum <= 1:
        raise ValueError(f"momentum must be above 0 and at most 1, got momentum={momentum}")
    layers = [part for part in model.modules() if isinstance(part, BatchNorm)]
    handles = [one.register_forward_pre_hook(lambda layer, given: layer.update(given[0], momentum)) for one in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def moments(x: Tensor, event_dim: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every feature (``event_dim`` 1) or channel (3) over a batch, ``(features,)``."""
    values = x.unsqueeze(0).flatten(0, -event_dim - 1)  # (n, C) or (n, C, H, W)
    values = values.transpose(0, 1).flatten(1)  # (C, everything else)
    return values.mean(1), values.std(1, correction=0).clamp_min(1e-6)
