r"""The affine scalar map with a softly clamped log-scale, and the logarithmic tails that keep its results in range.

.. math:: z = (x - \mu)\, e^{-s},\quad x = z\, e^{s} + \mu,\quad s = \frac{r}{1 + |r| / \mathrm{limit}}

Tails are the identity within a bound b, logarithmic beyond it, with one slope at the bound:

.. math:: z = \bar x\,(1 + \log a),\quad \frac{dz}{dx} = \frac1a,\quad
    \bar x = \min(\max(x, -b), b),\quad a = \max(|x| / b,\, 1)

Their inverse is an exponential, and nested exponentials soon overflow every floating-point type; so the tails may end
at a = c, beyond which they are linear with slope 1 / c.

Reference:
    Lecture: "Gaussian autoregressive NF", "RealNVP".
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

LEAST_SLOPE = 1e-3
SOFTPLUS_ONE = math.log(math.expm1(1))  # softplus of this is 1


def forward(x: Tensor, mu: Tensor, raw: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """z and log dz/dx = -s, of the shape of x; ``raw`` is r."""
    log_slope = raw / (raw.abs() / -limit - 1)
    return (x - mu) * log_slope.exp(), log_slope


def inverse(z: Tensor, mu: Tensor, raw: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """x and log dx/dz = s, of the shape of z."""
    s = soft_clamp(raw, limit)
    return z * s.exp() + mu, s


def soft_clamp(raw: Tensor, limit: float | Tensor) -> Tensor:
    """s = r / (1 + |r| / limit): within (-limit, limit), symmetric about 0, of slope 1 there."""
    return raw / (1 + raw.abs() / limit)


LOG_SLOPES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "softplus": lambda raw, limit: (LEAST_SLOPE + (1 - LEAST_SLOPE) * F.softplus(raw + SOFTPLUS_ONE)).log(),
    "sigmoid": lambda raw, limit: (LEAST_SLOPE + (1 - LEAST_SLOPE) * 2 * raw.sigmoid()).log(),
    "tanh": lambda raw, limit: limit * (raw / limit).tanh(),
}
"""Log-slopes from raw parameters and a limit, 0 where these are; slopes are at least ``LEAST_SLOPE``, or bounded."""


def log_tails(x: Tensor, bound: float, far: float | None = None) -> tuple[Tensor, Tensor]:
    """z and log dz/dx = -log a, of the shape of x; ``far`` is c, where the tails end; None: never."""
    inner = x if far is None else x.clamp(-far * bound, far * bound)
    log = (F.relu(inner.abs() - bound) / bound).log1p()  # log a; a rectifier's slope is 0 at the bound, a clamp's is 1
    z = inner.clamp(-bound, bound) * (1 + log)
    return (z if far is None else z + (x - inner) / far), -log


def inverse_log_tails(z: Tensor, bound: float, far: float | None = None) -> tuple[Tensor, Tensor]:
    """x and log dx/dz = log a, of the shape of z."""
    last = math.inf if far is None else (1 + math.log(far)) * bound
    inner = z.clamp(-last, last)
    log = F.relu(inner.abs() - bound) / bound
    x = inner.clamp(-bound, bound) * log.exp()
    return (x if far is None else x + (z - inner) * far), log
