r"""The inverse of an autoregressive map for the price of about one pass: every hidden unit is computed once.

A unit of degree d reads only the first d features. So once feature j - 1 is known, exactly the units of degree j can be
finished, then the parameters of feature j, then feature j itself: D short steps that together multiply every weight
once, in place of D whole passes. Short steps multiply at a low rate; features are therefore taken in blocks: what a
block reads from everything before it is one large product, and only what lies within the block goes step by step.

The gradient runs the same steps backwards, at the same price. Everything here has the batch last: ``(units, n)``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .masked_linear import Staircase, by_row, dense, grad_weight
from .perceptron import perceptron
from .products import product_plus
from .scratch import fresh, scratch

ScalarMap = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Feature = Callable[[int, Tensor], Tensor]


class Plan(NamedTuple):
    """``below[k][d]``: units of degree below d that layer k reads (layer 0 reads the input, whose feature j has degree
    j + 1); the blocks of features; and whether hidden layers come in residual pairs."""

    below: tuple[tuple[int, ...], ...]
    blocks: tuple[tuple[int, int], ...]
    features: int
    num_params: int
    residual: bool


def plan(degrees: Sequence[Sequence[int]], num_params: int, residual: bool, most_rows: int = 128) -> Plan:
    """The plan for the sorted degrees of the input and each hidden layer; a block holds about ``most_rows`` units."""
    features = degrees[0][-1]
    below = tuple(tuple(bisect_left(layer, d) for d in range(features + 1)) for layer in degrees)
    blocks, first = [], 0
    for last in range(1, features + 1):
        units = max([counts[min(last + 1, features)] - counts[first] for counts in below[1:]], default=0)
        if last == features or units > most_rows or (last - first) * num_params >= 2 * most_rows:
            blocks.append((first, last))
            first = last
    return Plan(below, tuple(blocks), features, num_params, residual)


class _Sweep:
    """What each layer reads, after the rectifier, with the two ways through: ``solve`` and ``pull_back``."""

    def __init__(
        self,
        plan: Plan,
        layers: Sequence[Staircase],
        params: Sequence[Tensor],
        n: int,
        empty: Callable[..., Tensor] = scratch,
    ) -> None:
        self.plan, self.n = plan, n
        self.biases = [by_row(bias) for bias in params[1::2]]
        self.weights, self.read, self.streams = [], [], []
        for k, (stairs, weight) in enumerate(zip(layers, params[::2], strict=True)):
            matrix = empty(("weight", k), weight, stairs.rows, stairs.columns)
            self.weights.append(dense(stairs, weight, out=matrix))
            self.read.append((empty if k else fresh)(("read", k), weight, stairs.columns, n))
            if plan.residual and k < len(layers) - 1:
                self.streams.append(empty(("stream", k), weight, stairs.rows, n))
        for units, counts in zip(self.read, plan.below, strict=True):
            units[counts[-1] :] = 0  # units that no feature reads are never computed, but gradients multiply them by 0

    def _rows(self, k: int, first: int, last: int) -> slice:
        """The rows of weight k that belong to the features, or degrees, first to last (exclusive)."""
        if k == len(self.weights) - 1:
            return slice(first * self.plan.num_params, last * self.plan.num_params)
        return slice(self.plan.below[k + 1][first], self.plan.below[k + 1][last])

    def solve(self, feature: Feature) -> None:
        """Feature by feature; ``feature(j, params)`` gives what the network reads of feature j."""
        inputs = self.read[0].split(len(self.read[0]) // self.plan.features)
        for first, last in self.plan.blocks:
            for j, params in zip(range(first, last), self._steps(first, last), strict=True):
                inputs[j].copy_(feature(j, params))

    def invert(self, z: Tensor, scalar_inverse: ScalarMap) -> tuple[Tensor, Tensor]:
        """x and the log-slopes dx/dz, both ``(features, n)``."""
        column, log_slopes = z.unsqueeze(-1).unbind(), []

        def feature(j: int, params: Tensor) -> Tensor:
            value, log_slope = scalar_inverse(column[j], params.unsqueeze(-1))
            log_slopes.append(log_slope)
            return value.view(1, -1)

        self.solve(feature)
        return self.read[0], torch.cat(log_slopes, 1).t().contiguous()

    def _steps(self, first: int, last: int) -> Iterator[Tensor]:
        """The parameters of each feature of the block in turn; a feature must be known before the next is asked for."""
        plan, params = self.plan, self.read[0].new_empty((last - first) * self.plan.num_params, self.n)
        steps = []
        for k, weight in enumerate(self.weights):
            rows, before = self._rows(k, first, last), plan.below[k][first]
            target = params if k == len(self.weights) - 1 else self.read[k + 1][rows]
            product_plus(self.biases[k][rows], weight[rows, :before], self.read[k][:before], out=target)
            heights = [r.stop - r.start for r in (self._rows(k, j, j + 1) for j in range(first, last))]
            parts, read = weight[rows, before:].split(heights), self.read[k][before:]
            known = [count - before for count in plan.below[k][first + 1 : last + 1]]
            streams = self.streams[k][rows].split(heights) if plan.residual and k < len(self.streams) else parts
            steps.append(zip(target.split(heights), parts, repeat(read), known, streams))
        for layers in zip(*steps, strict=True):
            stream = None
            for k, (target, part, read, known, kept) in enumerate(layers):
                target.addmm_(part.narrow(1, 0, known), read.narrow(0, 0, known))
                if k == len(layers) - 1:
                    yield target
                    break
                if plan.residual and k % 2 == 0:
                    stream = kept.copy_(target if stream is None else target.add_(stream))
                target.relu_()

    def pull_back(self, x_grad: Tensor, dx: Tensor, log_slope_grad: Tensor) -> list[Tensor]:
        """The gradient's way back through the steps, last feature first.

        Args:
            x_grad: ``(features, n)``, the gradient that reaches x from outside; overwritten by the whole gradient.
            dx: ``(features, num_params, n)``, dx_j / dparams_j.
            log_slope_grad: The same shape, the gradient that reaches the parameters through the log-slopes;
                overwritten by their whole gradient.

        Returns:
            The gradients of the pre-activations of each layer, ``(rows, n)``.
        """
        grads = [x_grad, *(torch.zeros_like(h) for h in self.read[1:]), log_slope_grad.flatten(0, 1)]
        for first, last in reversed(self.plan.blocks):
            for j in range(last - 1, first - 1, -1):
                torch.addcmul(log_slope_grad[j], dx[j], x_grad[j], out=log_slope_grad[j])
                for k in range(len(self.weights) - 1, -1, -1):
                    rows, inside = self._rows(k, j, j + 1), slice(self.plan.below[k][first], self.plan.below[k][j + 1])
                    if k < len(self.weights) - 1:
                        self._rectify(grads, k, rows)
                    grads[k][inside].addmm_(self.weights[k][rows, inside].t(), grads[k + 1][rows])
            for k, weight in enumerate(self.weights):  # what the block gives back to everything before it
                rows, seen = self._rows(k, first, last), self.plan.below[k][first]
                grads[k][:seen].addmm_(weight[rows, :seen].t(), grads[k + 1][rows])
        return grads[1:]

    def _rectify(self, grads: list[Tensor], k: int, rows: slice) -> None:
        """The gradient through the rectifier after layer k and, in a residual stream, along the stream."""
        grad = grads[k + 1][rows]
        grad.mul_(self.read[k + 1][rows] > 0)
        if self.plan.residual and k % 2 == 0 and k + 2 < len(self.weights) - 1:
            grad += grads[k + 3][rows]


def invert(
    z: Tensor,
    plan: Plan,
    layers: tuple[Staircase, ...],
    params: list[Tensor],
    scalar_inverse: ScalarMap,
) -> tuple[Tensor, Tensor]:
    """x and the log-slopes dx/dz with z_j = scalar(x_j; params_j(x_1 … x_{j-1})), all ``(features, n)``.

    Differentiable once with respect to z and the network's parameters.

    Args:
        z: ``(features, n)``, contiguous.
        plan: From :func:`plan`.
        layers: The pattern of each weight; the last layer's rows hold the parameters of one feature after another.
        params: Flat weights and biases in turn; the first bias may be one for each column, ``(units, n)``.
        scalar_inverse: Maps z ``(*shape)`` and parameters ``(num_params, *shape)`` to x and log dx/dz.
    """
    if torch.is_grad_enabled():
        return _Invert.apply(z, plan, layers, scalar_inverse, *params)
    return _Sweep(plan, layers, params, z.shape[1]).invert(z, scalar_inverse)


def generate(n: int, plan: Plan, layers: tuple[Staircase, ...], params: list[Tensor], feature: Feature) -> None:
    """Runs through the features of n rows: ``feature(j, params)`` gets the parameters ``(num_params, n)`` of feature j
    and gives what the network reads of it, ``(inputs per feature, n)``."""
    _Sweep(plan, layers, params, n).solve(feature)


class _Invert(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, plan: Plan, layers: Any, scalar_inverse: ScalarMap, *params: Tensor) -> Any:
        sweep = _Sweep(plan, layers, params, z.shape[1], fresh)
        x, log_slope = sweep.invert(z, scalar_inverse)
        ctx.save_for_backward(z, *params)
        ctx.sweep, ctx.layers, ctx.scalar_inverse = sweep, layers, scalar_inverse
        return x.clone(), log_slope

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, x_grad: Tensor, slope_grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        z, *params = ctx.saved_tensors
        sweep, layers = ctx.sweep, ctx.layers
        dx_dz, dx_dparams, through_z, through_params = _scalar_grads(ctx, sweep.read[0], z, params, slope_grad)
        x_grad = x_grad.clone(memory_format=torch.contiguous_format)
        deltas = sweep.pull_back(x_grad, dx_dparams, through_params)
        grads: list[Tensor | None] = [None] * len(params)
        for k, (stairs, delta, read) in enumerate(zip(layers, deltas, sweep.read, strict=True)):
            grads[2 * k] = grad_weight(stairs, params[2 * k], delta, read)
            grads[2 * k + 1] = delta if params[2 * k + 1].dim() == 2 else delta.sum(1)
        return torch.addcmul(through_z, dx_dz, x_grad), None, None, None, *grads


def _scalar_grads(ctx: Any, x: Tensor, z: Tensor, params: list[Tensor], slope_grad: Tensor) -> tuple[Tensor, ...]:
    """dx/dz and dx/dparams, and the gradients of z and of the parameters through the log-slopes, for all features."""
    with torch.no_grad():
        out = perceptron(x, ctx.layers, params, ctx.sweep.plan.residual)
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        theta = out.view(len(z), -1, z.shape[1]).requires_grad_()  # (features, num_params, n)
        value, log_slope = ctx.scalar_inverse(z.t(), theta.permute(1, 2, 0))
        value_grads = torch.autograd.grad(value, (z, theta), torch.ones_like(value), retain_graph=True)
        slope_grads = torch.autograd.grad(log_slope, (z, theta), slope_grad.t(), materialize_grads=True)
    return *value_grads, *(grad.contiguous() for grad in slope_grads)
