"""Couplings: one part of the event is moved given the other, with one network pass in either direction."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from .base import Transform, sum_event
from .scalar import Scalar
from .splits import Alternate, Half, Split


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
        if isinstance(split, Half | Alternate):
            self.event_shape = (split.kept + split.moved,)

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self.split.event_dim

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._couple(self.scalar.forward, x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._couple(self.scalar.inverse, z, context)

    def params(self, kept: Tensor, context: Tensor | None) -> Tensor:
        """The parameters of the moved part, given the kept one: ``(scalar.num_params, *batch, *moved)``."""
        return self.net(self.scalar.read(kept), context)  # type: ignore[no-any-return]

    def _couple(
        self, scalar_map: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], x: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        kept, moved = self.split(x)
        moved, log_slope = scalar_map(moved, self.params(kept, context))
        return self.split.join(kept, moved), sum_event(log_slope, self.split.event_dim)
