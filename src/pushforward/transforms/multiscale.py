"""Images as patches, wavelets and cosines; multi-scale flows: squeeze, transform, factor out half of the channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..nets.pixelcnn import as_batch
from .base import Transform, check_event
from .compose import plan


class Squeeze(Transform):
    r"""(C, H, W) to (4C, H/2, W/2): every 2 x 2 block of pixels becomes 4 channels. :math:`\log|\det| = 0`.

    Args:
        shape: (C, H, W) of the event, to check it at construction.

    Raises:
        ValueError: the height or the width of ``shape`` is odd.

    Reference:
        Dinh, Sohl-Dickstein, Bengio (2017), arXiv:1605.08803.
    """

    event_dim = 3

    def __init__(self, shape: Sequence[int] | None = None) -> None:
        super().__init__()
        if shape is not None:
            check_squeezes(shape, 1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.dim() < 3 or x.shape[-1] % 2 or x.shape[-2] % 2:
            raise ValueError(f"x must be images of even height and width, got a batch {tuple(x.shape)}")
        blocks = x.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2))  # (C, H/2, 2, W/2, 2)
        return blocks.movedim(-3, -4).movedim(-1, -3).flatten(-5, -3), x.new_zeros(x.shape[:-3])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if z.dim() < 3 or z.shape[-3] % 4:
            raise ValueError(f"z must be images with channels in fours, got a batch {tuple(z.shape)}")
        blocks = z.unflatten(-3, (-1, 2, 2))  # (C, 2, 2, H/2, W/2)
        return blocks.movedim(-3, -1).movedim(-4, -3).flatten(-2).flatten(-3, -2), z.new_zeros(z.shape[:-3])


def possible_squeezes(shape: Sequence[int]) -> int:
    """How many times height and width of (C, H, W) can both be halved."""
    times = 0
    while all(side % 2 ** (times + 1) == 0 for side in shape[1:]):
        times += 1
    return times


def check_squeezes(shape: Sequence[int], times: int) -> None:
    """Checks that an image can be halved that many times.

    Raises:
        ValueError: it cannot, or the shape is not that of an image; the message says how often it can.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"shape must be (channels, height, width), got {tuple(shape)}")
    possible = possible_squeezes(shape)
    if times > possible:
        multiple = 2**times
        height, width = (-(-side // multiple) * multiple for side in shape[1:])
        fewer = f"use levels={possible} at most, or " if possible else ""
        raise ValueError(
            f"an image of {shape[1]} x {shape[2]} can be halved {possible} times, but levels={times} was asked for: "
            f"{fewer}resize the images to {height} x {width}"
        )


class Patches(Transform):
    r"""(C, H, W) to a vector: the patches in raster order, each of C · patch² numbers. :math:`\log|\det| = 0`.

    Args:
        shape: (C, H, W) of the images.
        patch: Side of a patch.

    Raises:
        ValueError: ``shape`` is not that of an image, or ``patch`` does not divide its height and width.

    Reference:
        Zhai et al. (2024), Normalizing flows are capable generative models, arXiv:2412.06329.
    """

    event_dim = 3
    out_event_dim = 1

    def __init__(self, shape: Sequence[int], patch: int) -> None:
        super().__init__()
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape must be (channels, height, width), got {tuple(shape)}")
        if patch < 1 or shape[1] % patch or shape[2] % patch:
            raise ValueError(f"patch={patch} does not divide the image's height and width, {shape[1]} x {shape[2]}")
        self.shape = self.event_shape = tuple(shape)
        self.patch = patch

    @property
    def out_event_shape(self) -> Sequence[int]:
        return (math.prod(self.shape),)

    @property
    def positions(self) -> int:
        """Number of patches per image."""
        return self.shape[1] // self.patch * (self.shape[2] // self.patch)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        blocks = x.unflatten(-1, (-1, self.patch)).unflatten(-3, (-1, self.patch))  # (C, h, p, w, p)
        return blocks.movedim((-4, -2), (-5, -4)).flatten(-5), x.new_zeros(x.shape[:-3])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        C, H, W = self.shape
        blocks = z.unflatten(-1, (H // self.patch, W // self.patch, C, self.patch, self.patch))
        return blocks.movedim((-5, -4), (-4, -2)).flatten(-4, -3).flatten(-2), z.new_zeros(z.shape[:-1])


class Multiscale(Transform):
    r"""Levels of transforms; after each but the last, half of the channels is factored out and the rest goes on.

    The half factored out, b, is first standardised given the other half, a, by a learned prior (a coupling):
    :math:`p(x) = p(z_a)\, p(z_b \mid a) \ldots`. z is one vector of all pieces, flattened, the coarsest first.

    Args:
        levels: A transform of images for each level, including its squeeze.
        priors: For each level but the last, a transform of its result before half of the channels is factored out.
        pieces: (C, H, W) of the part factored out after each level; for the last level, of its whole result.

    Raises:
        ValueError: the three lists do not fit together.

    Reference:
        Dinh, Sohl-Dickstein, Bengio (2017), arXiv:1605.08803; Kingma, Dhariwal (2018), arXiv:1807.03039.
    """

    event_dim = 3
    out_event_dim = 1

    def __init__(
        self, levels: Sequence[Transform], priors: Sequence[Transform], pieces: Sequence[Sequence[int]]
    ) -> None:
        super().__init__()
        if not len(levels) == len(priors) + 1 == len(pieces):
            raise ValueError(
                f"{len(levels)} levels need one prior fewer and as many pieces, got {len(priors)} and {len(pieces)}"
            )
        self.levels: Any = nn.ModuleList(levels)  # Any: a ModuleList's items are untyped
        self.priors: Any = nn.ModuleList(priors)
        self.pieces = [torch.Size(piece) for piece in pieces]

    @property
    def out_event_shape(self) -> Sequence[int]:
        return (sum(piece.numel() for piece in self.pieces),)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        (size,) = self.out_event_shape
        if x.dim() < 3 or x.shape[-3:].numel() != size:
            raise ValueError(f"images of this transform have {size} numbers each, got a batch {tuple(x.shape)}")
        x, context, batch = as_batch(x, context)
        total, pieces = x.new_zeros(x.shape[:1]), []
        for level, prior in zip(self.levels[:-1], self.priors, strict=True):
            for transform in plan((level, prior), x):
                x, logdet = transform(x, context)
                total = total + logdet
            x, leaves = x.tensor_split(2, 1)
            pieces.append(leaves.flatten(1))
        x, logdet = self.levels[-1](x, context)
        z = torch.cat([x.flatten(1), *reversed(pieces)], 1)
        return z.reshape(*batch, z.shape[1]), (total + logdet).reshape(batch)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_event(z, self.out_event_shape)
        z, context, batch = as_batch(z, context, event_dim=1)
        shapes = self.pieces[::-1]
        pieces = [p.unflatten(1, s) for p, s in zip(z.split([s.numel() for s in shapes], 1), shapes, strict=True)]
        x, total = self.levels[-1].inverse(pieces[0], context)
        for level, prior, piece in zip(self.levels[-2::-1], reversed(self.priors), pieces[1:], strict=True):
            x = torch.cat([x, piece], 1)
            for transform in reversed(plan((level, prior), x)):
                x, logdet = transform.inverse(x, context)
                total = total + logdet
        return x.reshape(*batch, *x.shape[1:]), total.reshape(batch)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h, flat, _ = as_batch(x, context)
        for level, prior in zip(self.levels[:-1], self.priors, strict=True):
            h = prior.initialize(level.initialize(h, flat), flat).tensor_split(2, 1)[0]
        self.levels[-1].initialize(h, flat)
        return self.forward(x, context)[0]


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
