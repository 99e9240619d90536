"""Block neural autoregressive flow: one monotone network for all features, with a block of units for each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import at_least_one
from ..nets.mlp import has_context, of_context, uniform
from ..numerics.affine import soft_clamp
from ..numerics.roots import invert
from .base import Transform

LIMIT = 3.0  # of the log-scale of a unit
MOST_BENT = 0.95  # a unit's slope lies between 1 - MOST_BENT and 1 + MOST_BENT
SPREAD = 2.0  # of the points at which the units of the first layer bend


class _Layer(NamedTuple):
    """One layer, ready for use: ``positive`` holds each block's weights for itself, ``weight`` those for all blocks."""

    positive: Tensor  # (features, out, in)
    weight: Tensor  # (features, out, features, in), zero above the diagonal
    bias: Tensor  # (features, out)
    bend: Tensor | None  # (features, out), None for the last layer


class BlockAutoregressive(Transform):
    r"""One network whose output j is increasing in x_j and free in :math:`x_1, \ldots, x_{j-1}` and the context.

    Each feature has a block of units in every layer. A block's weights for itself are positive, each row :math:`e^{s}`
    times shares that add up to 1; its weights for earlier blocks are free:

    .. math:: h_{k+1} = \sigma_a\bigl((e^{s_k} \operatorname{softmax}(V_k) + B_k)\, h_k + b_k\bigr),\qquad
        \sigma_a(t) = (1 - a)\, t + a \tanh t,\quad |a| < 0.95

    .. math:: \log|\det| = \sum_j \log \frac{\partial z_j}{\partial x_j},

    from the product of the positive blocks and the slopes :math:`1 - a \tanh^2`. As these never vanish, every output
    covers the whole line, unlike with the paper's plain tanh. f is one pass; g solves for the features one after
    another, each as the root of its own block's small network, so that all other weights are used only once. The
    log-scales s are softly clamped to ±3. Starts as exactly the identity, with bends at random points.

    Args:
        features: m, the features of an event.
        context: Features of the context.
        units: Units per feature in each hidden layer.

    Raises:
        ValueError: a size is below 1, or ``units`` is empty.

    Reference:
        De Cao, Titov, Aziz (2019), Block neural autoregressive flow, arXiv:1904.04676.
    """

    sequential = (False, True)

    def __init__(self, features: int, *, context: int = 0, units: Sequence[int] = (16, 16)) -> None:
        super().__init__()
        at_least_one(features=features, units=tuple(units))
        if not units:
            raise ValueError("units is empty: give the units per feature of at least one hidden layer")
        self.features, self.units = features, tuple(units)
        self.event_shape = (features,)
        sizes = list(pairwise([1, *units, 1]))
        shares = [torch.randn(features, rows, columns) for columns, rows in sizes]
        self.shares: Any = nn.ParameterList(shares)
        self.log_scales: Any = nn.ParameterList(torch.zeros(features, rows) for _, rows in sizes)
        self.free: Any = nn.ParameterList(torch.zeros(rows, columns, features, features) for columns, rows in sizes)
        self.bends: Any = nn.ParameterList(torch.zeros(features, rows) for rows in units)
        self.biases: Any = nn.ParameterList(_start_biases(shares))
        self.context_weight = uniform(features * units[0], context, zero=True) if has_context(context) else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h, slope = x.unsqueeze(-1), torch.ones_like(x).unsqueeze(-1)  # (*batch, features, units)
        for k, layer in enumerate(self._layers()):
            features, rows, _, columns = layer.weight.shape
            weight = layer.weight.reshape(features * rows, features * columns)
            h = F.linear(h.flatten(-2), weight).unflatten(-1, (features, rows)) + layer.bias
            if k == 0:
                h = self._with_context(h, context)
            slope = torch.einsum("...fi,foi->...fo", slope, layer.positive)
            if layer.bend is not None:
                h, bent = _bent(h, layer.bend)
                slope = slope * bent
        return h.squeeze(-1), slope.squeeze(-1).log().sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        layers = list(self._layers())
        shift = self._with_context(z.new_zeros(*z.shape, self.units[0]), context)
        z = z.expand(shift.shape[:-1])
        known: list[list[Tensor]] = [[] for _ in layers]  # each layer's inputs, for the features found so far
        log_slope = torch.zeros_like(z[..., 0])
        for j, target in enumerate(z.unbind(-1)):
            block = _Block(layers, known, j, shift[..., j, :])
            x, log_part = invert(block, target)
            for read, found in zip(known, block.values(x), strict=True):
                read.append(found)
            log_slope = log_slope + log_part
        return torch.cat(known[0], -1), log_slope

    def _layers(self) -> list[_Layer]:
        layers = []
        for k, shares in enumerate(self.shares):
            positive = shares.softmax(-1) * soft_clamp(self.log_scales[k], LIMIT).exp().unsqueeze(-1)
            weight = self.free[k].tril(-1) + torch.diag_embed(positive.movedim(0, -1))  # (out, in, features, features)
            bend = MOST_BENT * self.bends[k].tanh() if k < len(self.units) else None
            layers.append(_Layer(positive, weight.permute(2, 0, 3, 1), self.biases[k], bend))
        return layers

    def _with_context(self, h: Tensor, context: Tensor | None) -> Tensor:
        if self.context_weight is None:
            return h
        return h + of_context(context, self.context_weight).unflatten(-1, (self.features, self.units[0]))


