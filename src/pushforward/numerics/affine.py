r"""The affine scalar map with a softly clamped log-scale.

.. math:: z = (x - \mu)\, e^{-s},\quad x = z\, e^{s} + \mu,\quad s = \frac{r}{1 + |r| / \mathrm{limit}}

Reference:
    Lecture: "Gaussian autoregressive NF", "RealNVP".
"""

from __future__ import annotations

from torch import Tensor


def forward(x: Tensor, mu: Tensor, raw: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """z and log dz/dx = -s, of the shape of x; ``raw`` is r."""
    s = soft_clamp(raw, limit)
    return (x - mu) * (-s).exp(), -s


def inverse(z: Tensor, mu: Tensor, raw: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """x and log dx/dz = s, of the shape of z."""
    s = soft_clamp(raw, limit)
    return z * s.exp() + mu, s


def soft_clamp(raw: Tensor, limit: float) -> Tensor:
    """s = r / (1 + |r| / limit): within (-limit, limit), symmetric about 0, of slope 1 there."""
    return raw / (1 + raw.abs() / limit)
