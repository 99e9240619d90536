"""The plain parameter network of couplings: a multi-layer perceptron with a context and parameters-first output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..numerics.layout import planes
from ..numerics.masked_linear import full
from ..numerics.perceptron import perceptron
from ..saving.config import Described


class MLP(Described):
    """Maps ``(*batch, inputs)`` and a context to ``(num_params, *batch, outputs)``; starts at exactly zero.

    The context enters the first layer through weights of its own, so it may have any shape that broadcasts against
    the batch. With no inputs at all the result depends on the context alone, or is a free constant.

    Args:
        inputs: Features that are read; may be 0.
        outputs: Features that get parameters.
        num_params: Parameters for each of them.
        context: Features of the context.
        hidden: Widths of the hidden layers.
        residual: Whether the hidden layers after the first add in pairs to what they read.

    Raises:
        ValueError: a width is below 1, ``context`` is negative, or ``residual`` is asked of an even number of layers or
            of unequal widths.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        num_params: int,
        *,
        context: int = 0,
        hidden: Sequence[int] = (128, 128),
        residual: bool = False,
    ) -> None:
        super().__init__()
        if min(hidden, default=1) < 1:
            raise ValueError(f"hidden layers must have at least 1 unit each, got hidden={tuple(hidden)}")
        if residual and (len(hidden) % 2 == 0 or len(set(hidden)) > 1):
            raise ValueError(f"residual=True needs an odd number of hidden layers of one width, got hidden={hidden}")
        self.inputs, self.outputs, self.num_params, self.residual = inputs, outputs, num_params, residual
        widths = [inputs, *hidden, outputs * num_params]
        self.layers = tuple(full(rows, columns) for columns, rows in pairwise(widths))
        last = len(self.layers) - 1
        self.weights = nn.ParameterList(
            uniform(stairs.rows, stairs.columns, zero=k == last) for k, stairs in enumerate(self.layers)
        )
        self.biases = start_biases(widths, context)
        self.context_weight = uniform(widths[1], context, zero=last == 0) if has_context(context) else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        batch = x.shape[:-1]
        out = perceptron(planes(x), self.layers, self.raw(batch, context), self.residual)
        return out.view(self.outputs, self.num_params, *batch).movedim(0, -1)

    def raw(self, batch: torch.Size, context: Tensor | None) -> list[Tensor]:
        """Weights and biases in turn; the context is part of the first bias."""
        return alternating(self, batch, context)

    def masks(self) -> list[Tensor]:
        """What multiplies the weights: nothing."""
        return []


def has_context(context: int) -> bool:
    """Whether a network of so many context features has any; a ValueError for a number below 0."""
    if context < 0:
        raise ValueError(f"context must be at least 0, got context={context}")
    return context > 0


def context_bias(context: Tensor, weight: Tensor, bias: Tensor, batch: torch.Size) -> Tensor:
    """The first layer's bias with the context in it: ``(units, n)``, or ``(units,)`` for one context of the batch."""
    if context.shape[:-1].numel() == 1:
        return F.linear(context.reshape(-1), weight, bias)
    return torch.addmm(bias[:, None], weight, planes(context.expand(*batch, context.shape[-1])))


def alternating(net: Described, batch: torch.Size, context: Tensor | None) -> list[Tensor]:
    """A network's weights as they are stored and its biases in turn; the context is part of the first bias."""
    params = [value for pair in zip(entries(net.weights), entries(net.biases), strict=True) for value in pair]
    if net.context_weight is not None and context is not None:
        params[1] = context_bias(context, net.context_weight, net.biases[0], batch)
    return params


def entries(parameters: nn.ParameterList) -> Iterable[Tensor]:
    """The parameters of a list without its lookups by name, which take longer than a small matrix product."""
    return parameters._parameters.values()  # type: ignore[return-value]


def start_biases(widths: Sequence[int], context: int) -> nn.ParameterList:
    """PyTorch's own default again, and zeros in the last layer.

    With zeros everywhere all kinks of the rectifiers would meet in one point at first, and networks of few inputs learn
    much more slowly.
    """
    fans = [widths[0] + context, *widths[1:-2]]
    bounds = [*(max(fan, 1) ** -0.5 for fan in fans[: len(widths) - 2]), 0.0]
    pairs = zip(widths[1:], bounds, strict=True)
    return nn.ParameterList(nn.Parameter(torch.empty(width).uniform_(-bound, bound)) for width, bound in pairs)


def uniform(rows: int, columns: int, *, zero: bool = False) -> nn.Parameter:
    """PyTorch's own default for linear layers, uniform within 1/sqrt(fan-in); or zeros."""
    bound = 0.0 if zero or not columns else columns**-0.5
    return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound))
