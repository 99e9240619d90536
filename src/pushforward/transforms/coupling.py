"""Couplings: one part of the event is moved, given the other. One network pass in either direction."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..described import Described
from ..nets.mlp import MLP
from ..numerics.layout import feature_first, plain_operations
from .base import Transform
from .elementwise import sum_event
from .scalar import Scalar


class Split(Described):
    """Divides an event into a part that is kept and a part that is moved, and joins them again."""

    event_dim: int = 1
    rows: tuple[slice, slice] | None = None  # the kept and the moved features of a row, where they are slices

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        raise NotImplementedError


class Half(Split):
    """The first part of a row is kept, the second moved; ``swap`` exchanges the roles. A single feature is moved.

    Args:
        features: Features of a row.
        swap: Keep the second part instead.
    """

    def __init__(self, features: int, swap: bool = False) -> None:
        super().__init__()
        if features < 1:
            raise ValueError(f"features must be at least 1, got features={features}")
        self.cut = features // 2
        self.swap = swap and features > 1
        self.moved = self.cut if self.swap else features - self.cut
        self.kept = features - self.moved
        first, second = slice(0, self.cut), slice(self.cut, features)
        self.rows = (second, first) if self.swap else (first, second)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = feature_first(x).tensor_split((self.cut,), -1)
        return (second, first) if self.swap else (first, second)

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        parts = [moved, kept] if self.swap else [kept, moved]
        if kept.dim() == 2:
            return torch.cat([part.t() for part in parts]).t()
        return torch.cat([part.movedim(-1, 0) for part in parts]).movedim(0, -1)


class Alternate(Split):
    """Every other feature of a row is kept: the even positions, or with ``swap`` the odd ones. A single one is moved.

    Args:
        features: Features of a row.
        swap: Keep the odd positions instead.
    """

    def __init__(self, features: int, swap: bool = False) -> None:
        super().__init__()
        if features < 1:
            raise ValueError(f"features must be at least 1, got features={features}")
        start = 1 if swap or features == 1 else 0
        kept = torch.arange(start, features, 2)
        moved = torch.arange(1 - start, features, 2)
        self.kept, self.moved = len(kept), len(moved)
        self.start = start
        self.rows = (slice(start, None, 2), slice(1 - start, None, 2))
        self.register_buffer("back", torch.argsort(torch.cat([kept, moved])), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = feature_first(x)
        return x[..., self.start :: 2], x[..., 1 - self.start :: 2]

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        joined = torch.cat([kept.movedim(-1, 0), moved.movedim(-1, 0)])
        return joined.index_select(0, self.back).movedim(0, -1)


class Coupling(Transform):
    r"""Moves one part of the event given the other: :math:`z_b = h(x_b;\, \theta(x_a, c)),\; z_a = x_a`.

    One network pass in either direction; the Jacobian is triangular.

    Args:
        split: Which part is kept and which is moved.
        net: Maps the kept part and the context to ``(scalar.num_params, *batch, *moved)``.
        scalar: The scalar map that moves each feature: :class:`Affine`, :class:`Spline`.

    Reference:
        Dinh, Sohl-Dickstein, Bengio (2017), Density estimation using Real NVP, arXiv:1605.08803. Lecture: "RealNVP".
    """

    def __init__(self, split: Split, net: nn.Module, scalar: Scalar) -> None:
        super().__init__()
        self.split, self.net, self.scalar = split, net, scalar
        self.event_dim = split.event_dim
        self.compiles_together = scalar.compiles_together
        self._rows = split.rows if scalar.fused and isinstance(net, MLP) else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._couple(self.scalar.forward, x, context, inverse=False)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._couple(self.scalar.inverse, z, context, inverse=True)

    def _couple(self, scalar_map, x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        if self._rows is not None and not plain_operations():
            return self.scalar.drive(self.net, x, context, *self._rows, inverse=inverse)
        kept, moved = self.split(x)
        moved, log_slope = scalar_map(moved, self.net(kept, context))
        return self.split.join(kept, moved), sum_event(log_slope, self.event_dim)
