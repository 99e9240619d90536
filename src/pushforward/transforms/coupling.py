"""Couplings: one part of the event is moved given the other, in one network pass either way; and how it is divided."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import at_least_one, positive
from ..numerics.affine import soft_clamp
from ..saving.config import Configurable
from .base import Transform, sum_event
from .scalar import Scalar


class Split(Configurable):
    """Divides an event into a part that is kept and a part that is moved, and joins them again."""

    event_dim: int = 1

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The kept and the moved part."""
        raise NotImplementedError

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        """The event of these parts."""
        raise NotImplementedError


class InTwo(Split):
    """The first half along a dimension is kept, the second moved; ``swap`` exchanges the roles."""

    dim = -1

    def __init__(self, size: int, swap: bool) -> None:
        super().__init__()
        self.cut, self.swap = size // 2, swap and size > 1
        self.moved = self.cut if self.swap else size - self.cut
        self.kept = size - self.moved

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.tensor_split((self.cut,), self.dim)
        return (second, first) if self.swap else (first, second)

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([moved, kept] if self.swap else [kept, moved], self.dim)


class Half(InTwo):
    """The first half of a vector is kept, the second moved; ``swap`` exchanges the roles. A single feature is moved.

    Args:
        features: Features of an event.
        swap: Keep the second part instead.
    """

    def __init__(self, features: int, swap: bool = False) -> None:
        at_least_one(features=features)
        super().__init__(features, swap)


class Alternate(Split):
    """Every other feature of a vector is kept: the even ones, or with ``swap`` the odd ones. A single feature is moved.

    Args:
        features: Features of an event.
        swap: Keep the odd positions instead.
    """

    back: Tensor

    def __init__(self, features: int, swap: bool = False) -> None:
        super().__init__()
        at_least_one(features=features)
        self.start = 1 if swap or features == 1 else 0
        kept = torch.arange(self.start, features, 2)
        moved = torch.arange(1 - self.start, features, 2)
        self.kept, self.moved = len(kept), len(moved)
        self.register_buffer("back", torch.argsort(torch.cat([kept, moved])), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[..., self.start :: 2], x[..., 1 - self.start :: 2]

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([kept, moved], -1).index_select(-1, self.back)


class Channel(InTwo):
    """The first half of the channels is kept, the second moved; ``swap`` exchanges the roles. Splits the image.

    Args:
        channels: Channels of the image, at least 2.
        swap: Keep the second half instead.

    Raises:
        ValueError: there are fewer than 2 channels.

    Reference:
        Lecture: "RealNVP", image partitioning.
    """

    event_dim, dim = 3, -3

    def __init__(self, channels: int, swap: bool = False) -> None:
        if channels < 2:
            raise ValueError(
                f"channels must be at least 2 to be split, got channels={channels}: squeeze the image first"
            )
        super().__init__(channels, swap)


class Checkerboard(Split):
    """The black squares of a checkerboard are kept, the white moved; ``swap`` exchanges the roles. Masks the image.

    Both parts have the size of the whole image, with zeros in the other's squares. So the network must give zero
    parameters (the identity) wherever ``mask`` is 1: then zeros stay zeros and add nothing to the log-determinant.
    Height and width may be odd.

    Args:
        height: H of the image.
        width: W of the image.
        swap: Keep the white squares instead.

    Raises:
        ValueError: the image has fewer than 2 pixels.

    Reference:
        Lecture: "RealNVP", image partitioning.
    """

    event_dim = 3
    mask: Tensor

    def __init__(self, height: int, width: int, swap: bool = False) -> None:
        super().__init__()
        if height * width < 2 or height < 1:
            raise ValueError(f"a checkerboard needs at least 2 pixels, got an image of {height} x {width}")
        squares = (torch.arange(height)[:, None] + torch.arange(width)) % 2
        self.register_buffer("mask", (squares == int(swap)).float(), persistent=False)  # 1 where x is kept

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept = x * self.mask
        return kept, x - kept

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        return kept + moved


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
