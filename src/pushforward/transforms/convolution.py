"""Invertible convolutions of images: 1 x 1 over the channels, and emerging d x d convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import one_of
from ..nets.conv import as_images
from .base import Transform
from .compose import Compose
from .linear import PLU, QR, Linear, Matrix
from .normalization import ActNorm
from .svd import SVD, MatrixExponential

PARAMETRISATIONS: dict[str, Callable[[int | Tensor], Matrix]] = {
    "full": Linear,
    "plu": PLU,
    "qr": QR,
    "svd": SVD,
    "exponential": MatrixExponential,
}


class Conv1x1(Transform):
    r"""z[:, i, j] = W x[:, i, j] at every pixel, with one W over the c channels; optionally after a per-channel
    normalisation, :math:`W \mathrm{diag}(e^s) (x + b)`, which then costs nothing extra.

    .. math:: \log|\det| = h \cdot w \cdot (\log|\det W| + \textstyle\sum s)

    O(c) for the log-determinant, O(c^3) with ``"full"``. The inverse computes W⁻¹ once from its factors by triangular
    solves, O(c^3) whatever the image size, and is again a 1x1 convolution.

    Args:
        weight: The initial W, (c, c), or the number of channels c for a random rotation.
        parametrisation: ``"full"`` (:class:`Linear`), ``"plu"`` (:class:`PLU`), ``"qr"`` (:class:`QR`), ``"svd"``
            (:class:`SVD`) or ``"exponential"`` (:class:`MatrixExponential`).
        normalize: Put an :class:`ActNorm` before W and fold it into the same convolution.

    Raises:
        ValueError: the parametrisation is unknown, or W is not square or singular.

    Reference:
        Kingma, Dhariwal (2018), Glow, arXiv:1807.03039. Lecture: "Invertible 1x1 conv".
    """

    event_dim = 3

    def __init__(self, weight: int | Tensor, parametrisation: str = "plu", *, normalize: bool = False) -> None:
        super().__init__()
        one_of(PARAMETRISATIONS, parametrisation=parametrisation)
        self.matrix = PARAMETRISATIONS[parametrisation](weight)
        self.norm = ActNorm(self.matrix.event_shape[0], event_dim=3) if normalize else None

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

    def _logdet(self, x: Tensor) -> Tensor:
        per_pixel = self.matrix.log_abs_det()
        if self.norm is not None:
            per_pixel = per_pixel + self.norm.log_scale.sum()
        return (per_pixel * (x.shape[-2] * x.shape[-1])).expand(x.shape[:-3])


class AutoregressiveConv(Transform):
    r"""A d x d convolution that sees, in raster order, earlier pixels and at the pixel itself earlier channels.

    .. math:: \log|\det| = h \cdot w \cdot \sum_c \log K_{cc},\quad K_{cc} > 0 \text{ the kernel at its centre}

    The Jacobian is triangular. Forward is one masked convolution. The inverse is exact and goes row by row: the
    contribution of the rows above is a convolution, and the row itself solves one triangular system of c · w unknowns,
    the same for every row and image. Starts as the identity.

    Args:
        channels: c, the channels of the image.
        size: d, odd, the side of the kernel; it sees d // 2 rows above and d // 2 pixels to either side.
        reverse: Use the opposite order, and see later pixels and channels.

    Raises:
        ValueError: ``channels`` is below 1, or ``size`` is even or below 1.

    Reference:
        Hoogeboom, van den Berg, Welling (2019), arXiv:1901.11137. Lecture: "Matrix decompositions".
    """

    sequential = (False, True)
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
        mask[:, :, -1, self.reach :] = 0  # in the row itself, only the pixels to the left,
        mask[:, :, -1, self.reach] = torch.ones(channels, channels).tril(-1)  # and the channels before
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = F.conv2d(F.pad(self._turn(as_images(x)), (self.reach, self.reach, self.reach, 0)), self._kernel())
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
        """M with (a row of pixels, each with its channels) M = the row's contribution to itself: upper triangular."""
        c = len(taps)
        units = torch.eye(width * c, dtype=taps.dtype, device=taps.device).view(-1, width, c).mT.unsqueeze(2)
        return F.conv2d(units, taps, padding=(0, self.reach))[:, :, 0].mT.flatten(1)

    def _kernel(self) -> Tensor:
        kernel = self.kernel * self.mask
        centre = kernel[:, :, -1, self.reach] + self.log_diagonal.exp().diag()
        return torch.select_scatter(
            kernel, torch.select_scatter(kernel[:, :, -1], centre, 2, self.reach), 2, self.reach
        )

    def _turn(self, images: Tensor) -> Tensor:
        return images.flip(1, 2, 3) if self.reverse else images

    def _logdet(self, x: Tensor) -> Tensor:
        return (self.log_diagonal.sum() * (x.shape[-2] * x.shape[-1])).expand(x.shape[:-3])


class EmergingConv(Transform):
    """Two autoregressive d x d convolutions in opposite orders: together every pixel sees all around it, with a kernel
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
    """A 1x1 convolution of (*batch, c, h, w)."""
    return F.linear(x.movedim(-3, -1), weight, bias).movedim(-1, -3)
