"""Couplings: one part of the event is moved, given the other. One network pass in either direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..nets.mlp import MLP
from ..numerics.affine_chain import Chain, Link, affine_chain
from ..numerics.layout import feature_first, plain_operations, planes, unplanes
from ..saving.config import Described
from .base import Transform
from .elementwise import sum_event
from .scalar import Affine, Scalar


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
        # what is kept and what is moved, where network and map are one function; other networks are called as they are
        self._parts = split.rows if isinstance(scalar, Affine) and isinstance(net, MLP) else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._couple(x, context, inverse=False)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._couple(z, context, inverse=True)

    def joined(self, following: Transform) -> Couplings | None:
        return None if self._parts is None else Couplings([self], self._parts).joined(following)

    def _couple(self, x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        if self._parts is not None and not plain_operations():
            return Couplings([self], self._parts).run(x, context, inverse)
        kept, moved = self.split(x)
        scalar_map = self.scalar.inverse if inverse else self.scalar.forward
        moved, log_slope = scalar_map(moved, self.net(kept, context))
        return self.split.join(kept, moved), sum_event(log_slope, self.event_dim)


class Couplings:
    """Affine couplings of the same two parts of a row, one after the other, as one function."""

    def __init__(self, couplings: Sequence[Any], parts: tuple[slice, slice]) -> None:
        self.couplings, self.parts = couplings, parts

    def __call__(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.run(x, context, inverse=False)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.run(z, context, inverse=True)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.run(z, context, inverse=True)[0]

    def joined(self, following: Transform) -> Couplings | None:
        """These and then another one; None if that is no coupling of the same two parts."""
        if not isinstance(following, Coupling) or following._parts not in (self.parts, self.parts[::-1]):
            return None
        return Couplings([*self.couplings, following], self.parts)

    def run(self, x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        batch = x.shape[:-1]
        links: list[Link] = []
        params: list[Tensor] = []
        for coupling in reversed(self.couplings) if inverse else self.couplings:
            net, moved = coupling.net, int(coupling._parts == self.parts)
            links.append(Link(net.layers, net.residual, coupling.scalar.limit, moved))
            params += net.raw(batch, context)
        z, logdet = affine_chain(planes(x), Chain(self.parts, tuple(links), inverse), params)
        return unplanes(z, batch), logdet.view(batch)
