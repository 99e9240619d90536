"""Maps of an interval, continued to the whole line."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def linear_tails(
    inner: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, bound: float, slope: float | None = None
) -> tuple[Tensor, Tensor]:
    """Within [-bound, bound] the map x to (z, log dz/dx), beyond its ends linear with the slopes that it has there,
    which may be given where they are known exactly."""
    within = x.clamp(-bound, bound)
    z, log_slope = inner(within)
    return z + (x - within) * (log_slope.exp() if slope is None else slope), log_slope
