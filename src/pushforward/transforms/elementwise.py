"""Maps that act on each number alone: the Jacobian is diagonal, its log-determinant a sum over the event."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from ..errors import positive
from ..numerics import affine
from .base import Transform, sum_event


class Elementwise(Transform):
    """z_j = f(x_j) with one fixed, monotone f. Subclasses give f, its inverse g, and log f'.

    Values are not inspected: outside of ``domain`` (of ``codomain``, for the inverse) the result is NaN, at its ends
    infinite. ``flow.condition(validate_args=True)`` refuses what is outside.

    Args:
        event_dim: Trailing dimensions of one event.

    Reference:
        Lecture: "Jacobian structure", case 2.
    """

    def __init__(self, event_dim: int = 1) -> None:
        super().__init__()
        self.event_dim = event_dim

    def f(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def g(self, z: Tensor) -> Tensor:
        raise NotImplementedError

    def log_slope(self, x: Tensor, z: Tensor) -> Tensor:
        """log f'(x), in terms of x or z = f(x), whichever is more stable."""
        raise NotImplementedError

    def entries(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.f(x)
        return z, self.log_slope(x, z)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = self.g(z)
        return x, -sum_event(self.log_slope(x, z), self.event_dim)


class Opposite(Elementwise):
    """The inverse of another map, as a map of its own; subclasses name the other one."""

    of: Elementwise

    def f(self, x: Tensor) -> Tensor:
        return self.of.g(x)

    def g(self, z: Tensor) -> Tensor:
        return self.of.f(z)

    def log_slope(self, x: Tensor, z: Tensor) -> Tensor:
        return -self.of.log_slope(z, x)


class Identity(Elementwise):
    """z = x."""

    def f(self, x: Tensor) -> Tensor:
        return x

    def g(self, z: Tensor) -> Tensor:
        return z

    def log_slope(self, x: Tensor, z: Tensor) -> Tensor:
        return torch.zeros_like(x)


class Exp(Elementwise):
    """z = exp(x), from the real line to the positive half-line."""

    codomain = constraints.positive

    def f(self, x: Tensor) -> Tensor:
        return x.exp()

    def g(self, z: Tensor) -> Tensor:
        return z.log()

    def log_slope(self, x: Tensor, z: Tensor) -> Tensor:
        return x


class Log(Opposite):
    """z = log(x), for positive data."""

    domain = constraints.positive
    of = Exp()


class Softplus(Elementwise):
    """z = log(1 + exp(x)), from the real line to the positive half-line, the identity for large x."""

    codomain = constraints.positive

    def f(self, x: Tensor) -> Tensor:
        return -F.logsigmoid(-x)  # finite gradients for arbitrarily large x

    def g(self, z: Tensor) -> Tensor:
        return z + torch.log(-torch.expm1(-z))  # log(exp(z) - 1) without overflow

    def log_slope(self, x: Tensor, z: Tensor) -> Tensor:
        return F.logsigmoid(x)


class InverseSoftplus(Opposite):
    """z = log(exp(x) - 1), for positive data; the identity for large x."""

    domain = constraints.positive
    of = Softplus()


class Sigmoid(Elementwise):
    """z = 1 / (1 + exp(-x)), from the real line to (0, 1)."""

    codomain = constraints.unit_interval

    def f(self, x: Tensor) -> Tensor:
        return x.sigmoid()

    def g(self, z: Tensor) -> Tensor:
        return z.logit()

    def log_slope(self, x: Tensor, z: Tensor) -> Tensor:
        return F.logsigmoid(x) + F.logsigmoid(-x)


class Logit(Opposite):
    """z = log(x / (1 - x)), for data in (0, 1)."""

    domain = constraints.unit_interval
    of = Sigmoid()


class Tanh(Elementwise):
    """z = tanh(x), from the real line to (-1, 1)."""

    codomain = constraints.interval(-1.0, 1.0)

    def f(self, x: Tensor) -> Tensor:
        return x.tanh()

    def g(self, z: Tensor) -> Tensor:
        return z.atanh()

    def log_slope(self, x: Tensor, z: Tensor) -> Tensor:
        return -2 * _log_cosh(x)


class Atanh(Opposite):
    """z = artanh(x), for data in (-1, 1)."""

    domain = constraints.interval(-1.0, 1.0)
    of = Tanh()


class Asinh(Elementwise):
    """z = arsinh(x): linear near zero, logarithmic far out, for heavy tails on both sides."""

    def f(self, x: Tensor) -> Tensor:
        return x.asinh()

    def g(self, z: Tensor) -> Tensor:
        return z.sinh()

    def log_slope(self, x: Tensor, z: Tensor) -> Tensor:
        return -_log_cosh(z)


class LogTails(Transform):
    r"""The identity within a bound, logarithmic beyond it: outliers stay in range of the layers that follow.

    .. math:: z = x \text{ where } |x| \le b,\quad z = \pm b\,(1 + \log(|x| / b)) \text{ beyond}

    Args:
        bound: b, where the tails begin.
        event_dim: Trailing dimensions of one event.
        far: c: beyond c b they are linear, with the slope 1 / c. Without it the inverse grows exponentially, and the
            inverse of several layers with such tails soon overflows every floating-point type.

    Raises:
        ValueError: ``bound`` is not positive, or ``far`` is not above 1.
    """

    def __init__(self, bound: float = 5.0, event_dim: int = 1, far: float | None = None) -> None:
        super().__init__()
        positive(bound=bound)
        if far is not None and not far > 1:
            raise ValueError(f"far must be above 1, got far={far}")
        self.bound, self.event_dim, self.far = float(bound), event_dim, far

    def entries(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return affine.log_tails(x, self.bound, self.far)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_slope = affine.inverse_log_tails(z, self.bound, self.far)
        return x, sum_event(log_slope, self.event_dim)


class LeakyReLU(Elementwise):
    """z = x for x >= 0, slope · x below.

    Args:
        slope: The slope below zero, positive.
        event_dim: Trailing dimensions of one event.
    """

    def __init__(self, slope: float = 0.1, event_dim: int = 1) -> None:
        super().__init__(event_dim)
        if not slope > 0:
            raise ValueError(f"slope must be positive to be invertible, got slope={slope}")
        self.slope = slope

    def f(self, x: Tensor) -> Tensor:
        return torch.where(x < 0, x * self.slope, x)

    def g(self, z: Tensor) -> Tensor:
        return torch.where(z < 0, z / self.slope, z)

    def log_slope(self, x: Tensor, z: Tensor) -> Tensor:
        return torch.zeros_like(x).masked_fill(x < 0, math.log(self.slope))


def _log_cosh(x: Tensor) -> Tensor:
    return x.abs() + F.softplus(-2 * x.abs()) - math.log(2)
