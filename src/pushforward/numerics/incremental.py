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
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from .masked_linear import Staircase, by_row, dense, grad_weight
from .perceptron import perceptron
from .products import goes_anew, new_product, product
from .scratch import keep, take

Feature = Callable[[int, Tensor], Tensor]
Step = Callable[[int, Tensor, Tensor], Any]
Block = Callable[[int, int, Tensor], Any]


class InvertibleMap(Protocol):
    """Moves one number given parameters; see :class:`pushforward.transforms.Scalar`."""

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]: ...

    def solve(self, z: Tensor, params: Tensor, out: Tensor) -> None: ...


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


class _Target(NamedTuple):
    """What one layer computes for one feature: ``rows += weight @ read``, and where a residual stream is kept."""

    rows: Tensor
    weight: Tensor
    read: Tensor
    stream: Tensor


class _Sweep:
    """What each layer reads, after the rectifier, with the two ways through: ``solve`` and ``pull_back``.

    A step is a dozen operations on a few rows, so the views that they work on are made once, with the memory.
    """

    def __init__(self, plan: Plan, layers: Sequence[Staircase], like: Tensor, n: int) -> None:
        self.plan, self.layers, self.n = plan, layers, n
        self.weights = [like.new_zeros(stairs.rows, stairs.columns) for stairs in layers]
        self.read = [like.new_empty(stairs.columns, n) for stairs in layers]
        for units, counts in zip(self.read, plan.below, strict=True):
            units[counts[-1] :] = 0  # units that no feature reads are never computed, but gradients multiply them by 0
        streams = [like.new_empty(stairs.rows, n) for stairs in layers[:-1]] if plan.residual else self.read[1:]
        heights = [last - first for first, last in plan.blocks]
        self.out = like.new_empty(max(heights, default=0) * plan.num_params, n)
        self.inputs = self.read[0].split(len(self.read[0]) // plan.features)
        self.outer: list[list[tuple[Tensor, Tensor, Tensor, slice, bool]]] = []
        self.inner: list[list[tuple[_Target, ...]]] = []
        for first, last in plan.blocks:
            outer, inner = [], []
            for k, weight in enumerate(self.weights):
                rows, before = self._rows(k, first, last), plan.below[k][first]
                last_layer = k == len(layers) - 1
                target = self.out[: rows.stop - rows.start] if last_layer else self.read[k + 1][rows]
                read = self.read[k][:before]
                outer.append((target, weight[rows, :before], read, rows, goes_anew(len(target), read)))
                heights = [r.stop - r.start for r in (self._rows(k, j, j + 1) for j in range(first, last))]
                parts, read = weight[rows, before:].split(heights), self.read[k][before:]
                known = [count - before for count in plan.below[k][first + 1 : last + 1]]
                kept = parts if last_layer else streams[k][rows].split(heights)
                inner.append(
                    [
                        _Target(part, matrix.narrow(1, 0, count), read.narrow(0, 0, count), stream)
                        for part, matrix, count, stream in zip(target.split(heights), parts, known, kept, strict=True)
                    ]
                )
            self.outer.append(outer)
            self.inner.append(list(zip(*inner, strict=True)))
        # of each feature: its parameters, (num_params, n, 1), and what the network reads of it, (n · inputs, 1)
        finals = [final.rows for inner in self.inner for *_, final in inner]
        self.columns = [(rows.unsqueeze(-1), read.view(-1, 1)) for rows, read in zip(finals, self.inputs, strict=True)]

    def numbers(self) -> int:
        """How many numbers lie in its memory."""
        return sum(tensor.numel() for tensor in (*self.weights, *self.read, self.out)) * (
            2 if self.plan.residual else 1
        )

    def load(self, params: Sequence[Tensor]) -> _Sweep:
        """Takes the network's parameters, flat weights and biases in turn."""
        for stairs, weight, matrix in zip(self.layers, params[::2], self.weights, strict=True):
            dense(stairs, weight, out=matrix)
        self.biases = [by_row(bias) for bias in params[1::2]]
        return self

    def _rows(self, k: int, first: int, last: int) -> slice:
        """The rows of weight k that belong to the features, or degrees, first to last (exclusive)."""
        if k == len(self.weights) - 1:
            return slice(first * self.plan.num_params, last * self.plan.num_params)
        return slice(self.plan.below[k + 1][first], self.plan.below[k + 1][last])

    def solve(self, step: Step, block: Block | None = None) -> None:
        """Feature by feature: ``step(j, params, out)`` writes what the network reads of feature j into ``out``;
        ``block(first, last, params)`` sees the parameters of a block of features once all of them are known."""
        inputs = self.inputs
        for (first, last), outer, inner in zip(self.plan.blocks, self.outer, self.inner, strict=True):
            for bias, (target, weight, read, span, anew) in zip(self.biases, outer, strict=True):
                found = new_product(weight, read) if anew else product(weight, read, out=target)
                torch.add(found, bias[span], out=target)
            if self.plan.residual:
                self._residual_steps(first, inner, inputs, step)
            else:
                for j, (*hidden, final) in enumerate(inner, first):
                    for rows, weight, read, _ in hidden:
                        rows.addmm_(weight, read).relu_()
                    step(j, final.rows.addmm_(final.weight, final.read), inputs[j])
            if block is not None:
                block(first, last, outer[-1][0])

    def _residual_steps(
        self, first: int, inner: list[tuple[_Target, ...]], inputs: Sequence[Tensor], step: Step
    ) -> None:
        for j, (*hidden, final) in enumerate(inner, first):
            stream = None
            for k, (rows, weight, read, kept) in enumerate(hidden):
                rows.addmm_(weight, read)
                if k % 2 == 0:
                    stream = kept.copy_(rows if stream is None else rows.add_(stream))
                rows.relu_()
            step(j, final.rows.addmm_(final.weight, final.read), inputs[j])

    def invert(self, z: Tensor, scalar: InvertibleMap) -> tuple[Tensor, Tensor]:
        """x and the log-slopes dx/dz, both ``(features, n)``; x lies in the memory of the sweep."""
        log_slopes = []

        def block(first: int, last: int, params: Tensor) -> None:
            planes = params.view(last - first, self.plan.num_params, self.n).permute(1, 2, 0)
            log_slopes.append(scalar.inverse(z[first:last].t(), planes)[1].t())

        self.solve(self._inverse_step(z, scalar), block)
        return self.read[0], torch.cat(log_slopes)

    def solve_only(self, z: Tensor, scalar: InvertibleMap) -> Tensor:
        """x alone, in the memory of the sweep."""
        self.solve(self._inverse_step(z, scalar))
        return self.read[0]

    def _inverse_step(self, z: Tensor, scalar: InvertibleMap) -> Step:
        numbers = z.unsqueeze(-1).unbind()

        def step(j: int, params: Tensor, out: Tensor) -> None:
            scalar.solve(numbers[j], *self.columns[j])

        return step

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


@contextmanager
def _sweep(n: int, plan: Plan, layers: tuple[Staircase, ...], params: Sequence[Tensor]) -> Iterator[_Sweep]:
    """A sweep with these parameters for one use: the one that this thread kept from the last such use, or a new one."""
    like = params[0]
    key = (plan, layers, n, like.dtype, like.device)
    sweep = take(key)
    if sweep is None:
        with torch.inference_mode(False), torch.no_grad():
            sweep = _Sweep(plan, layers, like, n)
    yield sweep.load(params)
    keep(key, sweep, sweep.numbers())


def invert(
    z: Tensor, plan: Plan, layers: tuple[Staircase, ...], params: list[Tensor], scalar: InvertibleMap
) -> tuple[Tensor, Tensor]:
    """x and the log-slopes dx/dz with z_j = scalar(x_j; params_j(x_1 … x_{j-1})), all ``(features, n)``.

    Differentiable once with respect to z and the network's parameters.

    Args:
        z: ``(features, n)``, contiguous.
        plan: From :func:`plan`.
        layers: The pattern of each weight; the last layer's rows hold the parameters of one feature after another.
        params: Flat weights and biases in turn; the first bias may be one for each column, ``(units, n)``.
        scalar: Moves z ``(*shape)`` given parameters ``(num_params, *shape)``.
    """
    if torch.is_grad_enabled():
        return _Invert.apply(z, plan, layers, scalar, *params)
    with _sweep(z.shape[1], plan, layers, params) as sweep:
        x, log_slope = sweep.invert(z, scalar)
        return x.clone(), log_slope


def solve(z: Tensor, plan: Plan, layers: tuple[Staircase, ...], params: list[Tensor], scalar: InvertibleMap) -> Tensor:
    """The x of :func:`invert` alone, without gradients."""
    with _sweep(z.shape[1], plan, layers, params) as sweep:
        return sweep.solve_only(z, scalar).clone()


def generate(n: int, plan: Plan, layers: tuple[Staircase, ...], params: list[Tensor], feature: Feature) -> None:
    """Runs through the features of n rows: ``feature(j, params)`` gets the parameters ``(num_params, n)`` of feature j,
    valid during the call, and gives what the network reads of it, ``(inputs per feature, n)``."""
    with _sweep(n, plan, layers, params) as sweep:
        sweep.solve(lambda j, theta, out: out.copy_(feature(j, theta)))


class _Invert(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, plan: Plan, layers: Any, scalar: InvertibleMap, *params: Tensor) -> Any:
        sweep = _Sweep(plan, layers, params[0], z.shape[1]).load(params)
        x, log_slope = sweep.invert(z, scalar)
        ctx.save_for_backward(z, *params)
        ctx.sweep, ctx.layers, ctx.scalar = sweep, layers, scalar
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
            grads[2 * k] = grad_weight(stairs, delta, read, torch.empty_like(params[2 * k]))
            grads[2 * k + 1] = delta if params[2 * k + 1].dim() == 2 else delta.sum(1)
        return torch.addcmul(through_z, dx_dz, x_grad), None, None, None, *grads


def _scalar_grads(ctx: Any, x: Tensor, z: Tensor, params: list[Tensor], slope_grad: Tensor) -> tuple[Tensor, ...]:
    """dx/dz and dx/dparams, and the gradients of z and of the parameters through the log-slopes, for all features."""
    with torch.no_grad():
        out = perceptron(x, ctx.layers, params, ctx.sweep.plan.residual)
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        theta = out.view(len(z), -1, z.shape[1]).requires_grad_()  # (features, num_params, n)
        value, log_slope = ctx.scalar.inverse(z.t(), theta.permute(1, 2, 0))
        value_grads = torch.autograd.grad(value, (z, theta), torch.ones_like(value), retain_graph=True)
        slope_grads = torch.autograd.grad(log_slope, (z, theta), slope_grad.t(), materialize_grads=True)
    return *value_grads, *(grad.contiguous() for grad in slope_grads)
