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
from .scratch import recycled, scratch


def tame(x: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """z and log dz/dx = -log a, of the shape of x."""
    if plain_operations():
        log = (x.abs().clamp_min(bound) / bound).log()
        return x.clamp(-bound, bound) * (1 + log), -log
    if torch.is_grad_enabled():
        return _Tame.apply(x, bound)
    z, log, _, _ = tame_rows(x, bound)
    return z, log.neg_()


def untame(z: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """x and log dx/dz = log a, of the shape of z."""
    log = z.abs().clamp_min(bound) / bound - 1
    return z.clamp(-bound, bound) * log.exp(), log


def all_within(x: Tensor, bound: float) -> bool:
    """Whether it is known that nothing lies beyond the bound, so that taming changes nothing: looking costs one pass,
    taming and its way back a dozen. On a GPU looking would mean waiting."""
    if x.device.type != "cpu" or not x.numel():
        return False
    low, high = torch.aminmax(x)
    return -bound <= low.item() and high.item() <= bound  # false for NaN


def tame_(x: Tensor, bound: float) -> Tensor:
    """z in the place of x, and log a in scratch memory, without a graph."""
    log = torch.abs(x, out=scratch("tails", x, *x.shape)).clamp_min_(bound).mul_(1 / bound).log_()
    x.clamp_(-bound, bound)
    x.addcmul_(x, log)
    return log


def tame_rows(x: Tensor, bound: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z, log a, a and the clamped x, without a graph, in memory that may stay."""
    a, log, clamped, z = (torch.empty_like(x) if x.dim() != 2 else recycled(x, *x.shape) for _ in range(4))
    torch.abs(x, out=a).clamp_min_(bound).mul_(1 / bound)
    torch.log(a, out=log)
    torch.clamp(x, -bound, bound, out=clamped)
    return torch.addcmul(clamped, clamped, log, out=z), log, a, clamped


def pull_back(grad: Tensor, slope_grad: Tensor, a: Tensor, clamped: Tensor, bound: float) -> Tensor:
    """The gradient of x from those of z, in whose place it comes, and of log dz/dx; without a graph."""
    beyond = torch.mul(clamped, a > 1)  # d log a / d x = x̄ / (b² a) beyond the bound, and 0 within
    return torch.addcmul(grad, slope_grad, beyond, value=-(bound**-2), out=grad).div_(a)


class _Tame(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> tuple[Tensor, Tensor]:
        z, log, a, clamped = tame_rows(x, bound)
        ctx.save_for_backward(x, a, clamped)
        ctx.bound = bound
        return z, log.neg_()

    @staticmethod
    def backward(ctx: Any, z_grad: Tensor, slope_grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        x, a, clamped = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return pull_back(z_grad.clone(), slope_grad, a, clamped, ctx.bound), None
        a = x.abs().clamp_min(ctx.bound) / ctx.bound  # somebody differentiates the gradient: a must carry a graph
        beyond = torch.where(a > 1, clamped, 0.0)
        return torch.addcmul(z_grad, slope_grad, beyond, value=-(ctx.bound**-2)) / a, None
