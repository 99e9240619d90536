"""Bijections between constrained events and the whole space: bounds, ordered vectors, the simplex, blocks of features.

Charts of matrices and spheres are in ``matrices.py`` and ``sphere.py``.

All map data to noise: x obeys the constraint, z is free. :func:`support` builds one from
``torch.distributions.constraints``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from .base import Transform, Where, in_blocks
from .elementwise import Elementwise, Identity, Log
from .matrices import LowerCholesky, MatrixChart, PositiveDefinite, UnitCholesky
from .sphere import Sphere

MATRICES: dict[Any, type[MatrixChart]] = {
    constraints.positive_definite: PositiveDefinite,
    constraints.lower_cholesky: LowerCholesky,
    constraints.corr_cholesky: UnitCholesky,
}


class Above(Elementwise):
    """z = log(x - low), for data above a bound.

    Args:
        low: The bound.
        event_dim: Trailing dimensions of one event.
    """

    def __init__(self, low: float, event_dim: int = 1) -> None:
        super().__init__(event_dim)
        self.low = low

    @property
    def domain(self) -> Any:
        return constraints.greater_than(self.low)

    def f(self, x: Tensor) -> Tensor:
        return (x - self.low).log()

    def g(self, z: Tensor) -> Tensor:
        return z.exp() + self.low

    def log_slope(self, x: Tensor, z: Tensor) -> Tensor:
        return -z


class Below(Elementwise):
    """z = -log(high - x), for data below a bound.

    Args:
        high: The bound.
        event_dim: Trailing dimensions of one event.
    """

    def __init__(self, high: float, event_dim: int = 1) -> None:
        super().__init__(event_dim)
        self.high = high

    @property
    def domain(self) -> Any:
        return constraints.less_than(self.high)

    def f(self, x: Tensor) -> Tensor:
        return -(self.high - x).log()

    def g(self, z: Tensor) -> Tensor:
        return self.high - (-z).exp()

    def log_slope(self, x: Tensor, z: Tensor) -> Tensor:
        return z


class Between(Elementwise):
    r"""Data between two bounds: :math:`x = \mathrm{low} + (\mathrm{high} - \mathrm{low})\,\Phi(z)`.

    The normal distribution function maps normal noise to a uniform variable between the bounds, so a density that does
    not vanish at a bound has normal tails in z. With a logit its tails would be exponential, which a flow with a normal
    base cannot match, and importance weights would have infinite variance.

    Args:
        low: The lower bound.
        high: The upper bound.
        event_dim: Trailing dimensions of one event.

    Raises:
        ValueError: ``low`` is not below ``high``.
    """

    def __init__(self, low: float, high: float, event_dim: int = 1) -> None:
        super().__init__(event_dim)
        if not low < high:
            raise ValueError(f"low must be below high, got {low} and {high}")
        self.low, self.width = low, high - low

    @property
    def domain(self) -> Any:
        return constraints.interval(self.low, self.low + self.width)

    def f(self, x: Tensor) -> Tensor:
        return torch.special.ndtri((x - self.low) / self.width)

    def g(self, z: Tensor) -> Tensor:
        return self.low + self.width * torch.special.ndtr(z)

    def log_slope(self, x: Tensor, z: Tensor) -> Tensor:
        return 0.5 * z.square() + 0.5 * math.log(2 * math.pi) - math.log(self.width)


class Ordered(Transform):
    r"""Increasing vectors :math:`x_1 < x_2 < \dots`: z holds the first value and the logarithms of the gaps.

    .. math:: z_1 = x_1,\; z_j = \log(x_j - x_{j-1}),\quad \log|\det| = -\sum_{j > 1} z_j
    """

    domain = Where(lambda x: (x.diff(dim=-1) > 0).all(-1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        gaps = x.diff(dim=-1).log()
        return torch.cat([x[..., :1], gaps], -1), -gaps.sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        gaps = z[..., 1:]
        return torch.cat([z[..., :1], gaps.exp()], -1).cumsum(-1), gaps.sum(-1)


class StickBreaking(Transform):
    r"""The simplex: K positive numbers that sum to 1, from K - 1 free ones. Each x takes a share v of the remainder.

    .. math:: x_k = v_k \left(1 - \sum_{j<k} x_j\right),\quad v_k = \sigma(z_k - \log(K - k)),\; k < K

    so that z = 0 is the centre. The simplex has no volume in K dimensions: densities are with respect to the first K -
    1 coordinates, as in Stan and in ``torch.distributions`` (as is a Dirichlet's log_prob).
    """

    domain = constraints.simplex

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        left = x.flip(-1).cumsum(-1).flip(-1)[..., 1:]  # the remainder after each of the first K - 1
        y = x[..., :-1].log() - left.log()  # logit of v
        return y + self._offset(y), -self._log_slope(y)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = z - self._offset(z)
        kept = F.logsigmoid(-y).cumsum(-1)  # log of the remainder after each
        before = F.pad(kept[..., :-1], (1, 0))
        return torch.cat([F.logsigmoid(y) + before, kept[..., -1:]], -1).exp(), self._log_slope(y)

    def _offset(self, y: Tensor) -> Tensor:
        return torch.arange(y.shape[-1], 0, -1, dtype=y.dtype, device=y.device).log()

    def _log_slope(self, y: Tensor) -> Tensor:
        """log|det dx/dz|: the sum of log v_k (1 - v_k) and of the logarithm of the remainder that it is taken from."""
        kept = F.logsigmoid(-y)
        return (F.logsigmoid(y) + kept + kept.cumsum(-1) - kept).sum(-1)


class Blocks(Transform):
    """A separate map for each block of features, such as posterior parameters with different supports.

    Args:
        maps: One transform of vectors for each block, in order.
        sizes: How many features of x each block has.
        noise_sizes: How many features of z each block has; by default as many as of x.

    Raises:
        ValueError: the lists are empty or differ in length, a map does not act on vectors, or a size is below 1.
    """

    def __init__(
        self, maps: Sequence[Transform], sizes: Sequence[int], noise_sizes: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        noise_sizes = sizes if noise_sizes is None else noise_sizes
        if not maps or not len(maps) == len(sizes) == len(noise_sizes):
            raise ValueError(f"got {len(maps)} maps for {len(sizes)} sizes and {len(noise_sizes)} noise_sizes")
        if any(part.event_dim != 1 for part in maps) or min(*sizes, *noise_sizes) < 1:
            raise ValueError(f"every block needs a transform of rows and a positive size, got sizes {list(sizes)}")
        self.maps: Any = nn.ModuleList(maps)  # Any: a ModuleList's items are untyped
        self.sizes, self.noise_sizes = list(sizes), list(noise_sizes)

    @property
    def domain(self) -> Any:
        return in_blocks([part.domain for part in self.maps], self.sizes)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _join([part(block) for part, block in zip(self.maps, x.split(self.sizes, -1), strict=True)])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        parts = zip(self.maps, z.split(self.noise_sizes, -1), strict=True)
        return _join([part.inverse(block) for part, block in parts])


def _join(results: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    values, logdets = zip(*results, strict=True)
    return torch.cat(values, -1), torch.stack(logdets).sum(0)


def support(*blocks: tuple[Any, int]) -> Blocks:
    """The map from events whose blocks obey constraints to the whole space.

    Args:
        blocks: For each block, in order, its constraint from ``torch.distributions.constraints`` (or any transform of
            vectors, such as :class:`Ordered`) and its number of features.

    Returns:
        The transform from data to noise. A simplex of K features has K - 1 in the noise; an n x n matrix is given as
        n^2 features, row by row, of which the lower triangle is free.

    Raises:
        ValueError: there is no map for a constraint, or a size does not fit it.

    Example:
        >>> from torch.distributions import constraints
        >>> supported = support((Ordered(), 2), (constraints.positive, 2), (constraints.unit_interval, 1))
        >>> supported.inverse(torch.zeros(5))[0]
        tensor([0.0000, 1.0000, 1.0000, 1.0000, 0.5000])
    """
    maps = [_from_constraint(constraint, size) for constraint, size in blocks]
    sizes = [size for _, size in blocks]
    noise_sizes = [_free(part, size) for part, size in zip(maps, sizes, strict=True)]
    return Blocks(maps, sizes, noise_sizes)


def _free(part: Transform, size: int) -> int:
    """How many numbers of z belong to a block of ``size`` numbers of x."""
    if isinstance(part, MatrixChart | Sphere):
        expected = part.n**2 if isinstance(part, MatrixChart) else part.n
        if size != expected:
            raise ValueError(f"{type(part).__name__}({part.n}) takes {expected} features, but its block has {size}")
        return part.free
    return size - isinstance(part, StickBreaking)


def _from_constraint(constraint: Any, size: int) -> Transform:
    if isinstance(constraint, Transform):
        return constraint
    if isinstance(constraint, constraints.independent):
        return _from_constraint(constraint.base_constraint, size)
    if constraint is constraints.real:
        return Identity()
    if constraint is constraints.simplex:
        return StickBreaking()
    if constraint in (constraints.positive, constraints.nonnegative):
        return Log()
    if constraint is constraints.unit_interval:
        return Between(0.0, 1.0)
    for kind, chart in MATRICES.items():
        if constraint is kind:
            if math.isqrt(size) ** 2 != size:
                raise ValueError(f"a matrix of n rows has n^2 features, but the block of {constraint} has {size}")
            return chart(math.isqrt(size))
    kinds = type(constraints.greater_than(0.0)), type(constraints.greater_than_eq(0.0))
    if isinstance(constraint, kinds):
        return Above(float(constraint.lower_bound))
    if isinstance(constraint, type(constraints.less_than(0.0))):
        return Below(float(constraint.upper_bound))
    if hasattr(constraint, "lower_bound") and not constraint.is_discrete:
        return Between(float(constraint.lower_bound), float(constraint.upper_bound))
    raise ValueError(
        f"no map to the constraint {constraint}: there are maps to real, positive, nonnegative, greater_than, "
        "less_than, interval, unit_interval, simplex, positive_definite, lower_cholesky and corr_cholesky; there are "
        "Ordered(), Circle(low, high), Sphere(n), Correlation(n) and Polytope(A, b), or give a transform of your own"
    )
