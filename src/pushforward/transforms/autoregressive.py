"""Autoregressive transforms: the Jacobian is triangular, one direction is parallel and the other sequential."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..nets.made import MADE
from ..numerics.affine_layer import Layer, Order, affine_layer
from ..numerics.layout import plain_operations, planes, unplanes
from ..numerics.tails import tame, untame
from .base import Transform
from .scalar import Affine, Scalar


class Autoregressive(Transform):
    r"""z_j = h(x_j; theta_j(x_{1:j-1}, c)): f in one pass, g feature by feature, each hidden unit computed once.

    Args:
        net: The masked network that gives the parameters.
        scalar: The scalar map that moves each feature.
        ordering: The order in which features are taken, a permutation of 0 … features-1; natural where not given.
        inversion: ``"incremental"``, feature by feature; or, for very wide events and small batches, ``"jacobi"``:
            whole passes that update all features at once, x ← h⁻¹(z; theta(x)). After k passes the first k features
            are exact, so at most ``features`` passes are needed; they stop when no feature changes by more than
            ``tolerance`` · max(1, abs(x)). With gradients the incremental way is taken.
        tolerance: When the Jacobi passes stop; 0 stops when nothing changes at all, which is exact.
        tails: Where :class:`LogTails` begin that follow at the end, as one function with the rest; none by default.

    Raises:
        ValueError: ``ordering`` is no permutation of the network's features, ``inversion`` is unknown, or ``tails``
            is not positive.

    Reference:
        Papamakarios, Pavlakou, Murray (2017), arXiv:1705.07057. Lecture: "Gaussian autoregressive NF".
    """

    compiles_inverse = False

    def __init__(
        self,
        net: MADE,
        scalar: Scalar,
        ordering: Sequence[int] | None = None,
        *,
        inversion: str = "incremental",
        tolerance: float = 0.0,
        tails: float | None = None,
    ) -> None:
        super().__init__()
        if inversion not in ("incremental", "jacobi"):
            raise ValueError(f"inversion must be 'incremental' or 'jacobi', got inversion={inversion!r}")
        if tails is not None and not tails > 0:
            raise ValueError(f"tails must be positive, got tails={tails}")
        self.inversion, self.tolerance, self.tails = inversion, tolerance, tails
        if net.num_params != scalar.num_params:
            raise ValueError(f"net gives {net.num_params} parameters per feature, but scalar takes {scalar.num_params}")
        if ordering is not None and sorted(int(j) for j in ordering) != list(range(net.features)):
            raise ValueError(f"ordering must be a permutation of 0 to {net.features - 1}, got {list(ordering)}")
        self.net, self.scalar = net, scalar
        self.compiles_together = scalar.compiles_together
        self._fused = isinstance(scalar, Affine) and isinstance(net, MADE)  # others are called as they are
        order = None if ordering is None else torch.as_tensor(list(ordering))
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", None if order is None else order.argsort(), persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self._fused and not plain_operations():
            net, batch = self.net, x.shape[:-1]
            layer = Layer(net.layers, net.residual, self.scalar.limit, self.tails)
            order = None if self.order is None else Order(self.order, self.back)
            z, logdet = affine_layer(planes(x), layer, net.raw(batch, context), net.masks(), order)
            return unplanes(z, batch), logdet.view(batch)
        x = _take(x, self.order, self.back)
        z, log_slope = self.scalar(x, self.net(x, context))
        if self.tails is not None:
            z, more = tame(z, self.tails)
            log_slope = log_slope + more
        return _take(z, self.back, self.order), log_slope.sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = _take(z, self.order, self.back)
        more: Tensor | None = None
        if self.tails is not None:
            z, more = untame(z, self.tails)
        if self.inversion == "jacobi" and not torch.is_grad_enabled():
            x, log_slope = self._jacobi(z, context)
        else:
            x, log_slope = self.net.invert(z, self.scalar, context)
        log_slope = log_slope if more is None else log_slope + more
        return _take(x, self.back, self.order), log_slope.sum(-1)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        if self.inversion == "jacobi" or torch.is_grad_enabled():
            return self.inverse(z, context)[0]
        z = _take(z, self.order, self.back)
        if self.tails is not None:
            z, _ = untame(z, self.tails)
        return _take(self.net.solve(z, self.scalar, context), self.back, self.order)

    def _jacobi(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = torch.zeros_like(z)
        for _ in range(self.net.features):
            before = x
            x, log_slope = self.scalar.inverse(z, self.net(before, context))
            change = (x - before).abs() > self.tolerance * x.abs().clamp_min(1)  # false for NaN: it changes no more
            if not bool(change.any()):
                break
        return x, log_slope

    def extra_repr(self) -> str:
        return f"parallel: forward (density); sequential: inverse (sampling), {self.net.features} steps"


def _take(x: Tensor, order: Tensor | None, back: Tensor | None) -> Tensor:
    """The features in the given order, which ``back`` undoes; feature-first in memory."""
    rows = planes(x)
    if order is None or back is None:
        return unplanes(rows, x.shape[:-1])
    taken = rows.index_select(0, order) if plain_operations() else _Reordered.apply(rows, order, back)
    return unplanes(taken, x.shape[:-1])


class _Reordered(torch.autograd.Function):
    """Rows in another order. The gradient only undoes it, where that of a selection in general adds up."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Tensor, back: Tensor) -> Tensor:
        ctx.order, ctx.back = order, back
        return rows.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return _Reordered.apply(grad, ctx.back, ctx.order), None, None
