"""Couplings that preserve volume."""

from __future__ import annotations

from torch import Tensor, nn

from ..numerics.affine import soft_clamp
from .base import Transform
from .splits import Checkerboard, Split


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
        if not limit > 0:
            raise ValueError(f"limit must be positive, got limit={limit}")
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
