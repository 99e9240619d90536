r"""The map that tames tails, and its gradient written out.

.. math:: z = \bar x\,(1 + \log a),\quad \frac{dz}{dx} = \frac1a,\quad
    \bar x = \min(\max(x, -b), b),\quad a = \max(|x| / b,\, 1)

The identity within the bound b, logarithmic beyond it, with one slope at the bound.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .layout import plain_operations


def tame(x: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """z and log dz/dx = -log a, of the shape of x."""
    if plain_operations():
        log = (x.abs().clamp_min(bound) / bound).log()
        return x.clamp(-bound, bound) * (1 + log), -log
    return _Tame.apply(x, bound) if torch.is_grad_enabled() else _tame(x, bound)[:2]


def untame(z: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """x and log dx/dz = log a, of the shape of z."""
    log = z.abs().clamp_min(bound) / bound - 1
    return z.clamp(-bound, bound) * log.exp(), log


def _tame(x: Tensor, bound: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    a = x.abs().clamp_min_(bound).mul_(1 / bound)
    log, clamped = a.log(), x.clamp(-bound, bound)
    return torch.addcmul(clamped, clamped, log), log.neg_(), a, clamped


class _Tame(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> tuple[Tensor, Tensor]:
        z, log_slope, a, clamped = _tame(x, bound)
        ctx.save_for_backward(x, a, clamped)
        ctx.bound = bound
        return z, log_slope

    @staticmethod
    def backward(ctx: Any, z_grad: Tensor, slope_grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        x, a, clamped = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody differentiates the gradient: what was saved must carry a graph
            a = x.abs().clamp_min(ctx.bound) / ctx.bound
        sign = torch.where(a > 1, clamped, 0.0)  # d log a / d x = sign / (b² a)
        return torch.addcmul(z_grad, slope_grad, sign, value=-(ctx.bound**-2)) / a, None
