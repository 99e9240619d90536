r"""The inverse of an autoregressive map at the cost of about one pass: every hidden unit is computed once.

A unit of degree d reads only the first d features. So once feature j - 1 is known, exactly the units of degree j can be
computed, then the parameters of feature j, then feature j itself: D short steps that together use every weight once,
instead of D whole passes. Short matrix products are inefficient, so features are taken in blocks: the contribution of
everything before a block is one large product, and only the part within the block goes step by step.

The gradient runs the same steps backwards, at the same cost. The batch dimension is last throughout: ``(units, n)``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..nets.mlp import STRAIGHT
from .maps import Solving
from .network import Shape, mask, nbytes
from .pool import POOL, where
from .products import engine
from .stack import plain_network

MOST_UNITS = 128  # of a block of features, roughly; the part from before the block is one product
Feature = Callable[[int, Tensor], Tensor]
Step = Callable[[int, Tensor, Tensor], Any]
Block = Callable[[int, int, Tensor], Any]


class UnitSchedule:
    """``below[k][d]``: number of units of degree below d that layer k reads (layer 0 reads the input, whose feature j
    has degree j + 1); and the blocks of features.

    Args:
        degrees: Degrees of the input and of each hidden layer, sorted.
        num_params: Parameters per feature.
        shape: Shape of the network.
    """

    def __init__(self, degrees: Sequence[Sequence[int]], num_params: int, shape: Shape) -> None:
        self.features, self.num_params, self.shape = degrees[0][-1], num_params, shape
        self.below = [[bisect_left(layer, d) for d in range(self.features + 1)] for layer in degrees]
        self.blocks, first = [], 0
        for last in range(1, self.features + 1):
            end = min(last + 1, self.features)
            units = max([counts[end] - counts[first] for counts in self.below[1:]], default=0)
            if last == self.features or units > MOST_UNITS or (last - first) * num_params >= 2 * MOST_UNITS:
                self.blocks.append((first, last))
                first = last


class _Target(NamedTuple):
    """One layer's work for one feature: ``rows += weight @ read``; ``stream`` holds the residual stream."""

    rows: Tensor
    weight: Tensor
    read: Tensor
    stream: Tensor


