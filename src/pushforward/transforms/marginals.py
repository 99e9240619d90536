"""A separate monotone map for each feature, fitted by itself: each column comes out standard normal."""

from __future__ import annotations

import torch
from torch import Tensor

from ..numerics.kernel import smooth_distribution
from ..numerics.logs import HALF_LOG_2PI
from ..numerics.spline import bin_inverse, bin_map
from ..numerics.tails import Tail
from ..numerics.torch_internals import transformed
from .base import Transform

STRETCH = 0.5  # of z, in which the slope at the outermost knot becomes that of linear tails
SPACING = 1e-4  # minimal width and height of a bin, relative to an even division


class Marginals(Transform):
    r"""z_j = S_j(x_j) with a fixed monotone spline, close to :math:`\Phi^{-1}(F_j(x_j))` once it is initialised.

    F_j is a kernel estimate of the column's distribution function with the tails of a wide normal
    (:mod:`pushforward.numerics.kernel`). The spline is rational-quadratic between knots evenly spaced in z, and both
    directions have closed forms. Beyond, it is linear with the column's standard deviation, which is for columns that
    have suitable tails already; or logarithmic, so that outliers stay in range. With these maps alone a flow is the
    product of its columns' densities, for which few rows suffice; subsequent layers learn how the columns depend on
    each other. Starts as the identity between -3 and 3; ``initialize(x)`` fits it, and it is not trained.

    Args:
        features: Features of a row.
        knots: Knots of each spline, at least 4.
        linear: Whether it is linear beyond the knots: draws then stay as near as those of a normal.

    Raises:
        ValueError: ``features`` is below 1 or ``knots`` below 4.

    Reference:
        Gregory, Delbourgo (1982), Piecewise rational quadratic interpolation to monotonic data; Nelsen (2006), An
        Introduction to Copulas.
    """

    x: Tensor
    z: Tensor
    slope: Tensor
    spread: Tensor

    def __init__(self, features: int, knots: int = 48, *, linear: bool = False) -> None:
        super().__init__()
        if features < 1 or knots < 4:
            raise ValueError(f"features must be at least 1 and knots at least 4, got {features} and {knots}")
        self.event_shape = (features,)
        even = torch.linspace(-3, 3, knots).repeat(features, 1)
        self.register_buffer("x", even)  # (features, knots)
        self.register_buffer("z", even.clone())
        self.register_buffer("slope", torch.ones_like(even))
        self.linear = linear
        if linear:
            self.register_buffer("spread", torch.ones(features))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        clamped = torch.minimum(torch.maximum(x, self.x[:, 0]), self.x[:, -1])
        left, width, bottom, height, d0, d1 = self._bin(clamped, self.x)
        z, log_slope = bin_map((clamped - left) / width, width, bottom, height, d0, d1)
        beyond = x - clamped
        t, log_tail = self._inward(beyond)
        return z + t.copysign(beyond), torch.where(beyond == 0, log_slope, log_tail).sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        clamped = torch.minimum(torch.maximum(z, self.z[:, 0]), self.z[:, -1])
        left, width, bottom, height, d0, d1 = self._bin(clamped, self.z)
        x, log_slope, _ = bin_inverse(clamped, left, width, bottom, height, d0, d1)
        beyond = z - clamped
        y, log_tail = self._outward(beyond)
        return x + y.copysign(beyond), torch.where(beyond == 0, log_slope, log_tail).sum(-1)

    def _inward(self, beyond: Tensor) -> tuple[Tensor, Tensor]:
        """The distance of z from the knots, and the log-slope there, where x is beyond them."""
        start = self._start(beyond)
        if self.linear:
            return self._tail(start).inward(beyond.abs())
        log = (beyond.abs() / start).log1p()
        return log, -start.log() - log

    def _outward(self, beyond: Tensor) -> tuple[Tensor, Tensor]:
        """The same in the other direction."""
        start = self._start(beyond)
        if self.linear:
            return self._tail(start).outward(beyond.abs())
        return start * beyond.abs().expm1(), start.log() + beyond.abs()

    def _start(self, beyond: Tensor) -> Tensor:
        """dx/dz at the outermost knot on the side of each number."""
        return torch.where(beyond < 0, self.slope[:, 0], self.slope[:, -1]).reciprocal().to(beyond)

    def _tail(self, start: Tensor) -> Tail:
        return Tail(start, start.new_tensor(STRETCH), self.spread.to(start), start.new_zeros(()))

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Fits each column's map.

        Args:
            x: Rows ``(n, features)``, or ``(copies, n, features)``: the same rows at several points of their cells.
        """
        rows = x.reshape(-1, *x.shape[-2:]).double().cpu() if x.dim() > 1 else x[None, None].double().cpu()
        for j in range(rows.shape[-1]):
            for buffer, values in zip((self.x, self.z, self.slope), self._fitted(rows[..., j]), strict=True):
                buffer[j] = values.to(buffer)
            if self.linear and bool((spread := rows[0, :, j].std()) > 0):
                self.spread[j] = spread
        return self(x)[0]

    def _fitted(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Knots for one column ``(copies, n)``, in x and in z, and the slopes there."""
        middle, spread, knots = x.mean(), x.std(), self.x.shape[1]
        if x.shape[1] < 2 or not bool(spread > 0):
            even = torch.linspace(-3, 3, knots, dtype=x.dtype)
            return even + middle, even, torch.ones_like(even)
        u = (x - middle) / spread
        ends = torch.linspace(float(u.min()) - 3, float(u.max()) + 3, 4 * knots, dtype=x.dtype)
        ranks = torch.quantile(u[0, :100_000], torch.linspace(0, 1, 4 * knots, dtype=x.dtype))
        grid = torch.cat([ends, ranks]).unique()
        cdf, density = smooth_distribution(u, grid)
        last = -float(torch.special.ndtri(torch.tensor(0.25 / x.shape[1], dtype=x.dtype)))
        z = torch.linspace(-last, last, knots, dtype=x.dtype)
        u = _interpolate(z, torch.special.ndtri(cdf.clamp(1e-12, 1 - 1e-12)), grid)
        slope = _interpolate(u, grid, density) * (0.5 * z.square() + HALF_LOG_2PI).exp()
        return middle + spread * _apart(u), z, slope.clamp_min(1e-4) / spread

    def _bin(self, v: Tensor, knots: Tensor) -> tuple[Tensor, ...]:
        """Left edge, width, bottom, height and the two slopes of the bin that holds each v between the knots."""
        index = _below(v, knots[:, 1:-1])
        column = torch.arange(len(knots), device=v.device)
        left, bottom = self.x[column, index], self.z[column, index]
        width, height = self.x[column, index + 1] - left, self.z[column, index + 1] - bottom
        return left, width, bottom, height, self.slope[column, index], self.slope[column, index + 1]


def _below(v: Tensor, knots: Tensor) -> Tensor:
    """How many knots ``(features, K)`` lie at or below each v, ``(*batch, features)``."""
    if not torch.compiler.is_compiling() and transformed():  # under vmap, searchsorted warns about the layout
        return (v[..., None] >= knots).sum(-1)
    planes = v.movedim(-1, 0)
    found = torch.searchsorted(knots.to(v).contiguous(), planes.reshape(len(knots), -1).contiguous(), right=True)
    return found.view(planes.shape).movedim(0, -1)


def _interpolate(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The piecewise linear interpolant of y at increasing x."""
    right = torch.searchsorted(x, at.contiguous()).clamp(1, len(x) - 1)
    width = (x[right] - x[right - 1]).clamp_min(1e-300)
    share = ((at - x[right - 1]) / width).clamp(0, 1)
    return torch.lerp(y[right - 1], y[right], share)


def _apart(u: Tensor) -> Tensor:
    """The increasing knots with a minimal gap between any two."""
    room = SPACING * (u[-1] - u[0]) / len(u)
    return u + room * torch.arange(len(u), dtype=u.dtype)
