"""Autoregressive transforms: triangular Jacobian, one direction parallel and the other sequential."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import at_least_one, one_of
from ..nets.made import MADE, Masked
from ..nets.positions import PositionNet, changes
from .base import Transform
from .scalar import Scalar


class Autoregressive(Transform):
    r"""z_j = h(x_j; theta_j(x_{1:j-1}, c)): f in one pass of the network, g feature by feature.

    With a :class:`~pushforward.nets.GraphMLP` a feature reads its parents in a given graph instead of all features
    before it: the Jacobian's zeros are exactly the graph's, and the depth of the graph is the number of passes of g.

    Args:
        net: The masked network that gives the parameters: :class:`~pushforward.nets.MADE`, a
            :class:`~pushforward.nets.GraphMLP`, or a :class:`~pushforward.nets.CausalTransformer`.
        scalar: The scalar map that moves each feature.
        inversion: ``"incremental"``, feature by feature, or position by position with a cache if the network is a
            :class:`~pushforward.nets.CausalTransformer`; or, for very wide events and small batches, ``"jacobi"``:
            whole passes that update all features at once, x ← h⁻¹(z; theta(x)). After k passes the first k features
            (stages of the graph, positions) are exact, so that many passes suffice; they stop when no feature changes
            by more than ``tolerance`` · max(1, abs(x)). Or, in between, ``"blocks"``: blocks of ``block`` positions one
            after the other, each by Jacobi passes. With gradients, inversion is always incremental.
        tolerance: When the Jacobi passes stop; 0 stops when nothing changes at all, which is exact.
        block: Positions per block.

    Features are taken in their own order; for another one put a :class:`Permutation` before and after it.

    Raises:
        ValueError: ``inversion`` is unknown or unsupported by this network, ``block`` is below 1, or the network does
            not fit the scalar map.

    Reference:
        Papamakarios, Pavlakou, Murray (2017), arXiv:1705.07057; over positions: Zhai et al. (2024), arXiv:2412.06329;
        in blocks: Liu, Qin (2025), arXiv:2505.12849. Lecture: "Gaussian autoregressive NF".
    """

    sequential = (False, True)
    net: Any  # Any: the fast room uses more of it than a Masked has

    def __init__(
        self,
        net: Masked | PositionNet,
        scalar: Scalar,
        *,
        inversion: str = "incremental",
        tolerance: float = 0.0,
        block: int = 16,
    ) -> None:
        super().__init__()
        one_of(("incremental", "jacobi", "blocks"), inversion=inversion)
        if inversion == "blocks" and not hasattr(net, "solve"):
            raise ValueError(f"inversion='blocks' is for networks over positions, but net is a {type(net).__name__}")
        at_least_one(block=block)
        if net.num_params != scalar.num_params:
            raise ValueError(f"net gives {net.num_params} parameters per feature, but scalar takes {scalar.num_params}")
        inputs = getattr(net, "inputs", 1)  # a user's network need not define it
        if inputs != scalar.inputs:
            raise ValueError(f"net reads {inputs} numbers of each feature, but scalar gives it {scalar.inputs}")
        self.net, self.scalar = net, scalar
        features = getattr(net, "features", None)  # a user's network need not define it
        self.event_shape = None if features is None else (features,)
        self.inversion, self.tolerance, self.block = inversion, tolerance, block

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_slope = self.scalar(x, self._params(x, context))
        return z, log_slope.sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_slope = self._solve(z, context)
        return x, log_slope.sum(-1)

    @property
    def looped(self) -> bool:
        return self.inversion == "incremental" and isinstance(self.net, MADE) and self.scalar.inputs == 1

    def _solve(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """By the network's own method if it has one, which need not start over for each feature."""
        inversion = "incremental" if torch.is_grad_enabled() else self.inversion
        own = getattr(self.net, "solve", None)
        if own is not None:
            block = {"incremental": 1, "jacobi": self.net.features, "blocks": self.block}[inversion]
            return own(self.scalar.inverse, z, context, block, self.tolerance)  # type: ignore[no-any-return]
        if inversion == "jacobi":
            return self._by_passes(z, context)
        return self.net.in_turn(self.scalar.inverse, z, context) if self.looped else self._by_feature(z, context)

    def _by_feature(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """x_j = h⁻¹(z_j; theta_j(x_{1:j-1})), j = 1, 2, …: features not yet known are set to 0. Features that do not
        depend on each other are solved together."""
        x = log_slope = torch.zeros_like(z)
        for now in self._stages().to(z.device):
            found, slope = self.scalar.inverse(z, self._params(x, context))
            x, log_slope = torch.where(now, found, x), torch.where(now, slope, log_slope)
        return x, log_slope

    def _by_passes(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = torch.zeros_like(z)
        for _ in self._stages().to(z.device):
            before = x
            x, log_slope = self.scalar.inverse(z, self._params(before, context))
            if not bool(changes(before, x, self.tolerance).any()):
                break
        return x, log_slope

    def _params(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.net(self.scalar.read(x), context)  # type: ignore[no-any-return]

    def _stages(self) -> Tensor:
        """The features that are solved together; one by one if a user's network does not define stages."""
        stages = getattr(self.net, "stages", None)
        return torch.eye(self.net.features, dtype=torch.bool) if stages is None else stages()

    def extra_repr(self) -> str:
        return f"one pass: forward (density); {len(self._stages())} steps: inverse (sampling)"
