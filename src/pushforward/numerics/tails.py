r"""Logarithmic tails: the identity within a bound b, logarithmic beyond it, with one slope at the bound.

.. math:: z = \bar x\,(1 + \log a),\quad \frac{dz}{dx} = \frac1a,\quad
    \bar x = \min(\max(x, -b), b),\quad a = \max(|x| / b,\, 1)
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def forward(x: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """z and log dz/dx = -log a, of the shape of x."""
    log = (
        F.relu(x.abs() - bound) / bound
    ).log1p()  # log a; a rectifier's slope is 0 at the bound, where a clamp's is 1
    return x.clamp(-bound, bound) * (1 + log), -log


def inverse(z: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """x and log dx/dz = log a, of the shape of z."""
    log = F.relu(z.abs() - bound) / bound
    return z.clamp(-bound, bound) * log.exp(), log
