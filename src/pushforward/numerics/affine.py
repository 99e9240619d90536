r"""The affine scalar map with a softly clamped log-scale, and its gradient written out.

.. math:: z = (x - \mu)\, e^{-s},\quad x = z\, e^{s} + \mu,\quad s = r / (1 + |r| / \mathrm{limit})

Written out, the forward pass keeps three planes and the backward pass takes five operations, where autograd would
record ten.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .layout import plain_operations


def forward(x: Tensor, mu: Tensor, raw: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """z and log dz/dx = -s, of the shape of x."""
    if plain_operations():
        s = raw / (1 + raw.abs() / limit)
        return (x - mu) * (-s).exp(), -s
    return _Forward.apply(x, mu, raw, limit) if torch.is_grad_enabled() else _forward(x, mu, raw, limit)[:2]


def inverse(z: Tensor, mu: Tensor, raw: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """x and log dx/dz = s, of the shape of z."""
    if plain_operations():
        s = raw / (1 + raw.abs() / limit)
        return z * s.exp() + mu, s
    return _Inverse.apply(z, mu, raw, limit) if torch.is_grad_enabled() else _inverse(z, mu, raw, limit)[:2]


def _forward(x: Tensor, mu: Tensor, raw: Tensor, limit: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    denominator = raw.abs().div_(-limit).sub_(1)  # -(1 + |r| / limit), so that the quotient is -s
    log_slope = raw / denominator
    scale = log_slope.exp()
    return (x - mu).mul_(scale), log_slope, scale, denominator


def _inverse(z: Tensor, mu: Tensor, raw: Tensor, limit: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    denominator = raw.abs().div_(limit).add_(1)
    log_slope = raw / denominator
    scale = log_slope.exp()
    return torch.addcmul(mu, z, scale), log_slope, scale, denominator


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mu: Tensor, raw: Tensor, limit: float) -> tuple[Tensor, Tensor]:
        z, log_slope, scale, denominator = _forward(x, mu, raw, limit)
        ctx.save_for_backward(x, mu, raw, z, scale, denominator)
        ctx.limit = limit
        return z, log_slope

    @staticmethod
    def backward(ctx: Any, z_grad: Tensor, slope_grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, mu, raw, z, scale, denominator = ctx.saved_tensors
        if torch.is_grad_enabled():
            s = raw / (1 + raw.abs() / ctx.limit)
            scale, z, denominator = (-s).exp(), (x - mu) * (-s).exp(), -(1 + raw.abs() / ctx.limit)
        x_grad = z_grad * scale
        raw_grad = torch.addcmul(slope_grad, z_grad, z) / (-denominator * denominator)  # d log_slope / dr = -1 / den²
        return x_grad, -x_grad, raw_grad, None


class _Inverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, mu: Tensor, raw: Tensor, limit: float) -> tuple[Tensor, Tensor]:
        x, log_slope, scale, denominator = _inverse(z, mu, raw, limit)
        ctx.save_for_backward(z, raw, scale, denominator)
        ctx.limit = limit
        return x, log_slope

    @staticmethod
    def backward(ctx: Any, x_grad: Tensor, slope_grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        z, raw, scale, denominator = ctx.saved_tensors
        if torch.is_grad_enabled():
            denominator = 1 + raw.abs() / ctx.limit
            scale = (raw / denominator).exp()
        z_grad = x_grad * scale
        raw_grad = torch.addcmul(slope_grad, z_grad, z) / (denominator * denominator)
        return z_grad, x_grad, raw_grad, None
