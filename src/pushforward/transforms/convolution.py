"""Invertible convolutions of images: 1 x 1 over the channels, and emerging d x d convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nets.conv import as_images
from ..numerics.layout import by_channel
from ..numerics.matrices import triangle
from .base import Compose, Transform
from .linear import PLU, QR, Linear, Matrix
from .normalization import ActNorm

PARAMETRISATIONS: dict[str, type[Matrix]] = {"full": Linear, "plu": PLU, "qr": QR}


class Conv1x1(Transform):
    r"""z[:, i, j] = W x[:, i, j] at every pixel, with one W over the c channels; optionally after a per-channel
    normalisation, :math:`W \mathrm{diag}(e^s) (x + b)`, which then costs nothing extra.

    .. math:: \log|\det| = h \cdot w \cdot (\log|\det W| + \textstyle\sum s)

    O(c) for the log-determinant with ``"plu"`` and ``"qr"``, O(c^3) with ``"full"``. The inverse makes W⁻¹ once from
    its factors by triangular solves, O(c^3) whatever the image, and is a 1x1 convolution again.

    Args:
        weight: The W to start from, (c, c), or the number of channels c for a random rotation.
        parametrisation: ``"full"`` (:class:`Linear`), ``"plu"`` (:class:`PLU`) or ``"qr"`` (:class:`QR`).
        normalize: Put an :class:`ActNorm` before W and fold it into the same convolution.

    Raises:
        ValueError: the parametrisation is unknown, or W is not square or singular.

    Reference:
        Kingma, Dhariwal (2018), Glow, arXiv:1807.03039. Lecture: "Invertible 1x1 conv".
    """

    event_dim = 3

    def __init__(self, weight: int | Tensor, parametrisation: str = "plu", *, normalize: bool = False) -> None:
        super().__init__()
        if parametrisation not in PARAMETRISATIONS:
            raise ValueError(
                f"parametrisation must be one of {', '.join(PARAMETRISATIONS)}, got parametrisation={parametrisation!r}"
            )
        self.matrix = PARAMETRISATIONS[parametrisation](weight)
        self.norm = ActNorm(len(self.matrix.weight()), event_dim=3) if normalize else None

    def arguments(self) -> dict[str, Any]:
        kinds = {kind: name for name, kind in PARAMETRISATIONS.items()}
        own = {"parametrisation": kinds[type(self.matrix)], "normalize": self.norm is not None}
        return {"weight": self.matrix.arguments()["weight"], **own}

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        weight, bias = self.matrix.weight(), None
        if self.norm is not None:
            weight = weight * self.norm.log_scale.exp().flatten()  # W diag(exp s)
            bias = weight @ self.norm.bias.flatten()
        return _mix(x, weight, bias), self._logdet(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        identity = torch.eye(z.shape[-3], dtype=z.dtype, device=z.device)
        weight, bias = self.matrix.solve(identity).mT, None
        if self.norm is not None:
            weight, bias = weight * (-self.norm.log_scale).exp().view(-1, 1), -self.norm.bias.flatten()
        return _mix(z, weight, bias), -self._logdet(z)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if self.norm is not None:
            self.norm.initialize(x)
        return self.forward(x)[0]

    @torch.no_grad()
    def initialize_inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        if self.norm is not None:
            self.norm.initialize_inverse(self.norm(self.inverse(z)[0])[0])
        return self.inverse(z)[0]

    def joined(self, following: Transform) -> ImageSteps | None:
        return ImageSteps([self]).joined(following) if ImageSteps.can_build(self) else None

    def _logdet(self, x: Tensor) -> Tensor:
        per_pixel = self.matrix.log_abs_det()
        if self.norm is not None:
            per_pixel = per_pixel + self.norm.log_scale.sum()
        return (per_pixel * (x.shape[-2] * x.shape[-1])).expand(x.shape[:-3])


class ImageSteps:
    """Transforms of images one after the other, as a Glow has them, with the matrices of all 1x1 convolutions among
    them built at once: building one is a dozen starts of operators on a handful of numbers."""

    def __init__(self, transforms: Sequence[Any]) -> None:
        self.transforms = transforms
        self.convs = [transform for transform in transforms if isinstance(transform, Conv1x1)]

    @staticmethod
    def can_build(conv: Conv1x1) -> bool:
        """Whether the matrix is one of those that are built here: normalised, and kept as P L U."""
        return isinstance(conv.matrix, PLU) and conv.norm is not None

    def joined(self, following: Transform) -> ImageSteps | None:
        """These and then another one; None if that has nothing in common with them."""
        if following.event_dim != 3 or following.out_event_dim != 3:
            return None
        if isinstance(following, Conv1x1):
            size = self.convs[0].matrix.factors.shape
            if not self.can_build(following) or following.matrix.factors.shape != size:
                return None
        return ImageSteps([*self.transforms, following])

    def __call__(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        factors, order, sign, log_scale, shift = self._parameters()
        upper = triangle(factors, lower=False, sign=sign) * log_scale.exp().unsqueeze(1)  # U diag(exp s)
        rows = torch.baddbmm(upper, factors.tril(-1), upper)  # (I + L') U diag(exp s)
        places = order + len(order[0]) * torch.arange(len(order), device=order.device).unsqueeze(1)
        weights = rows.flatten(0, 1).index_select(0, places.flatten()).view_as(rows)
        biases = weights @ shift.unsqueeze(-1)
        maps = zip(weights.unbind(), biases.squeeze(-1).unbind(), strict=True)
        total = self._logdet(x, factors, log_scale)
        for transform in self.transforms:
            if isinstance(transform, Conv1x1):
                x = _mix(x, *next(maps))
            else:
                x, logdet = transform(x, context)
                total = total + logdet
        return x, total

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        factors, order, sign, log_scale, shift = self._parameters()
        permuted = torch.eye(factors.shape[1], dtype=z.dtype, device=z.device)[order.argsort(1)]
        upper = triangle(factors, lower=False, sign=sign) * log_scale.exp().unsqueeze(1)
        rows = torch.linalg.solve_triangular(factors, permuted, upper=False, unitriangular=True)
        weights = torch.linalg.solve_triangular(upper, rows, upper=True)
        maps = zip(weights.flip(0).unbind(), shift.neg().flip(0).unbind(), strict=True)
        total = -self._logdet(z, factors, log_scale)
        for transform in reversed(self.transforms):
            if isinstance(transform, Conv1x1):
                z = _mix(z, *next(maps))
            else:
                z, logdet = transform.inverse(z, context)
                total = total + logdet
        return z, total

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.inverse(z, context)[0]

    def _parameters(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The factors, order and signs of all matrices, and logarithmic scale and shift of what precedes them."""
        matrices: list[Any] = [conv.matrix for conv in self.convs]
        norms: list[Any] = [conv.norm for conv in self.convs]
        return (
            torch.stack([matrix.factors for matrix in matrices]),
            torch.stack([matrix.order for matrix in matrices]),
            torch.stack([matrix.sign for matrix in matrices]),
            torch.stack([norm.log_scale for norm in norms]).flatten(1),
            torch.stack([norm.bias for norm in norms]).flatten(1),
        )

    def _logdet(self, x: Tensor, factors: Tensor, log_scale: Tensor) -> Tensor:
        """Of all 1x1 convolutions; there are as many pixels at each, because there are as many channels."""
        per_pixel = (factors.diagonal(dim1=-2, dim2=-1) + log_scale).sum()
        pixels = x.shape[-3] * x.shape[-2] * x.shape[-1] // factors.shape[-1]
        return (per_pixel * pixels).expand(x.shape[:-3])


