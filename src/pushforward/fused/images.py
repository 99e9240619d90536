"""Steps of image flows: channels first in memory, couplings as single autograd nodes, all 1x1 convolutions built at
once.

Building the matrix of one 1x1 convolution is a dozen operators on a handful of numbers, so the matrices of neighbouring
convolutions are built together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..numerics.matrices import triangle
from ..numerics.torch_internals import watched
from ..transforms.base import Transform
from ..transforms.convolution import Conv1x1
from ..transforms.coupling import Coupling
from ..transforms.linear import PLU
from ..transforms.scalar import Affine, Spline
from ..transforms.splits import Channel
from . import spline
from .affine import AffineFunction


class ImageSteps:
    """Consecutive transforms of images."""

    def __init__(self, transform: Transform) -> None:
        self.transforms = [transform]

    @classmethod
    def make(cls, transform: Transform, like: Tensor) -> ImageSteps | None:
        """Only for images on the CPU; on a GPU every copy is one more kernel, and channels are best left last."""
        return cls(transform) if _of_images(transform) and like.device.type == "cpu" and like.dim() == 4 else None

    def take(self, transform: Transform) -> bool:
        """Takes in the next transform if it acts on images; returns whether it did."""
        convolutions: list[Any] = [t for t in (*self.transforms, transform) if _can_build(t)]
        size = [len(t.matrix.factors) for t in convolutions]
        if not _of_images(transform) or len(set(size)) > 1:
            return False
        self.transforms.append(transform)
        return True

    def __call__(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._run(x, context, inverse=False)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._run(z, context, inverse=True)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self._run(z, context, inverse=True)[0]

    def _run(self, x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        x = channel_first(x)
        convs = [transform for transform in self.transforms if _can_build(transform)]
        stacked = _stacked(convs) if convs else None
        maps = dict(zip(convs, (_inverses if inverse else _weights)(stacked), strict=True)) if stacked else {}
        total = _logdet(stacked, x) if stacked else x.new_zeros(len(x))
        total = -total if inverse else total
        for transform in reversed(self.transforms) if inverse else self.transforms:
            if transform in maps:
                x = _mix(x, *maps[transform])
            else:
                x, logdet = _step(transform, x, context, inverse)
                total = total + logdet
        return x, total


def _of_images(transform: Transform) -> bool:
    return transform.event_dim == transform.out_event_dim == 3 and not watched(transform)


def _can_build(transform: Transform) -> bool:
    """Whether it is a 1x1 convolution whose matrix is built here: normalised, and stored as P L U."""
    return type(transform) is Conv1x1 and type(transform.matrix) is PLU and transform.norm is not None


def _step(transform: Transform, x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
    if type(transform) is not Coupling or type(transform.scalar) not in (Affine, Spline):
        x, logdet = transform.inverse(x, context) if inverse else transform(x, context)
        return channel_first(x), logdet
    kept, moved = transform.split(x)
    params = channel_first(transform.net(kept, context).transpose(0, 1)).transpose(0, 1)
    moved, log_slope = _moved(transform.scalar, moved, params, inverse)
    if type(transform.split) is Channel:  # same as its join, but along the outermost dimension in memory
        parts = [moved, kept] if transform.split.swap else [kept, moved]
        x = torch.cat([part.movedim(-3, 0) for part in parts]).movedim(0, -3)
    else:
        x = transform.split.join(kept, moved)
    return x, log_slope.sum((-3, -2, -1))


def _moved(scalar: Any, x: Tensor, params: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
    """The scalar map as a single autograd node."""
    if isinstance(scalar, Affine):
        return AffineFunction.apply(x, *params.unbind(), scalar.limit, inverse)  # type: ignore[no-any-return]
    by_channel = x.movedim(-3, 0)
    flat = params.movedim(-3, 0).flatten(2).contiguous()  # (C, 3K - 1, n H W)
    rows = by_channel.flatten(1).contiguous()
    value, log_slope = spline.SplineFunction.apply(rows, flat, scalar.bound, scalar.floor, inverse)
    return (v.view(by_channel.shape).movedim(0, -3) for v in (value, log_slope))  # type: ignore[return-value]


class _Convolutions(NamedTuple):
    """The factors, order and signs of all matrices, and the log-scale and shift of the normalisations before them."""

    factors: Tensor
    order: Tensor
    sign: Tensor
    log_scale: Tensor
    shift: Tensor


def _stacked(convs: list[Any]) -> _Convolutions:
    return _Convolutions(
        torch.stack([conv.matrix.factors for conv in convs]),
        torch.stack([conv.matrix.order for conv in convs]),
        torch.stack([conv.matrix.sign for conv in convs]),
        torch.stack([conv.norm.log_scale for conv in convs]).flatten(1),
        torch.stack([conv.norm.bias for conv in convs]).flatten(1),
    )


def _weights(convs: _Convolutions) -> Iterator[Any]:
    """Weight and bias of each convolution: P L U diag(exp s), and this matrix times the shift."""
    factors, order, sign, log_scale, shift = convs
    upper = triangle(factors, lower=False, sign=sign) * log_scale.exp().unsqueeze(1)
    rows = torch.baddbmm(upper, factors.tril(-1), upper)  # (I + L') U diag(exp s)
    places = order + len(order[0]) * torch.arange(len(order), device=order.device).unsqueeze(1)
    weights = rows.flatten(0, 1).index_select(0, places.flatten()).view_as(rows)
    biases = (weights @ shift.unsqueeze(-1)).squeeze(-1)
    return zip(weights.unbind(), biases.unbind(), strict=True)


def _inverses(convs: _Convolutions) -> Iterator[Any]:
    """The same for the inverses, by substitution."""
    factors, order, sign, log_scale, shift = convs
    permuted = torch.eye(factors.shape[1], dtype=factors.dtype, device=factors.device)[order.argsort(1)]
    upper = triangle(factors, lower=False, sign=sign) * log_scale.exp().unsqueeze(1)
    rows = torch.linalg.solve_triangular(factors, permuted, upper=False, unitriangular=True)
    weights = torch.linalg.solve_triangular(upper, rows, upper=True)
    return zip(weights.unbind(), (-shift).unbind(), strict=True)


def _logdet(convs: _Convolutions, x: Tensor) -> Tensor:
    """Log-determinant of all these convolutions; equal channel counts imply equal pixel counts."""
    per_pixel = (convs.factors.diagonal(dim1=-2, dim2=-1) + convs.log_scale).sum()
    return (per_pixel * (math.prod(x.shape[1:]) // convs.factors.shape[-1])).expand(len(x))


def _mix(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 1x1 convolution of (n, c, h, w), as a matrix product, since channels come first in memory."""
    channels = x.movedim(-3, 0)
    mixed = torch.addmm(bias[:, None], weight, channels.reshape(len(channels), -1))
    return mixed.view(channels.shape).movedim(0, -3)


def channel_first(x: Tensor) -> Tensor:
    """The same images ``(*, C, H, W)`` with the channels outermost in memory; free if they already are."""
    return x.movedim(-3, 0).contiguous().movedim(0, -3)
