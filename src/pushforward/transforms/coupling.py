"""Couplings: one part of the event is moved given the other, with one network pass in either direction."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..errors import positive
from ..numerics.affine import soft_clamp
from .base import Transform, sum_event
from .scalar import Scalar
from .splits import Alternate, Checkerboard, Half, Split


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


class GIN(Transform):
    r"""A volume-preserving affine coupling: the log-scales of the moved part add up to zero.

    .. math:: z_b = (x_b - \mu)\, e^{-s},\quad z_a = x_a,\quad
        s = \tilde s - \operatorname{mean}(\tilde s),\qquad \log|\det| = 0

    with :math:`\mu` and :math:`\tilde s` functions of x_a and the context, the latter softly clamped. A flow of these
    layers changes densities only through its base, whose variances thus tell how much each latent number matters. A
    single moved feature is only shifted.

    Args:
        split: Which part is kept and which is moved; not a :class:`Checkerboard`, whose parts overlap.
        net: Maps the kept part and the context to ``(2, *batch, *moved)``.
        limit: The bound on :math:`|\tilde s|`.

    Raises:
        ValueError: ``limit`` is not positive, or the split is a checkerboard.

    Reference:
        Sorrenson, Rother, Köthe (2020), Disentanglement by nonlinear ICA with general incompressible-flow networks,
        arXiv:2001.04872.
    """

    def __init__(self, split: Split, net: nn.Module, limit: float = 5.0) -> None:
        super().__init__()
        positive(limit=limit)
        if isinstance(split, Checkerboard):
            raise ValueError("split must divide the event, and the parts of a Checkerboard overlap: squeeze the image")
        self.split, self.net, self.limit = split, net, limit

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self.split.event_dim

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, moved = self.split(x)
        mu, s = self._params(kept, context)
        return self.split.join(kept, (moved - mu) * (-s).exp()), x.new_zeros(x.shape[: x.dim() - self.event_dim])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, moved = self.split(z)
        mu, s = self._params(kept, context)
        return self.split.join(kept, moved * s.exp() + mu), z.new_zeros(z.shape[: z.dim() - self.event_dim])

    def _params(self, kept: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        mu, raw = self.net(kept, context).unbind()
        s = soft_clamp(raw, self.limit)
        return mu, s - s.mean(tuple(range(-self.event_dim, 0)), keepdim=True)
