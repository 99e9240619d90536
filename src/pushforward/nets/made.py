"""MADE: a masked perceptron, in which the parameters of feature j see only the features before j and the context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import index
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import at_least_one
from ..numerics.torch_internals import repeat
from .mlp import ACTIVATIONS, STRAIGHT, Perceptron, has_context, needed
from .positions import Inverse, rows_of


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
        for k, place in enumerate(_places_of(degrees, features, num_params)):
            self.register_buffer(f"place_{k}", place, persistent=False)

    def stages(self) -> Tensor:
        return torch.eye(self.features, dtype=torch.bool, device=self.get_buffer("mask_0").device)

    def places(self) -> list[Tensor]:
        """The units of each layer that each feature adds to those before."""
        return [self.get_buffer(f"place_{k}") for k in range(len(self.weights) + 1)]

    def in_turn(self, inverse: Inverse, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """x with h(x; theta(x)) = z, and the log-slopes of the inverse, of the shape of z.

        A unit of degree j reads the first j features only. So once x_1 … x_j are known, exactly the units of degree j
        can be computed, then the parameters of the next feature, then that feature: D equal steps, in which every unit
        is computed once, and which together cost about one pass.

        Args:
            inverse: h⁻¹, from z and the parameters to x and log-slopes.
            z: ``(*batch, features)``.
            context: As for :meth:`forward`.
        """
        steps = _Steps(self, rows_of(context, z.shape[:-1]))
        rows = z.reshape(-1, self.features).t()  # (features, n): the batch comes last throughout

        def step(k: Tensor, log_slope: Tensor, *units: Tensor) -> tuple[Tensor, ...]:
            known, theta = steps(k, units)
            here = k.reshape(1)
            x, slope = inverse(rows.index_select(0, here), theta.unsqueeze(1))
            x_known = known[0].index_copy(0, here, x)
            return log_slope.index_copy(0, here, slope), x_known, *known[1:]

        empty = [rows.new_zeros(self.features * width, rows.shape[1]) for width in (1, *steps.widths[:-1])]
        log_slope, x, *_ = repeat(self.features, step, torch.zeros_like(empty[0]), *empty)
        return x.t().reshape(z.shape), log_slope.t().reshape(z.shape)


class _Steps:
    """The parameters of each layer, cut into D equal parts: weights ``(D, width, inputs)``, biases ``(D, width, 1 or
    n)``. Each degree's units are padded to the same number, so a compiler sees one step and not D of them."""

    def __init__(self, net: MADE, context: Tensor | None) -> None:
        self.residual, self.straight, self.activation = net.residual, net.straight, ACTIVATIONS[net.activation]
        places = net.places()
        self.widths = [place.shape[1] for place in places[1:]]
        self.weights, self.biases = [], []
        for k, (weight, bias) in enumerate(net.layers()):
            rows, columns = places[k + 1].flatten(), places[k].flatten()
            whole = F.pad(weight, (0, 1, 0, 1)).index_select(0, rows).index_select(1, columns)
            shift = bias[:, None]
            if k == 0 and net.context_weight is not None:
                shift = shift + F.linear(net.context_weight, needed(context, net.context_weight))
            self.weights.append(whole.unflatten(0, (net.features, -1)))
            self.biases.append(F.pad(shift, (0, 0, 0, 1)).index_select(0, rows).unflatten(0, (net.features, -1)))

    def __call__(self, k: Tensor, units: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """The inputs of each layer with those of step k, and the parameters of feature k, ``(num_params, n)``."""
        here, known, stream = k.reshape(1), list(units), None
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = weight.index_select(0, here)[0] @ known[layer] + bias.index_select(0, here)[0]
            if layer == len(self.weights) - 1:
                break
            if self.residual and layer % 2 == 0:
                h = stream = h if stream is None else stream + h
            h = STRAIGHT * h if layer + 1 == self.straight else self.activation(h)
            width = self.widths[layer]
            rows = k * width + torch.arange(width, device=k.device)
            known[layer + 1] = known[layer + 1].index_copy(0, rows, h)
        return known, h


def _places_of(degrees: Sequence[Sequence[int]], features: int, num_params: int) -> list[Tensor]:
    """Of the input, of each hidden layer and of the parameters: units by step, ``(features, width)``."""
    first, last = (torch.arange(features * size).view(features, size) for size in (1, num_params))
    return [first, *(_padded(layer, features) for layer in degrees[1:-1]), last]


def _padded(degrees: Sequence[int], features: int) -> Tensor:
    """The units of each degree below ``features``, ``(features, most)``; beyond the last unit where there are fewer."""
    units: list[list[int]] = [[] for _ in range(features)]
    for unit, degree in enumerate(degrees):
        if degree < features:
            units[degree].append(unit)
    most = max(1, *map(len, units))
    return torch.tensor([own + [len(degrees)] * (most - len(own)) for own in units])


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
