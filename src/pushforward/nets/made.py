"""MADE: a masked perceptron, in which the parameters of feature j see only the features before j and the context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import index
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import at_least_one
from .in_turn import Inverse, in_turn, places_of
from .mlp import Perceptron, has_context


class Masked(Perceptron):
    r"""A perceptron with masked weights, W ∘ M, whose outputs are the parameters of the features in turn.

    Args:
        widths: Widths of the input, of each hidden layer and of the output.
        masks: M of each layer, ``(out, in)``, boolean.
        features: Features that get parameters.
        num_params: Parameters for each of them.
        options: ``context``, ``residual`` and ``activation``, as for :class:`~pushforward.nets.MLP`.
    """

    inputs: int = 1  # inputs per feature

    def __init__(
        self, widths: Sequence[int], masks: Sequence[Tensor], features: int, num_params: int, **options: Any
    ) -> None:
        super().__init__(widths, **options)
        self.features, self.num_params = features, num_params
        for k, mask in enumerate(masks):
            self.register_buffer(f"mask_{k}", mask, persistent=False)
            if k < len(masks) - 1:  # uniform within 1/sqrt(fan-in), where the mask reduces the fan-in
                nn.init.uniform_(self.weights[k], -1, 1)
                self.weights[k].data *= mask.sum(1, keepdim=True).clamp_min(1).rsqrt()

    def stages(self) -> Tensor:
        """The features that can be solved together, stage by stage: boolean, ``(stages, features)``."""
        raise NotImplementedError

    def masks(self) -> list[Tensor]:
        """M of each layer, ``(out, in)``."""
        found = []
        for k in range(len(self.weights)):
            found.append(getattr(self, f"mask_{k}"))
        return found

    def layers(self) -> Iterator[tuple[Tensor, Tensor]]:
        masked = []
        for weight, mask in zip(self.weights, self.masks(), strict=True):
            masked.append(weight * mask)
        return zip(masked, self.biases, strict=True)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.outputs(x, context).unflatten(-1, (self.features, self.num_params)).movedim(-1, 0)


class MADE(Masked):
    r"""Maps ``(*batch, features)`` and a context to parameters ``(num_params, *batch, features)``, masked.

    Every unit has a degree: input feature j (counted from 0) has j + 1, hidden units have the degrees that any feature
    needs, spread evenly, and the parameters of feature j have j. A unit reads the units of at most its own degree,

    .. math:: h = (W \circ M)\, x + b, \qquad M_{ik} = [\deg k \le \deg i],

    and hidden units are sorted by degree, so every mask is lower triangular in blocks. The context has degree 0 and
    reaches every output. Starts at exactly zero.

    Args:
        features: Features of an event, in their natural order.
        num_params: Parameters for each feature.
        context: Features of the context.
        hidden: Widths of the hidden layers; each needs a unit of every degree.
        residual: As for :class:`~pushforward.nets.MLP`.
        inputs: Numbers read per feature; x is then ``(*batch, features · inputs)``.
        activation: As for :class:`~pushforward.nets.MLP`.

    Raises:
        ValueError: a size is below 1, a hidden layer is too narrow to see every feature, or as for
            :class:`~pushforward.nets.MLP`.

    Reference:
        Germain et al. (2015), MADE, arXiv:1502.03509. Lecture: "Autoregressive MLP".
    """

    def __init__(
        self,
        features: int,
        num_params: int,
        *,
        context: int = 0,
        hidden: Sequence[int] = (128, 128),
        residual: bool | str = False,
        inputs: int = 1,
        activation: str = "relu",
    ) -> None:
        features, num_params, context, inputs = map(index, (features, num_params, context, inputs))
        hidden = tuple(map(index, hidden))  # a forged file may hold tensors here, and arithmetic with them is very slow
        _check(features, num_params, context, hidden)
        widths = [features * inputs, *hidden, features * num_params]
        degrees = _degrees(features, num_params, context, hidden, inputs)
        masks = [torch.tensor(rows)[:, None] >= torch.tensor(columns) for columns, rows in pairwise(degrees)]
        super().__init__(widths, masks, features, num_params, context=context, residual=residual, activation=activation)
        self.degrees, self.inputs = degrees, inputs
        for k, place in enumerate(places_of(degrees, features, num_params)):
            self.register_buffer(f"place_{k}", place, persistent=False)

    def stages(self) -> Tensor:
        return torch.eye(self.features, dtype=torch.bool, device=self.get_buffer("mask_0").device)

    def places(self) -> list[Tensor]:
        """The units of each layer that each feature adds to those before; see :mod:`.in_turn`."""
        return [self.get_buffer(f"place_{k}") for k in range(len(self.weights) + 1)]

    def in_turn(self, inverse: Inverse, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """x with h(x; theta(x)) = z and log-slopes, feature by feature; see :mod:`.in_turn`."""
        return in_turn(self, inverse, z, context)


def _degrees(
    features: int, num_params: int, context: int, hidden: tuple[int, ...], inputs: int
) -> tuple[tuple[int, ...], ...]:
    """Degrees of the input, of each hidden layer (spread evenly) and of the parameters, feature by feature."""
    lowest = 0 if context else 1
    kinds = max(features - lowest, 1)  # degrees lowest … features - 1
    read = tuple(j + 1 for j in range(features) for _ in range(inputs))
    within = (tuple(lowest + unit * kinds // units for unit in range(units)) for units in hidden)
    return read, *within, tuple(j for j in range(features) for _ in range(num_params))


def _check(features: int, num_params: int, context: int, hidden: tuple[int, ...]) -> None:
    at_least_one(features=features, num_params=num_params)
    needed = max(features - (0 if has_context(context) else 1), 1)
    if min(hidden, default=needed) < needed:
        raise ValueError(
            f"hidden={hidden} is too narrow: with features={features} and context={context} every hidden layer "
            f"needs at least {needed} units, or some features would silently be ignored"
        )
