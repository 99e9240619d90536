"""A perceptron that is a contraction, for residual flows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from ..errors import at_least_one
from ..numerics.contraction import SWISH_SLOPE, spectral_bound, swish_and_slope
from .mlp import Perceptron


class Linearised(NamedTuple):
    """g at given points, with the factors of its Jacobian: J = W_L D_{L-1} … D_1 W_1."""

    value: Tensor  # (*batch, m)
    weights: list[Tensor]  # W_1 … W_L, including the bound on the activation's slope
    slopes: list[Tensor]  # the diagonals of D_1 … D_{L-1}, (*batch, units)

    def jacobian(self) -> Tensor:
        """J, ``(*batch, m, m)``: at the cost of m passes."""
        first, *others = self.weights
        ones = (1,) * (self.value.dim() - 1)
        columns = first.mT.contiguous().unflatten(0, (-1, *ones))  # of J, one after the other: (m, *batch, units)
        for weight, slope in zip(others, self.slopes, strict=True):
            columns = F.linear(columns * slope, weight)
        return columns.movedim(0, -1).expand(*self.value.shape, self.value.shape[-1])

    def right(self, v: Tensor) -> Tensor:
        """J v."""
        first, *others = self.weights
        v = F.linear(v, first)
        for weight, slope in zip(others, self.slopes, strict=True):
            v = F.linear(v * slope, weight)
        return v

    def left(self, v: Tensor) -> Tensor:
        """vᵀ J."""
        first, *others = self.weights
        for weight, slope in zip(reversed(others), reversed(self.slopes), strict=True):
            v = (v @ weight) * slope
        return v @ first


class LipschitzMLP(Perceptron):
    r"""A perceptron g from features to features whose Lipschitz constant in x is at most ``lipschitz`` < 1.

    Each weight is divided by the excess of its spectral norm,

    .. math:: \bar W_k = W_k / \max(1, \sigma(W_k) / c),\qquad c = \mathrm{lipschitz}^{1/L},

    with an upper bound on :math:`\sigma` (:func:`~pushforward.numerics.contraction.spectral_bound`), so the Lipschitz
    bound is guaranteed, and no power-iteration vectors are stored. Activations have slopes of at most 1 (LipSwish). The
    context adds to the first layer, without a constraint. Starts at exactly zero.

    Args:
        features: m, the features of an event.
        context: Features of the context.
        hidden: Widths of the hidden layers.
        lipschitz: The bound, above 0 and below 1.

    Raises:
        ValueError: ``lipschitz`` is outside (0, 1), or a size is below 1.

    Reference:
        Behrmann et al. (2019), arXiv:1811.00995; Chen et al. (2019), arXiv:1906.02735.
    """

    def __init__(
        self, features: int, *, context: int = 0, hidden: Sequence[int] = (128, 128), lipschitz: float = 0.97
    ) -> None:
        if not 0 < lipschitz < 1:
            raise ValueError(
                f"lipschitz must be above 0 and below 1, or x + g(x) may have no inverse, got lipschitz={lipschitz}"
            )
        at_least_one(features=features)
        super().__init__([features, *hidden, features], context=context, residual=False, activation="lipswish")
        self.features, self.lipschitz = features, lipschitz

    def layers(self) -> Iterator[tuple[Tensor, Tensor]]:
        bound = self.lipschitz ** (1 / len(self.weights))
        scaled = (weight / (spectral_bound(weight) / bound).clamp_min(1) for weight in self.weights)
        return zip(scaled, self.biases, strict=True)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.outputs(x, context)

    def linearised(
        self, x: Tensor, context: Tensor | None = None, layers: Sequence[tuple[Tensor, Tensor]] | None = None
    ) -> Linearised:
        """g(x) and its Jacobian as a product; ``layers`` are those of :meth:`layers`, if already known."""
        (weight, bias), *others = self.layers() if layers is None else layers
        weights, slopes, h = [weight], [], F.linear(x, weight, bias)
        if self.context_weight is not None:
            h = h + self.of_context(context)
        for weight, bias in others:
            h, slope = swish_and_slope(h)
            slopes.append(slope)
            weights.append(weight / SWISH_SLOPE)  # the weight is smaller than the batch
            h = F.linear(h, weights[-1], bias)
        return Linearised(h, weights, slopes)