class _Block:
    """z_j and its log-slope as a function of x_j, with the contributions of other features in the biases."""

    def __init__(self, layers: Sequence[_Layer], known: Sequence[Sequence[Tensor]], j: int, shift: Tensor) -> None:
        self.positive = [layer.positive[j] for layer in layers]
        self.bends = [None if layer.bend is None else layer.bend[j] for layer in layers]
        self.offsets = [layer.bias[j] for layer in layers]
        if j:
            reads = [torch.cat(list(read), -1) for read in known]
            weights = [layer.weight[j, :, :j].flatten(1) for layer in layers]
            self.offsets = [b + F.linear(h, w) for b, h, w in zip(self.offsets, reads, weights, strict=True)]
        self.offsets[0] = self.offsets[0] + shift

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, slope = x.unsqueeze(-1), torch.ones_like(x).unsqueeze(-1)
        for positive, offset, bend in zip(self.positive, self.offsets, self.bends, strict=True):
            h, slope = F.linear(h, positive) + offset, F.linear(slope, positive)
            if bend is not None:
                h, bent = _bent(h, bend)
                slope = slope * bent
        return h.squeeze(-1), slope.squeeze(-1).log()

    def values(self, x: Tensor) -> list[Tensor]:
        """Each layer's inputs for this feature, ``(*batch, in)``."""
        reads = [x.unsqueeze(-1)]
        for positive, offset, bend in zip(self.positive, self.offsets, self.bends, strict=True):
            if bend is not None:
                reads.append(_bent(F.linear(reads[-1], positive) + offset, bend)[0])
        return reads


def _bent(t: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """(1 - a) t + a tanh t, and its slope."""
    squashed = t.tanh()
    return torch.lerp(t, squashed, a.expand_as(t)), 1 - a * squashed * squashed


def _start_biases(shares: Sequence[Tensor]) -> list[Tensor]:
    """Random biases in the hidden layers, and in the last layer minus their total effect."""
    *hidden, last = shares
    biases, total = [], torch.zeros(len(last), 1)
    for k, raw in enumerate(hidden):
        biases.append(torch.empty(raw.shape[:2]).uniform_(-1, 1) * (SPREAD if k == 0 else 1.0))
        total = torch.einsum("fi,foi->fo", total, raw.softmax(-1)) + biases[-1]
    return [*biases, -torch.einsum("fi,foi->fo", total, last.softmax(-1))]
