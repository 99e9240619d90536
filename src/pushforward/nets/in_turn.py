r"""A masked perceptron feature by feature: a loop in which every unit is computed once.

A unit of degree j reads the first j features only. So once x_1 … x_j are known, exactly the units of degree j can be
computed, then the parameters of the next feature, then that feature: D equal steps, which together cost about one pass.
Each degree's units are padded to the same number, so a compiler sees one step and not D of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..numerics.torch_internals import repeat
from .mlp import ACTIVATIONS, STRAIGHT
from .positions import rows_of

if TYPE_CHECKING:
    from .made import MADE

Inverse = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def in_turn(net: MADE, inverse: Inverse, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """x with h(x; theta(x)) = z, and the log-slopes of the inverse, of the shape of z.

    Args:
        net: The network that gives theta, with one input per feature.
        inverse: h⁻¹, from z and the parameters to x and log-slopes.
        z: ``(*batch, features)``.
        context: As the network takes it.
    """
    steps = _Steps(net, rows_of(context, z.shape[:-1]))
    rows = z.reshape(-1, net.features).t()  # (features, n): the batch comes last throughout

    def step(k: Tensor, log_slope: Tensor, *units: Tensor) -> tuple[Tensor, ...]:
        known, theta = steps(k, units)
        here = k.reshape(1)
        x, slope = inverse(rows.index_select(0, here), theta.unsqueeze(1))
        x_known = known[0].index_copy(0, here, x)
        return log_slope.index_copy(0, here, slope), x_known, *known[1:]

    empty = [rows.new_zeros(net.features * width, rows.shape[1]) for width in (1, *steps.widths[:-1])]
    log_slope, x, *_ = repeat(net.features, step, torch.zeros_like(empty[0]), *empty)
    return x.t().reshape(z.shape), log_slope.t().reshape(z.shape)


class _Steps:
    """The parameters of each layer, cut into D equal parts: weights ``(D, width, inputs)``, biases ``(D, width, 1 or
    n)``."""

    def __init__(self, net: MADE, context: Tensor | None) -> None:
        self.residual, self.straight, self.activation = net.residual, net.straight, ACTIVATIONS[net.activation]
        places = net.places()
        self.widths = [place.shape[1] for place in places[1:]]
        self.weights, self.biases = [], []
        for k, (weight, bias) in enumerate(net.layers()):
            rows, columns = places[k + 1].flatten(), places[k].flatten()
            whole = F.pad(weight, (0, 1, 0, 1)).index_select(0, rows).index_select(1, columns)
            shift = bias[:, None]
            if k == 0 and context is not None and net.context_weight is not None:
                shift = shift + F.linear(net.context_weight, context)
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


def places_of(degrees: Sequence[Sequence[int]], features: int, num_params: int) -> list[Tensor]:
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
