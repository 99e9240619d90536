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
from .masked_linear import Staircase, by_step
from .scratch import keep, on, take
from .workspace import Columns, plane


def forward(x: Tensor, params: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """z and log dz/dx = -s, of the shape of x; ``params`` holds mu and r, ``(2, *x.shape)``."""
    if plain_operations():
        return plain_forward(x, params, limit)
    return _Forward.apply(x, params, limit) if torch.is_grad_enabled() else _forward(x, params, limit)[:2]


def inverse(z: Tensor, params: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """x and log dx/dz = s, of the shape of z."""
    if plain_operations():
        return plain_inverse(z, params, limit)
    return _Inverse.apply(z, params, limit) if torch.is_grad_enabled() else _inverse(z, params, limit)[:2]


def plain_forward(x: Tensor, params: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """:func:`forward` for compilers and transformations."""
    s = soft_clamp(params[1], limit)
    return (x - params[0]) * (-s).exp(), -s


def plain_inverse(z: Tensor, params: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """:func:`inverse` for compilers and transformations."""
    s = soft_clamp(params[1], limit)
    return z * s.exp() + params[0], s


class Parameters:
    """Memory for mu and r of some rows, as a network writes them, or for their gradients; with all its views."""

    def __init__(self, key: Any, last: Staircase, like: Tensor, columns: Columns) -> None:
        self.key = key
        with torch.inference_mode(False), torch.no_grad():
            self.all = plane(like, last.rows, columns)
            self.mu, self.raw = self.all.unflatten(-2, (last.rows // 2, 2)).unbind(-2)
            self.rows = by_step(last, self.all)
        self.numbers = self.all.numel()

    def release(self) -> None:
        """Gives the memory back: others may overwrite it."""
        keep(self.key, self, self.numbers)


def parameters(last: Staircase, like: Tensor, columns: Columns) -> Parameters:
    """Memory for what a network with this last layer gives for so many columns: some that was released, or new."""
    key = ("parameters", last, columns, *on(like))
    kept = take(key)
    return Parameters(key, last, like, columns) if kept is None else kept


def denominator(raw: Tensor, limit: float, inverse: bool, out: Tensor | None = None) -> Tensor:
    """What r is divided by for the log-slope: 1 + |r| / limit, which gives s, or minus that, for -s."""
    sign = 1.0 if inverse else -1.0
    return torch.abs(raw, out=out).mul_(_constant(sign / limit, raw)).add_(_constant(sign, raw))


def solve(z: Tensor, params: Tensor, limit: float, out: Tensor) -> None:
    """x alone, without a graph, into ``out``."""
    mu, raw = params.unbind()
    bound = _constant(limit, z)
    scale = raw.abs().add_(bound)
    torch.div(raw, scale, out=scale).mul_(bound).exp_()  # s = limit r / (limit + |r|)
    torch.addcmul(mu, z, scale, out=out)


def _constant(number: float, like: Tensor) -> Any:
    """The number as a tensor without dimensions, on the CPU, which is what operators first make of it: on small tensors
    that takes longer than the sum. In half precision it would be rounded, and stays a number."""
    key = (number, like.dtype)
    found = _CONSTANTS.get(key)
    if found is not None:
        return found
    if like.dtype not in (torch.float32, torch.float64) or len(_CONSTANTS) >= 64:
        return number
    with torch.inference_mode(False):
        found = torch.tensor(number, dtype=like.dtype)
    if type(found) is Tensor:  # and none that somebody's dispatch mode made
        _CONSTANTS[key] = found
    return found


_CONSTANTS: dict[tuple[float, torch.dtype], Tensor] = {}


def soft_clamp(raw: Tensor, limit: float) -> Tensor:
    """s = r / (1 + |r| / limit): within (-limit, limit), symmetric about 0, of slope 1 there."""
    return raw / (1 + raw.abs() / limit)


def _forward(x: Tensor, params: Tensor, limit: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    mu, raw = params.unbind()
    divisor = denominator(raw, limit, inverse=False)
    log_slope = raw / divisor
    scale = log_slope.exp()
    return (x - mu).mul_(scale), log_slope, scale, divisor


def _inverse(z: Tensor, params: Tensor, limit: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    mu, raw = params.unbind()
    divisor = denominator(raw, limit, inverse=True)
    log_slope = raw / divisor
    scale = log_slope.exp()
    return torch.addcmul(mu, z, scale), log_slope, scale, divisor


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, params: Tensor, limit: float) -> tuple[Tensor, Tensor]:
        z, log_slope, scale, divisor = _forward(x, params, limit)
        ctx.save_for_backward(x, params, z, scale, divisor)
        ctx.limit = limit
        return z, log_slope

    @staticmethod
    def backward(ctx: Any, z_grad: Tensor, slope_grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, params, z, scale, divisor = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody differentiates the gradient: what was saved must carry a graph
            divisor = -(1 + params[1].abs() / ctx.limit)
            scale = (params[1] / divisor).exp()
            z = (x - params[0]) * scale
            x_grad = z_grad * scale
            return x_grad, torch.stack([-x_grad, -(slope_grad + z_grad * z) / divisor**2]), None
        x_grad = z_grad * scale
        grad = torch.empty_like(params)
        torch.neg(x_grad, out=grad[0])
        raw_grad = torch.addcmul(slope_grad, z_grad, z, out=grad[1])
        raw_grad.div_(divisor.square().neg_())  # d log_slope / dr = -1 / divisor²
        return x_grad, grad, None


class _Inverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, params: Tensor, limit: float) -> tuple[Tensor, Tensor]:
        x, log_slope, scale, divisor = _inverse(z, params, limit)
        ctx.save_for_backward(z, params, scale, divisor)
        ctx.limit = limit
        return x, log_slope

    @staticmethod
    def backward(ctx: Any, x_grad: Tensor, slope_grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        z, params, scale, divisor = ctx.saved_tensors
        if torch.is_grad_enabled():
            divisor = 1 + params[1].abs() / ctx.limit
            scale = (params[1] / divisor).exp()
        z_grad = x_grad * scale
        return z_grad, torch.stack([x_grad, (slope_grad + z_grad * z) / (divisor * divisor)]), None
