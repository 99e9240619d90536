"""Fixed orthonormal transforms of images: Haar wavelets and the discrete cosine transform. No parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .base import Transform
from .multiscale import Squeeze


class Haar(Transform):
    r"""(C, H, W) to (4C, H/2, W/2): every 2 x 2 block of pixels becomes its mean and three differences.

    .. math:: \tfrac12 (a + b + c + d,\; a - b + c - d,\; a + b - c - d,\; a - b - c + d),\qquad \log|\det| = 0

    for a block with rows (a, b) and (c, d): twice the mean, then the differences along a row, along a column, and along
    the diagonals. The map is orthogonal: a :class:`Squeeze` that also separates coarse from fine.

    Args:
        shape: (C, H, W) of the event, to check it at construction.
        by_wavelet: Put the C means first, then the C differences of each kind, so that a :class:`Multiscale` factors
            out fine detail first; otherwise the four numbers of a channel stay together.

    Raises:
        ValueError: the height or the width of ``shape`` is odd.

    Reference:
        Haar (1910); Ardizzone et al. (2019), Guided image generation with conditional invertible neural networks,
        arXiv:1907.02392.
    """

    event_dim = 3

    def __init__(self, shape: Sequence[int] | None = None, *, by_wavelet: bool = False) -> None:
        super().__init__()
        self.squeeze = Squeeze(shape)
        self.by_wavelet = by_wavelet

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        blocks, logdet = self.squeeze(x)  # the channels of a block: a, b, c, d
        z = _butterfly(blocks.unflatten(-3, (-1, 4)))
        return (z.transpose(-4, -3) if self.by_wavelet else z).flatten(-4, -3), logdet

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        wavelets = z.unflatten(-3, (4, -1)).transpose(-4, -3) if self.by_wavelet else z.unflatten(-3, (-1, 4))
        return self.squeeze.inverse(_butterfly(wavelets).flatten(-4, -3))


def _butterfly(blocks: Tensor) -> Tensor:
    """The 4 x 4 Hadamard matrix over two, along the fourth dimension from the end: it is its own inverse."""
    a, b, c, d = blocks.unbind(-3)
    return 0.5 * torch.stack([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], -3)


class DCT(Transform):
    r"""The two-dimensional discrete cosine transform of every channel, :math:`z = C_h\, x\, C_w^\top`.

    The C are orthonormal (type II), so :math:`\log|\det| = 0` and the inverse is :math:`C_h^\top z\, C_w`. O(h + w) per
    pixel; any height and width. Low frequencies come first in rows and columns.

    Reference:
        Ahmed, Natarajan, Rao (1974), Discrete cosine transform.
    """

    event_dim = 3

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        rows, columns = (_cosines(n, x) for n in x.shape[-2:])
        return rows @ x @ columns.mT, x.new_zeros(x.shape[:-3])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        rows, columns = (_cosines(n, z) for n in z.shape[-2:])
        return rows.mT @ z @ columns, z.new_zeros(z.shape[:-3])


def _cosines(n: int, like: Tensor) -> Tensor:
    r"""The orthonormal discrete cosine transform (type II), (n, n): row k is
    :math:`\sqrt{2/n} \cos(\pi k (2 i + 1) / 2 n)`, and row 0 is constant."""
    number = torch.arange(n, dtype=like.dtype, device=like.device)
    rows = (2 / n) ** 0.5 * (number[:, None] * (2 * number + 1) * (torch.pi / (2 * n))).cos()
    return torch.cat([rows[:1] * 0.5**0.5, rows[1:]])
