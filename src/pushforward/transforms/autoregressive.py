"""Autoregressive transforms: the Jacobian is triangular, one direction is parallel and the other sequential."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..nets.made import Masked
from ..numerics import affine
from .base import Transform
from .scalar import Scalar


class Autoregressive(Transform):
    r"""z_j = h(x_j; theta_j(x_{1:j-1}, c)): f in one pass of the network, g feature by feature.

    With a :class:`~pushforward.nets.GraphMLP` a feature reads its parents in a given graph in place of all features
    before it: the Jacobian's zeros are exactly the graph's, and g takes as many passes as the graph is deep.

    Args:
        net: The masked network that gives the parameters: :class:`~pushforward.nets.MADE`, or a
            :class:`~pushforward.nets.GraphMLP`.
        scalar: The scalar map that moves each feature.
        ordering: The order in which features are taken, a permutation of 0 … features-1; natural where not given.
        inversion: ``"incremental"``, feature by feature; or, for very wide events and small batches, ``"jacobi"``:
            whole passes that update all features at once, x ← h⁻¹(z; theta(x)). After k passes the first k features
            (stages of the graph) are exact, so so many passes suffice; they stop when no feature changes by more than
            ``tolerance`` · max(1, abs(x)). With gradients the incremental way is taken.
        tolerance: When the Jacobi passes stop; 0 stops when nothing changes at all, which is exact.
        tails: Where :class:`LogTails` begin that follow at the end; none by default.

    Raises:
        ValueError: ``ordering`` is no permutation of the network's features, ``inversion`` is unknown, or ``tails``
            is not positive.

    Reference:
        Papamakarios, Pavlakou, Murray (2017), arXiv:1705.07057. Lecture: "Gaussian autoregressive NF".
    """

    net: Any  # Any: what runs fast asks for more of it than a Masked has
    order: Tensor | None
    back: Tensor | None

    def __init__(
        self,
        net: Masked,
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
        if net.num_params != scalar.num_params:
            raise ValueError(f"net gives {net.num_params} parameters per feature, but scalar takes {scalar.num_params}")
        if net.inputs != scalar.inputs:
            raise ValueError(f"net reads {net.inputs} numbers of each feature, but scalar gives it {scalar.inputs}")
        if ordering is not None and sorted(int(j) for j in ordering) != list(range(net.features)):
            raise ValueError(f"ordering must be a permutation of 0 to {net.features - 1}, got {list(ordering)}")
        self.net, self.scalar = net, scalar
        self.inversion, self.tolerance, self.tails = inversion, tolerance, tails
        order = None if ordering is None else torch.as_tensor(list(ordering))
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", None if order is None else order.argsort(), persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = reordered(x, self.order)
        z, log_slope = self.scalar(x, self._params(x, context))
        if self.tails is not None:
            z, log_tail = affine.log_tails(z, self.tails)
            log_slope = log_slope + log_tail
        return reordered(z, self.back), log_slope.sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = reordered(z, self.order)
        log_tail = torch.zeros_like(z)
        if self.tails is not None:
            z, log_tail = affine.inverse_log_tails(z, self.tails)
        jacobi = self.inversion == "jacobi" and not torch.is_grad_enabled()
        x, log_slope = (self._by_passes if jacobi else self._by_feature)(z, context)
        return reordered(x, self.back), (log_slope + log_tail).sum(-1)

    def _by_feature(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """x_j = h⁻¹(z_j; theta_j(x_{1:j-1})), j = 1, 2, …: features that are not known yet are 0 meanwhile. Features
        that do not depend on each other are found together."""
        x = log_slope = torch.zeros_like(z)
        for now in self.net.stages():
            found, slope = self.scalar.inverse(z, self._params(x, context))
            x, log_slope = torch.where(now, found, x), torch.where(now, slope, log_slope)
        return x, log_slope

    def _by_passes(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = torch.zeros_like(z)
        for _ in self.net.stages():
            before = x
            x, log_slope = self.scalar.inverse(z, self._params(before, context))
            change = (x - before).abs() > self.tolerance * x.abs().clamp_min(1)  # false for NaN: it changes no more
            if not bool(change.any()):
                break
        return x, log_slope

    def _params(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.net(self.scalar.read(x), context)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"one pass: forward (density); {len(self.net.stages())} steps: inverse (sampling)"


def reordered(x: Tensor, order: Tensor | None) -> Tensor:
    """The features in another order."""
    return x if order is None else x.index_select(-1, order)