class _Sweep:
    """The inputs of each layer, after the rectifier, with the two passes ``solve`` and ``vjp``.

    A step is a dozen operations on a few units, so their views are created once, together with the memory.
    """

    def __init__(self, plan: UnitSchedule, like: Tensor, n: int) -> None:
        self.plan, self.n = plan, n
        layers, _, self.residual, self.straight = plan.shape
        self.masks = [mask(pattern, like.dtype, like.device) for pattern in layers]
        self.weights = [like.new_zeros(pattern.rows, pattern.columns) for pattern in layers]
        self.read = [like.new_empty(pattern.columns, n) for pattern in layers]
        for units, counts in zip(self.read, plan.below, strict=True):
            units[counts[-1] :] = 0  # never computed, as no feature reads them, but gradients multiply them by 0
        streams = [like.new_empty(pattern.rows, n) for pattern in layers[:-1]] if self.residual else self.read[1:]
        heights = [last - first for first, last in plan.blocks]
        self.out = like.new_empty(max(heights, default=0) * plan.num_params, n)
        self.inputs = self.read[0].split(len(self.read[0]) // plan.features)
        self.outer: list[list[tuple[Any, Tensor, Tensor, Tensor, slice]]] = []
        self.inner: list[list[tuple[_Target, ...]]] = []
        for first, last in plan.blocks:
            outer, inner = [], []
            for k, weight in enumerate(self.weights):
                rows, before = self._rows(k, first, last), plan.below[k][first]
                last_layer = k == len(layers) - 1
                target = self.out[: rows.stop - rows.start] if last_layer else self.read[k + 1][rows]
                read = self.read[k][:before]
                multiply = engine(len(target) * before * n, like).product
                outer.append((multiply, target, weight[rows, :before], read, rows))
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
        # per feature: its parameters (1, num_params, n), and the network's inputs from it (1, n)
        finals = [final.rows for inner in self.inner for *_, final in inner]
        self.solved = [(rows.unsqueeze(0), read) for rows, read in zip(finals, self.inputs, strict=True)]
        own = [*self.weights, *self.read, self.out]
        self.nbytes = nbytes([*own, *streams] if self.residual else own)

    def load(self, params: Sequence[Tensor]) -> _Sweep:
        """Takes the network's parameters, weights ``(out, in)`` and biases in turn."""
        for weight, ones, matrix in zip(params[::2], self.masks, self.weights, strict=True):
            torch.mul(weight, ones, out=matrix)
        self.biases = [bias if bias.dim() == 2 else bias.unsqueeze(1) for bias in params[1::2]]
        return self

    def _rows(self, k: int, first: int, last: int) -> slice:
        """The rows of weight k that belong to features (or degrees) first to last (exclusive)."""
        if k == len(self.weights) - 1:
            return slice(first * self.plan.num_params, last * self.plan.num_params)
        return slice(self.plan.below[k + 1][first], self.plan.below[k + 1][last])

    def solve(self, step: Step, block: Block | None = None) -> None:
        """Feature by feature: ``step(j, params, out)`` writes the network's inputs for feature j into ``out``;
        ``block(first, last, params)`` receives the parameters of a block of features once all are known."""
        inputs = self.inputs
        for (first, last), outer, inner in zip(self.plan.blocks, self.outer, self.inner, strict=True):
            for bias, (multiply, target, weight, read, span) in zip(self.biases, outer, strict=True):
                torch.add(multiply(weight, read, out=target), bias[span], out=target)
            if self.residual:
                self._residual_steps(first, inner, inputs, step)
            else:
                for j, (*hidden, final) in enumerate(inner, first):
                    for rows, weight, read, _ in hidden:
                        rows.addmm_(weight, read).relu_()
                    step(j, final.rows.addmm_(final.weight, final.read), inputs[j])
            if block is not None:
                block(first, last, outer[-1][1])

    def _residual_steps(
        self, first: int, inner: list[tuple[_Target, ...]], inputs: Sequence[Tensor], step: Step
    ) -> None:
        for j, (*hidden, final) in enumerate(inner, first):
            stream = None
            for k, (rows, weight, read, kept) in enumerate(hidden):
                rows.addmm_(weight, read)
                if k % 2 == 0:
                    stream = kept.copy_(rows if stream is None else rows.add_(stream))
                if k + 1 != self.straight:
                    rows.relu_()
                else:
                    rows.mul_(STRAIGHT)
            step(j, final.rows.addmm_(final.weight, final.read), inputs[j])

    def invert(self, z: Tensor, scalar: Solving) -> tuple[Tensor, Tensor]:
        """x and the log-slopes dx/dz, both ``(features, n)``; x lives in the sweep's memory."""
        log_slopes = []

        def block(first: int, last: int, params: Tensor) -> None:
            given = params.view(last - first, self.plan.num_params, self.n)
            log_slopes.append(scalar.log_slope(self.read[0][first:last], z[first:last], given))

        self.solve(self.inverse_step(z, scalar), block)
        return self.read[0], torch.cat(log_slopes)

    def inverse_step(self, z: Tensor, scalar: Solving) -> Step:
        numbers = z.unsqueeze(1).unbind()

        def step(j: int, params: Tensor, out: Tensor) -> None:
            scalar.solve(numbers[j], *self.solved[j])

        return step

    def vjp(self, x_grad: Tensor, dx: Tensor, log_slope_grad: Tensor) -> list[Tensor]:
        """Backpropagates through the steps, last feature first.

        Args:
            x_grad: ``(features, n)``, the gradient that reaches x from outside; overwritten by the total gradient.
            dx: ``(features, num_params, n)``, dx_j / dparams_j.
            log_slope_grad: Same shape, the gradient that reaches the parameters through the log-slopes; overwritten by
                their total gradient.

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
            for k, weight in enumerate(self.weights):  # the block's gradient for everything before it
                rows, seen = self._rows(k, first, last), self.plan.below[k][first]
                grads[k][:seen].addmm_(weight[rows, :seen].t(), grads[k + 1][rows])
        return grads[1:]

    def _rectify(self, grads: list[Tensor], k: int, rows: slice) -> None:
        """The gradient through the rectifier after layer k and, in a residual stream, along the stream."""
        grad = grads[k + 1][rows]
        grad.mul_(self.read[k + 1][rows] > 0 if k + 1 != self.straight else STRAIGHT)
        if self.residual and k % 2 == 0 and k + 2 < len(self.weights) - 1:
            grad += grads[k + 3][rows]


class Sequential(NamedTuple):
    """A network prepared for incremental evaluation: the schedule and the parameters."""

    schedule: UnitSchedule
    params: list[Tensor]  # weights (out, in) and biases in turn; the first bias may be per event, (units, n)

    @contextmanager
    def sweep(self, n: int) -> Iterator[_Sweep]:
        """Leases a sweep loaded with these parameters, for one use."""
        like = self.params[0]
        kind = ("sweep", self.schedule, *where(like))
        leased = POOL.lease(kind, n, lambda: _Sweep(self.schedule, like, n))
        yield leased.load(self.params)
        POOL.give_back(kind, n, leased)

    def invert(self, z: Tensor, scalar: Solving) -> tuple[Tensor, Tensor]:
        """x and the log-slopes dx/dz with z_j = scalar(x_j; params_j(x_1 … x_{j-1})), all ``(features, n)``.

        Differentiable once with respect to z and the network's parameters.
        """
        if torch.is_grad_enabled() and (z.requires_grad or any(p.requires_grad for p in self.params)):
            return _Invert.apply(z, self.schedule, scalar, *self.params)
        with torch.no_grad(), self.sweep(z.shape[1]) as sweep:
            x, log_slope = sweep.invert(z, scalar)
            return x.clone(), log_slope

    @torch.no_grad()
    def solve(self, z: Tensor, scalar: Solving) -> Tensor:
        """The x of :meth:`invert` alone, without gradients."""
        with self.sweep(z.shape[1]) as sweep:
            sweep.solve(sweep.inverse_step(z, scalar))
            return sweep.read[0].clone()

    @torch.no_grad()
    def generate(self, n: int, feature: Feature) -> None:
        """Runs through the features of n events: ``feature(j, params)`` gets the parameters ``(num_params, n)`` of
        feature j, valid during the call, and returns the network's inputs for it, ``(inputs per feature, n)``."""
        with self.sweep(n) as sweep:
            sweep.solve(lambda j, theta, out: out.copy_(feature(j, theta)))


class _Invert(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, schedule: UnitSchedule, scalar: Solving, *params: Tensor) -> tuple[Tensor, Tensor]:
        sweep = _Sweep(schedule, params[0], z.shape[1]).load(params)
        x, log_slope = sweep.invert(z, scalar)
        ctx.save_for_backward(z, *params)
        ctx.sweep, ctx.scalar = sweep, scalar
        return x.clone(), log_slope

    @staticmethod
    def backward(ctx: Any, x_grad: Tensor, slope_grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        z, *params = ctx.saved_tensors
        sweep = ctx.sweep
        if torch.is_grad_enabled():  # double backward: only plain operations are differentiable
            outputs = _plain(z, sweep.plan, ctx.scalar, params)
            given = (z, *params), (x_grad, slope_grad)
            first, *others = torch.autograd.grad(outputs, *given, create_graph=True, materialize_grads=True)
            return first, None, None, *others
        dx_dz, dx_dparams, through_z, through_params = _scalar_grads(ctx, sweep.read[0], z, params, slope_grad)
        x_grad = x_grad.clone(memory_format=torch.contiguous_format)
        deltas = sweep.vjp(x_grad, dx_dparams, through_params)
        grads: list[Tensor | None] = [None] * len(params)
        for k, (delta, read, ones) in enumerate(zip(deltas, sweep.read, sweep.masks, strict=True)):
            grads[2 * k] = (delta @ read.t()).mul_(ones)
            grads[2 * k + 1] = delta if params[2 * k + 1].dim() == 2 else delta.sum(1)
        return torch.addcmul(through_z, dx_dz, x_grad), None, None, *grads


def _plain(z: Tensor, plan: UnitSchedule, scalar: Solving, params: list[Tensor]) -> tuple[Tensor, Tensor]:
    """x and the log-slopes, by one whole pass per feature."""
    x = log_slope = torch.zeros_like(z)
    for now in torch.eye(plan.features, dtype=torch.bool, device=z.device).unsqueeze(-1):
        theta = plain_network(x, plan.shape, iter(params)).unflatten(0, (plan.features, plan.num_params))
        found, slope = scalar.plain(z, theta.transpose(0, 1), inverse=True)
        x, log_slope = torch.where(now, found, x), torch.where(now, slope, log_slope)
    return x, log_slope


def _scalar_grads(ctx: Any, x: Tensor, z: Tensor, params: list[Tensor], slope_grad: Tensor) -> tuple[Tensor, ...]:
    """dx/dz and dx/dparams, and the gradients of z and of the parameters through the log-slopes, for all features."""
    with torch.no_grad():
        out = plain_network(x, ctx.sweep.plan.shape, iter(params))
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        theta = out.view(len(z), ctx.sweep.plan.num_params, z.shape[1]).requires_grad_()  # (features, num_params, n)
        value, log_slope = ctx.scalar.plain(z, theta.transpose(0, 1), inverse=True)
        value_grads = torch.autograd.grad(value, (z, theta), torch.ones_like(value), retain_graph=True)
        log_slope = log_slope + 0 * value  # some maps have a slope that depends on nothing
        slope_grads = torch.autograd.grad(log_slope, (z, theta), slope_grad)
    return *value_grads, *(grad.contiguous() for grad in slope_grads)
