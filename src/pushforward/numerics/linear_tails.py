"""Maps of an interval, extended to the whole line."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def linear_tails(
    inner: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, bound: float, slope: float | None = None
) -> tuple[Tensor, Tensor]:
    """The map x to (z, log dz/dx) within [-bound, bound], extended linearly with its slopes at the ends, or with
    ``slope`` if that is known exactly."""
    within = x.clamp(-bound, bound)
    z, log_slope = inner(within)
    return z + (x - within) * (log_slope.exp() if slope is None else slope), log_slope
