"""The parameter network of couplings: a multi-layer perceptron with a context, parameters first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import one_of
from ..numerics.contraction import lipswish
from ..saving.config import Configurable

STRAIGHT = 0.5  # of a stream that no activation follows: with all of it, random weights make maps hard to invert
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "lipswish": lipswish,
}


class Perceptron(Configurable):
    r"""Dense layers :math:`h_{k+1} = W_{k+1}\, \sigma(h_k) + b_{k+1}` with :math:`h_1 = W_1 x + b_1 + V c`.

    With ``residual``, the hidden layers after the first form residual pairs:
    :math:`h_{k+2} = h_k + W_{k+2}\, \sigma(W_{k+1}\, \sigma(h_k) + b_{k+1}) + b_{k+2}`. The last layer reads
    :math:`\sigma(h)` of the last pair, or with ``"linear"`` :math:`h/2`, which x reaches without any activation.

    Args:
        widths: Widths of the input, of each hidden layer and of the output.
        context: Features of the context c, which has its own weights V.
        residual: Whether hidden layers come in residual pairs: False, True or ``"linear"``.
        activation: sigma, one of ``ACTIVATIONS``.

    Reference:
        He et al. (2016), Identity mappings in deep residual networks, arXiv:1603.05027.
    """

    def __init__(self, widths: Sequence[int], *, context: int, residual: bool | str, activation: str) -> None:
        super().__init__()
        hidden = tuple(widths[1:-1])
        if min(hidden, default=1) < 1:
            raise ValueError(f"hidden layers must have at least 1 unit each, got hidden={hidden}")
        one_of((False, True, "linear"), residual=residual)
        if residual and (len(hidden) % 2 == 0 or len(set(hidden)) > 1):
            raise ValueError(
                f"residual={residual!r} needs an odd number of hidden layers of one width, got hidden={hidden}"
            )
        one_of(ACTIVATIONS, activation=activation)
        self.residual, self.activation = residual, activation
        pairs = list(pairwise(widths))
        self.weights = nn.ParameterList(uniform(rows, columns) for columns, rows in pairs)
        self.biases = start_biases(widths, context)
        self.context_weight = uniform(widths[1], context) if has_context(context) else None
        nn.init.zeros_(self.weights[-1])
        if self.context_weight is not None and len(pairs) == 1:
            nn.init.zeros_(self.context_weight)

    @property
    def straight(self) -> int:
        """The layer after the first, if any, that reads its units without an activation; else 0."""
        return len(self.weights) - 1 if self.residual == "linear" else 0

    def layers(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Weight ``(out, in)`` and bias of each layer."""
        return zip(self.weights, self.biases, strict=True)

    def of_context(self, context: Tensor | None) -> Tensor:
        """V c."""
        return of_context(context, self.context_weight)  # type: ignore[arg-type]

    def outputs(self, x: Tensor, context: Tensor | None) -> Tensor:
        """``(*batch, inputs)`` to ``(*batch, outputs)``."""
        activation = ACTIVATIONS[self.activation]
        (weight, bias), *others = self.layers()
        h = F.linear(x, weight, bias)
        if self.context_weight is not None:
            h = h + self.of_context(context)
        stream = h
        for k, (weight, bias) in enumerate(others, 1):
            h = F.linear(STRAIGHT * h if k == self.straight else activation(h), weight, bias)
            if self.residual and k % 2 == 0 and k < len(others):
                h = stream = stream + h
        return h


class MLP(Perceptron):
    """Maps ``(*batch, inputs)`` and a context to ``(num_params, *batch, outputs)``; starts at exactly zero.

    The context may have any shape that broadcasts against the batch. Without inputs the result depends on the context
    alone, or is a free constant.

    Args:
        inputs: Input features; may be 0.
        outputs: Features that get parameters.
        num_params: Parameters for each of them.
        context: Features of the context.
        hidden: Widths of the hidden layers.
        residual: Whether the hidden layers after the first form residual pairs; ``"linear"``: which the last layer
            reads without an activation.
        activation: ``"relu"``, ``"tanh"``, ``"elu"``, ``"gelu"`` or ``"silu"``.

    Raises:
        ValueError: a width is below 1, ``context`` is negative, ``activation`` is unknown, or
            ``residual`` is set with an even number of layers or unequal widths.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        num_params: int,
        *,
        context: int = 0,
        hidden: Sequence[int] = (128, 128),
        residual: bool | str = False,
        activation: str = "relu",
    ) -> None:
        widths = [inputs, *hidden, outputs * num_params]
        super().__init__(widths, context=context, residual=residual, activation=activation)
        self.inputs, self.num_params = inputs, num_params

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.outputs(x, context).unflatten(-1, (-1, self.num_params)).movedim(-1, 0)


def has_context(context: int) -> bool:
    """Whether a network with ``context`` context features has any; raises ValueError if it is negative."""
    if context < 0:
        raise ValueError(f"context must be at least 0, got context={context}")
    return context > 0


def needed(context: Tensor | None, weight: Tensor) -> Tensor:
    """The context of a network with these weights for it; raises ValueError if there is none."""
    if context is None:
        raise ValueError(f"context is missing, but the network was built with context={weight.shape[1]}")
    return context


def of_context(context: Tensor | None, weight: Tensor) -> Tensor:
    """V c of a context that is needed."""
    return F.linear(needed(context, weight), weight)


def start_biases(widths: Sequence[int], context: int) -> nn.ParameterList:
    """PyTorch's default, with zeros in the last layer.

    With zeros everywhere all kinks of the rectifiers would start at the same point, and networks with few inputs would
    learn much more slowly.
    """
    fans = [widths[0] + context, *widths[1:-2]]
    bounds = [*(max(fan, 1) ** -0.5 for fan in fans[: len(widths) - 2]), 0.0]
    pairs = zip(widths[1:], bounds, strict=True)
    return nn.ParameterList(nn.Parameter(torch.empty(width).uniform_(-bound, bound)) for width, bound in pairs)


def uniform(rows: int, columns: int, *, zero: bool = False) -> nn.Parameter:
    """PyTorch's default for linear layers, uniform within 1/sqrt(fan-in); or zeros."""
    bound = 0.0 if zero or not columns else columns**-0.5
    return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound))


def zero_(layer: nn.Module) -> nn.Module:
    """Sets all parameters of a layer to zero: a flow whose network ends with it starts as the identity."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    return layer
