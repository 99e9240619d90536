"""The inverse of autoregressive transforms over positions: one after the other, all at once, or in blocks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..nets.attention import PositionNet, rows_of
from .scalar import Scalar


def solve(
    net: PositionNet, scalar: Scalar, z: Tensor, context: Tensor | None, block: int, tolerance: float
) -> tuple[Tensor, Tensor]:
    """x and log-slopes, of the shape of z: blocks of positions one after the other, each by Jacobi passes.

    A block of one position is exact after one pass; the whole event as one block is the Jacobi way.

    Args:
        net: Gives the parameters.
        scalar: The scalar map of each number.
        z: ``(*batch, features)``.
        context: As the network takes it.
        block: Positions of a block.
        tolerance: A block is done when no number changes by more than this · max(1, abs(x)).
    """
    batch, n = z.shape[:-1], z.shape[:-1].numel()
    state = net.begin(n, rows_of(context, batch), cached=True)
    previous, found = z.new_zeros(n, 1, net.size), []
    blocks = z.reshape(n, net.positions, net.size).split(block, 1)
    for start, part in zip(range(0, net.positions, block), blocks, strict=True):
        found.append(_block(net, scalar, state, part, previous, start, tolerance))
        previous = found[-1][0][:, -1:]
    x, log_slope = (torch.cat(parts, 1).reshape(z.shape) for parts in zip(*found, strict=True))
    return x, log_slope


def _block(
    net: PositionNet, scalar: Scalar, state: Any, z: Tensor, before: Tensor, start: int, tolerance: float
) -> tuple[Tensor, Tensor]:
    """x and log-slopes of one block ``(n, m, size)`` by at most m passes, given the position before it."""
    x = torch.zeros_like(z)
    for passes in range(1, z.shape[1] + 1):
        guess = x
        previous = before if z.shape[1] == 1 else torch.cat([before, guess[:, :-1]], 1)
        x, log_slope = _within(net, scalar, net.extend(state, previous, start), z)
        if passes == z.shape[1] or not bool(changes(guess, x, tolerance).any()):
            break
    return x, log_slope


def _within(net: PositionNet, scalar: Scalar, units: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers of positions ``(n, m, size)``: at once, or one after the other where they see each other."""
    if not net.inner:
        return scalar.inverse(z, net.params(units, z))
    x = log_slope = torch.zeros_like(z)
    for number, now in enumerate(torch.eye(net.size, dtype=torch.bool, device=z.device)):
        found, slope = scalar.inverse(z[..., number], net.params_of(number, units, x))
        x = torch.where(now, found.unsqueeze(-1), x)
        log_slope = torch.where(now, slope.unsqueeze(-1), log_slope)
    return x, log_slope


def changes(before: Tensor, x: Tensor, tolerance: float) -> Tensor:
    """Where a pass has changed something; false for NaN, which changes no more."""
    return (x - before).abs() > tolerance * x.abs().clamp_min(1)
