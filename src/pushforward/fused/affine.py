"""The affine map of :mod:`pushforward.numerics.affine` as a single autograd node, for networks that are called as
modules.

The backward pass takes five operations, where autograd would record ten; four tensors are kept for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..numerics import affine


class AffineFunction(torch.autograd.Function):
    """Takes a tensor, mu, the raw log-scale, its limit, and whether to invert."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mu: Tensor, raw: Tensor, limit: float, inverse: bool) -> tuple[Tensor, Tensor]:
        sign = 1.0 if inverse else -1.0
        denominator = raw.abs().mul_(sign / limit).add_(sign)
        log_slope = raw / denominator
        scale = log_slope.exp()
        z = torch.addcmul(mu, x, scale) if inverse else (x - mu).mul_(scale)
        ctx.save_for_backward(x, mu, raw, x if inverse else z, scale, denominator)
        ctx.limit, ctx.inverse = limit, inverse
        return z, log_slope

    @staticmethod
    def backward(ctx: Any, z_grad: Tensor, slope_grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, mu, raw, kept, scale, denominator = ctx.saved_tensors
        if torch.is_grad_enabled():  # double backward: only the plain formula is differentiable
            outputs = (affine.inverse if ctx.inverse else affine.forward)(x, mu, raw, ctx.limit)
            grads = torch.autograd.grad(outputs, (x, mu, raw), (z_grad, slope_grad), create_graph=True)
            return *grads, None, None
        x_grad = z_grad * scale
        if ctx.inverse:
            return (
                x_grad,
                z_grad,
                torch.addcmul(slope_grad, x_grad, kept).div_(denominator).div_(denominator),
                None,
                None,
            )
        raw_grad = torch.addcmul(slope_grad, z_grad, kept).div_(denominator).div_(denominator).neg_()
        return x_grad, -x_grad, raw_grad, None, None