class AutoregressiveConv(Transform):
    r"""A d x d convolution that sees, in raster order, earlier pixels and at the pixel itself earlier channels.

    .. math:: \log|\det| = h \cdot w \cdot \sum_c \log K_{cc},\quad K_{cc} > 0 \text{ the kernel at its centre}

    The Jacobian is triangular. Forward is one masked convolution. The inverse is exact and goes row by row: what the
    rows above contribute is a convolution, and the row itself solves one triangular system of c · w unknowns, the same
    for every row and image. Starts as the identity.

    Args:
        channels: c, the channels of the image.
        size: d, odd, the side of the kernel; d // 2 rows above and d // 2 pixels to either side are seen.
        reverse: The opposite order: later pixels and channels are seen.

    Raises:
        ValueError: ``channels`` is below 1, or ``size`` is even or below 1.

    Reference:
        Hoogeboom, van den Berg, Welling (2019), arXiv:1901.11137. Lecture: "Matrix decompositions".
    """

    event_dim = 3
    mask: Tensor

    def __init__(self, channels: int, size: int = 3, reverse: bool = False) -> None:
        super().__init__()
        if channels < 1 or size < 1 or size % 2 == 0:
            raise ValueError(f"channels must be at least 1 and size odd, got channels={channels} and size={size}")
        self.reach, self.reverse = size // 2, reverse
        self.kernel = nn.Parameter(torch.zeros(channels, channels, self.reach + 1, size))
        self.log_diagonal = nn.Parameter(torch.zeros(channels))
        mask = torch.ones_like(self.kernel)
        mask[:, :, -1, self.reach :] = 0  # of the row itself only the pixels to the left,
        mask[:, :, -1, self.reach] = torch.ones(channels, channels).tril(-1)  # and the channels before
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = F.conv2d(F.pad(self._turn(as_images(x)), self._padding()), self._kernel())
        return self._turn(z).reshape(x.shape), self._logdet(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        images, kernel = self._turn(as_images(z)), self._kernel()
        n, c, _, w = images.shape
        row = self._row_matrix(kernel[:, :, -1:], w)
        solved = [images.new_zeros(n, c, 1, w)] * self.reach
        for i in range(images.shape[2]):
            rest = images[:, :, i]
            if self.reach:
                above = torch.cat(solved[i : i + self.reach], 2)
                rest = rest - F.conv2d(above, kernel[:, :, :-1], padding=(0, self.reach))[:, :, 0]
            x = torch.linalg.solve_triangular(row, rest.mT.flatten(1), upper=True, left=False)
            solved.append(x.view(n, w, c).mT.unsqueeze(2))
        x = self._turn(torch.cat(solved[self.reach :], 2))
        return x.reshape(z.shape), -self._logdet(z)

    def _row_matrix(self, taps: Tensor, width: int) -> Tensor:
        """M of (a row of pixels, each with its channels) M = what the row contributes to itself: upper triangular."""
        c = len(taps)
        units = torch.eye(width * c, dtype=taps.dtype, device=taps.device).view(-1, width, c).mT.unsqueeze(2)
        return F.conv2d(units, taps, padding=(0, self.reach))[:, :, 0].mT.flatten(1)

    def _kernel(self) -> Tensor:
        kernel = self.kernel * self.mask
        centre = kernel[:, :, -1, self.reach] + self.log_diagonal.exp().diag()
        return torch.select_scatter(
            kernel, torch.select_scatter(kernel[:, :, -1], centre, 2, self.reach), 2, self.reach
        )

    def _padding(self) -> tuple[int, int, int, int]:
        return self.reach, self.reach, self.reach, 0

    def _turn(self, images: Tensor) -> Tensor:
        return images.flip(1, 2, 3) if self.reverse else images

    def _logdet(self, x: Tensor) -> Tensor:
        return (self.log_diagonal.sum() * (x.shape[-2] * x.shape[-1])).expand(x.shape[:-3])


class EmergingConv(Transform):
    """Two autoregressive d x d convolutions in opposite orders: together every pixel sees all around it, by a kernel
    of side 2d - 1 that can be inverted exactly.

    Args:
        channels: Channels of the image.
        size: d, odd, the side of each kernel.

    Raises:
        ValueError: as for :class:`AutoregressiveConv`.

    Reference:
        Hoogeboom, van den Berg, Welling (2019), Emerging convolutions, arXiv:1901.11137.
    """

    event_dim = 3

    def __init__(self, channels: int, size: int = 3) -> None:
        super().__init__()
        self.chain = Compose([AutoregressiveConv(channels, size), AutoregressiveConv(channels, size, reverse=True)])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.chain(x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.chain.inverse(z, context)


def _mix(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 1x1 convolution of (*batch, c, h, w), as the matrix product that it is when channels lie first or last."""
    if not by_channel(x):
        return F.linear(x.movedim(-3, -1), weight, bias).movedim(-1, -3)
    planes = x.movedim(-3, 0)
    rows = planes.reshape(len(planes), -1)
    mixed = weight @ rows if bias is None else torch.addmm(bias[:, None], weight, rows)
    return mixed.view(planes.shape).movedim(0, -3)
