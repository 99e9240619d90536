"""Networks over the positions of an event, and their inversion: position by position, all at once, or in blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..saving.config import Configurable

Inverse = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class PositionNet(Configurable):
    """A network over the positions of an event, each of ``size`` numbers, whose parameters can be computed a few
    positions at a time: :meth:`begin` once, then :meth:`extend` with the values one position earlier, and
    :meth:`params` of the result."""

    positions: int
    size: int
    num_params: int
    inputs = 1  # inputs per number
    inner: int  # 0 if the numbers of a position do not see each other

    @property
    def features(self) -> int:
        """Numbers per event."""
        return self.positions * self.size

    def begin(self, batch: int, context: Tensor | None, *, cached: bool) -> Any:
        """The state for :meth:`extend`, for a batch of events with contexts ``(batch, features)``."""
        raise NotImplementedError

    def extend(self, state: Any, previous: Tensor, start: int) -> Tensor:
        """Units of the m positions from ``start`` on, given ``previous``, ``(batch, m, size)``: the numbers one
        position earlier, 0 before the first."""
        raise NotImplementedError

    def params(self, units: Tensor, x: Tensor) -> Tensor:
        """Parameters ``(num_params, batch, m, size)`` of positions with these units and numbers x; each number may see
        those before it."""
        raise NotImplementedError

    def params_of(self, number: int, units: Tensor, x: Tensor) -> Tensor:
        """The parameters of one number of each position, ``(num_params, batch, m)``."""
        raise NotImplementedError

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """``(*batch, features)`` and a context to ``(num_params, *batch, features)``."""
        batch, n = x.shape[:-1], x.shape[:-1].numel()
        rows = x.reshape(n, self.positions, self.size)
        previous = F.pad(rows[:, :-1], (0, 0, 1, 0))
        units = self.extend(self.begin(n, rows_of(context, batch), cached=False), previous, 0)
        params = self.params(units, rows)
        return params.reshape(self.num_params, *batch, self.features)

    def stages(self) -> Tensor:
        """The features that can be solved together, stage by stage: boolean, ``(stages, features)``."""
        together = 1 if self.inner else self.size
        return torch.eye(self.features // together, dtype=torch.bool).repeat_interleave(together, 1)

    def solve(
        self, inverse: Inverse, z: Tensor, context: Tensor | None, block: int, tolerance: float
    ) -> tuple[Tensor, Tensor]:
        """x with h(x; theta(x)) = z, and the log-slopes of the inverse, of the shape of z: block by block of positions,
        each by Jacobi passes.

        A block of one position is exact after one pass; the whole event as one block is plain Jacobi iteration.

        Args:
            inverse: h⁻¹, from z and the parameters to x and log-slopes.
            z: ``(*batch, features)``.
            context: As the network takes it.
            block: Positions per block.
            tolerance: A block is done when no number changes by more than this · max(1, abs(x)).
        """
        batch, n = z.shape[:-1], z.shape[:-1].numel()
        state = self.begin(n, rows_of(context, batch), cached=True)
        previous, found = z.new_zeros(n, 1, self.size), []
        blocks = z.reshape(n, self.positions, self.size).split(block, 1)
        for start, part in zip(range(0, self.positions, block), blocks, strict=True):
            found.append(self._block(inverse, state, part, previous, start, tolerance))
            previous = found[-1][0][:, -1:]
        x, log_slope = (torch.cat(parts, 1).reshape(z.shape) for parts in zip(*found, strict=True))
        return x, log_slope

    def _block(
        self, inverse: Inverse, state: Any, z: Tensor, before: Tensor, start: int, tolerance: float
    ) -> tuple[Tensor, Tensor]:
        """x and log-slopes of one block ``(n, m, size)`` by at most m passes, given the position before it."""
        x = torch.zeros_like(z)
        for passes in range(1, z.shape[1] + 1):
            guess = x
            previous = before if z.shape[1] == 1 else torch.cat([before, guess[:, :-1]], 1)
            x, log_slope = self._within(inverse, self.extend(state, previous, start), z)
            if passes == z.shape[1] or not bool(changes(guess, x, tolerance).any()):
                break
        return x, log_slope

    def _within(self, inverse: Inverse, units: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers of positions ``(n, m, size)``: at once, or one after the other if they see each other."""
        if not self.inner:
            return inverse(z, self.params(units, z))
        x = log_slope = torch.zeros_like(z)
        for number, now in enumerate(torch.eye(self.size, dtype=torch.bool, device=z.device)):
            found, slope = inverse(z[..., number], self.params_of(number, units, x))
            x = torch.where(now, found.unsqueeze(-1), x)
            log_slope = torch.where(now, slope.unsqueeze(-1), log_slope)
        return x, log_slope


def changes(before: Tensor, x: Tensor, tolerance: float) -> Tensor:
    """Where a pass has changed something; false for NaN, which stays NaN."""
    return (x - before).abs() > tolerance * x.abs().clamp_min(1)


def rows_of(context: Tensor | None, batch: Sequence[int]) -> Tensor | None:
    """A context that broadcasts to a batch shape as ``(n, features)``."""
    if context is None:
        return None
    return context.expand(*batch, context.shape[-1]).reshape(math.prod(batch), context.shape[-1])
