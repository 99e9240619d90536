"""MADE: a perceptron with masks, so that the parameters of feature j see only the features before j and the context."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

import torch
from torch import Tensor, nn

from ..numerics.eager import eager
from ..numerics.incremental import Feature, InvertibleMap, generate, invert, plan, solve
from ..numerics.layout import planes, unplanes
from ..numerics.masked_linear import blocks, mask, masked, staircase
from ..numerics.perceptron import perceptron
from ..saving.config import Described
from .mlp import alternating, has_context, start_biases, uniform


class MADE(Described):
    r"""Maps ``(*batch, features)`` and a context to parameters ``(num_params, *batch, features)``, masked.

    Every unit has a degree; it reads units of at most its own degree, and the parameters of feature j (counted from 0)
    read hidden units of degree at most j, where the input feature j has degree j + 1. Units are sorted by degree, so
    every mask is block lower triangular, and only the blocks are stored and multiplied. The context has degree 0 and
    reaches every output. Starts at exactly zero.

    Args:
        features: Features of a row, in their natural order.
        num_params: Parameters for each feature.
        context: Features of the context.
        hidden: Widths of the hidden layers; each must hold every degree.
        residual: Whether the hidden layers after the first add in pairs to what they read.
        inputs: Numbers that are read for each feature; x is then ``(*batch, features · inputs)``.

    Raises:
        ValueError: a size is below 1, a hidden layer is too narrow to see every feature, or ``residual`` is asked of
            an even number of layers or of unequal widths.

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
        residual: bool = False,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        features, num_params, context, inputs = map(index, (features, num_params, context, inputs))
        hidden = tuple(map(index, hidden))  # a forged file may hold tensors here, and tensors count very slowly
        _check(features, num_params, context, hidden, residual)
        self.features, self.num_params, self.residual, self.inputs = features, num_params, residual, inputs
        degrees = _degrees(features, num_params, context, hidden, inputs)
        pairs = list(zip(degrees[1:], degrees, strict=False))  # what writes, what it reads
        self.layers = tuple(staircase(rows, columns) for rows, columns in pairs)
        self.plan = plan(degrees[:-1], num_params, residual)
        self._masks = [f"mask_{k}" for k in range(len(self.layers))]
        self.weights = nn.ParameterList()
        self.biases = start_biases([features * inputs, *hidden, features * num_params], context)
        for k, (stairs, (rows, columns)) in enumerate(zip(self.layers, pairs, strict=True)):
            weight = torch.zeros(stairs.size)
            if stairs is not self.layers[-1]:
                for step, block in blocks(stairs, weight):
                    bound = max(step.columns, 1) ** -0.5
                    block.uniform_(-bound, bound)
            self.weights.append(nn.Parameter(weight))
            self.register_buffer(self._masks[k], mask(stairs, rows, columns), persistent=False)
        self.context_weight = uniform(self.layers[0].rows, context, zero=not hidden) if has_context(context) else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        batch = x.shape[:-1]
        out = perceptron(planes(x), self.layers, self.raw(batch, context), self.residual, self.masks())
        return out.view(self.features, self.num_params, *batch).movedim(0, -1)

    @eager
    def invert(self, z: Tensor, scalar: InvertibleMap, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x and log dx/dz per feature, where z_j = scalar(x_j; params_j(x_1 … x_{j-1}, context)).

        Runs outside compiled graphs: a compiler would unroll every feature's step.

        Args:
            z: ``(*batch, features)``.
            scalar: The scalar map, a :class:`~pushforward.transforms.Scalar`.
            context: The context, broadcastable to the batch.
        """
        batch = z.shape[:-1]
        x, log_slope = invert(planes(z), self.plan, self.layers, self._params(batch, context), scalar)
        return unplanes(x, batch), unplanes(log_slope, batch)

    @eager
    def solve(self, z: Tensor, scalar: InvertibleMap, context: Tensor | None = None) -> Tensor:
        """The x of :meth:`invert` alone, without gradients."""
        batch = z.shape[:-1]
        with torch.no_grad():
            x = solve(planes(z), self.plan, self.layers, self._params(batch, context), scalar)
        return unplanes(x, batch)

    @eager
    def generate(self, batch: torch.Size, feature: Feature, context: Tensor | None = None) -> None:
        """Runs through the features, each hidden unit computed once: ``feature(j, params)`` gets the parameters
        ``(num_params, n)`` of feature j for the n rows of the batch and gives what the network reads of it."""
        generate(batch.numel(), self.plan, self.layers, self._params(batch, context), feature)

    def raw(self, batch: torch.Size, context: Tensor | None) -> list[Tensor]:
        """Weights as they are stored and biases in turn; the context is part of the first bias."""
        return alternating(self, batch, context)

    def masks(self) -> list[Tensor]:
        """What multiplies the weights, of their shapes."""
        return [self._buffers[name] for name in self._masks]  # type: ignore[misc]

    def _params(self, batch: torch.Size, context: Tensor | None) -> list[Tensor]:
        """The same as :meth:`raw` with masked weights."""
        params = self.raw(batch, context)
        for k, ones in enumerate(self.masks()):
            params[2 * k] = masked(params[2 * k], ones, slot=k)
        return params


def _degrees(features: int, num_params: int, context: int, hidden: tuple[int, ...], inputs: int = 1) -> list[list[int]]:
    """Degrees of the input, of each hidden layer (spread evenly) and of the parameters of one feature after another."""
    lowest = 0 if context else 1
    kinds = max(features - lowest, 1)  # degrees lowest … features - 1
    degrees = [[j + 1 for j in range(features) for _ in range(inputs)]]
    degrees += [[lowest + unit * kinds // units for unit in range(units)] for units in hidden]
    degrees.append([j for j in range(features) for _ in range(num_params)])
    return degrees


def _check(features: int, num_params: int, context: int, hidden: tuple[int, ...], residual: bool) -> None:
    if features < 1 or num_params < 1:
        raise ValueError(f"features and num_params must be at least 1, got {features} and {num_params}")
    needed = max(features - (0 if has_context(context) else 1), 1)
    if min(hidden, default=needed) < needed:
        raise ValueError(
            f"hidden={hidden} is too narrow: with features={features} and context={context} every hidden layer "
            f"needs at least {needed} units, or some features would silently be ignored"
        )
    if residual and (len(hidden) % 2 == 0 or len(set(hidden)) > 1):
        raise ValueError(f"residual=True needs an odd number of hidden layers of one width, got hidden={hidden}")
