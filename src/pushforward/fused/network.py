"""Forward and backward pass of a perceptron, in leased memory whose views are created once.

A small network is mostly operator-launch overhead, and half of the operators would be views of weights and activations.
Everything has the shape ``(units, n)``, contiguous, so what a step reads has no gaps.

The units of a masked network are sorted by degree, so every mask is block triangular: row i reads a number of leading
columns that grows with i. It is cut into a few steps of rows with the same number, and only the blocks within the steps
are multiplied. A matrix without zeros is one step.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..nets.mlp import STRAIGHT
from ..numerics.torch_internals import rectified_sum
from .pool import POOL, where
from .products import engine

STEP = 64  # rows at least, where the weight has that many: thinner steps skip more zeros, with a call more for each
LEAST_SAVED = 4096  # zeros that a further step skips


class BlockStep(NamedTuple):
    """Rows ``first`` to ``last`` (exclusive) read the first ``columns`` columns at most."""

    first: int
    last: int
    columns: int


@dataclass(frozen=True, eq=False)  # compared and hashed by identity, at every call
class BlockTriangular:
    """The pattern of a ``rows`` by ``columns`` matrix, and the degrees of both sides if it is masked."""

    rows: int
    columns: int
    steps: tuple[BlockStep, ...]
    degrees: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    @cached_property
    def whole(self) -> bool:
        """Whether the whole matrix is a single step."""
        return len(self.steps) == 1 and self.steps[0].columns == self.columns

    @cached_property
    def heights(self) -> list[int]:
        return [step.last - step.first for step in self.steps]


@lru_cache(maxsize=1024)
def full(rows: int, columns: int) -> BlockTriangular:
    """The pattern without zeros."""
    return BlockTriangular(rows, columns, (BlockStep(0, rows, columns),))


@lru_cache(maxsize=1024)
def block_triangular(rows: tuple[int, ...], columns: tuple[int, ...], least: int = LEAST_SAVED) -> BlockTriangular:
    """The pattern in which a row reads the columns of at most its own degree; both degrees are sorted.

    Every step but the last has a multiple of ``STEP`` rows; the last has at least that many if the matrix does. No step
    ends where this would save less than ``least`` zeros.
    """
    steps, first = [], 0
    for row in [*range(STEP, len(rows) - STEP + 1, STEP), len(rows)]:
        count = bisect_right(columns, rows[row - 1])
        if row == len(rows) or (row - first) * (len(columns) - count) >= least:
            steps.append(BlockStep(first, row, count))
            first = row
    return BlockTriangular(len(rows), len(columns), tuple(steps), (rows, columns))


def for_events(pattern: BlockTriangular, n: int, call: int) -> BlockTriangular:
    """The same matrix in fewer steps where a further call takes longer than the zeros that it skips for n events.

    Args:
        call: Multiplications that take as long as a call.
    """
    if pattern.degrees is None:
        return pattern
    return block_triangular(*pattern.degrees, max(LEAST_SAVED, call >> (n - 1).bit_length()))


@lru_cache(maxsize=256)
def mask(pattern: BlockTriangular, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The whole mask, ``(rows, columns)``: ones where a row reads a column."""
    assert pattern.degrees is not None
    with torch.inference_mode(False), torch.no_grad():
        rows, columns = (torch.tensor(degrees) for degrees in pattern.degrees)
        return (columns[None, :] <= rows[:, None]).to(device, dtype)


class Shape(NamedTuple):
    """Constant across calls: the pattern of each weight, whether weights are masked, whether hidden layers after the
    first come in residual pairs, and which layer after the first reads its units unrectified, or 0."""

    layers: tuple[BlockTriangular, ...]
    masked: bool
    residual: bool
    straight: int


class Network:
    """The input ``x``, the activations and the masked weights of one network for n events.

    Parameters are given as weights ``(out, in)`` and biases in turn; the first bias may be ``(units, n)``, one per
    event.
    """

    def __init__(self, shape: Shape, like: Tensor, n: int) -> None:
        layers, self.masked, self.residual, self.straight = shape
        calls = [engine(n * each.rows * each.columns, like).call for each in layers]
        self.layers = [for_events(pattern, n, call) for pattern, call in zip(layers, calls, strict=True)]
        self.x = like.new_empty(self.layers[0].columns, n)
        self.hidden = [like.new_empty(pattern.rows, n) for pattern in self.layers[:-1]]
        # a residual stream continues unrectified, so the next layer's rectified input needs its own plane
        streams = {k for k in range(0, len(self.hidden), 2) if self.residual and k + 1 != self.straight}
        self.rectified = [torch.empty_like(h) if k in streams else h for k, h in enumerate(self.hidden)]
        self.parts = [by_step(pattern, h) for pattern, h in zip(self.layers, self.hidden, strict=False)]
        read = [self.x, *self.rectified]
        self.reads = [[h[: step.columns] for step in s.steps] for s, h in zip(self.layers, read, strict=True)]
        self.masks = [mask(pattern, like.dtype, like.device) for pattern in layers] if self.masked else []
        self.weights = [torch.empty_like(each) for each in self.masks]
        self.blocks = [blocks(pattern, each) for pattern, each in zip(self.layers, self.weights, strict=False)]
        sizes = [n * max((step.last - step.first) * step.columns for step in pattern.steps) for pattern in self.layers]
        even = range(0, len(self.layers), 2) if self.residual else ()
        plain = {*even, len(self.layers) - 1}  # the layers after which nothing is rectified at once
        self.sums = [torch.add if k in plain else rectified_sum(like) for k in range(len(self.layers))]
        self.engines = [engine(size, like) for size in sizes]
        self.grads: list[Tensor] = []  # of the activations, lent for a backward pass
        apart = [h for h, below in zip(self.rectified, self.hidden, strict=True) if h is not below]
        self.nbytes = nbytes([self.x, *self.hidden, *apart, *self.weights])

    def run(self, params: Sequence[Tensor], out: Tensor) -> None:
        """Writes the network's outputs for ``self.x`` into ``out``."""
        stream: Tensor | None = None
        places = (*self.parts, by_step(self.layers[-1], out))
        for k, (reads, parts, add) in enumerate(zip(self.reads, places, self.sums, strict=True)):
            product, bias = self.engines[k].product, params[2 * k + 1]
            biases = by_step(self.layers[k], bias if bias.dim() == 2 else bias.unsqueeze(1))
            if self.masked:
                torch.mul(params[2 * k], self.masks[k], out=self.weights[k])
            weights = self.blocks[k] if self.masked else blocks(self.layers[k], params[2 * k])
            for weight, read, part, own in zip(weights, reads, parts, biases, strict=True):
                add(product(weight, read, out=part), own, out=part)
            if self.residual and k % 2 == 0 and k < len(self.hidden):
                h = self.hidden[k]
                stream = h if stream is None else h.add_(stream)
                if k + 1 != self.straight:
                    torch.clamp_min(h, 0, out=self.rectified[k])
                else:
                    h.mul_(STRAIGHT)

    def vjp(
        self, grad: Tensor, params: Sequence[Tensor], needed: Sequence[bool], into: Tensor | None
    ) -> list[Tensor | None]:
        """The gradients of the ``needed`` parameters, after :meth:`run`; that of x is added to ``into``.

        Args:
            grad: The gradient of the outputs.
            params: The parameters that the network was run with.
            needed: Whether each parameter needs a gradient.
            into: Where to add the gradient of x, if needed.
        """
        kind, n = ("gradients", *map(len, self.hidden), *where(self.x)), self.x.shape[1]
        lent = POOL.lease(kind, n, lambda: Gradients(self.hidden))
        self.grads = lent.planes
        grads: list[Tensor | None] = [None] * len(params)
        stream, parts = None, by_step(self.layers[-1], grad)
        for k in range(len(self.layers) - 1, -1, -1):
            weight, bias = params[2 * k], params[2 * k + 1]
            if needed[2 * k + 1]:
                grads[2 * k + 1] = grad.clone() if bias.dim() == 2 else grad.sum(1)
            weights = self.blocks[k] if self.masked else blocks(self.layers[k], weight)  # as :meth:`run` left them
            steps = list(zip(weights, parts, strict=True))
            if k:
                self._input_grad(k, steps)
            elif into is not None:
                self._add_input_grads(0, steps, into)
            if needed[2 * k]:
                grads[2 * k] = self._weight_grad(k, weight, parts)
            if k:
                grad, parts = self.grads[k - 1], by_step(self.layers[k - 1], self.grads[k - 1])
            if self.residual and k % 2 == 1:  # the branch's gradient rejoins the stream
                stream = grad = grad if stream is None else grad.add_(stream)
        self.grads = []  # the pool alone decides how long the memory stays
        POOL.give_back(kind, n, lent)
        return grads

    def _input_grad(self, k: int, steps: list[tuple[Tensor, Tensor]]) -> None:
        """Writes the gradient of what layer k reads, before it was rectified."""
        (block, part), read = steps.pop(), self.reads[k][-1]  # the last step reads all that any does
        plane = self.grads[k - 1]
        out = plane[: len(read)]
        if len(read) < len(plane):
            plane[len(read) :].zero_()  # units that no step reads
        found = self.engines[k].product(block.t(), part, out=out)  # in ``out`` or in new memory
        self._add_input_grads(k, steps, found)
        if k != self.straight:
            torch.ops.aten.threshold_backward.grad_input(found, read, 0, grad_input=out)
        else:
            torch.mul(found, STRAIGHT, out=out)

    def _weight_grad(self, k: int, weight: Tensor, parts: Sequence[Tensor]) -> Tensor:
        """The gradient of a weight, computed where its masked copy was, which nothing reads any more."""
        pattern, by = self.layers[k], self.engines[k]
        if pattern.whole and not self.masked:
            return by.product(parts[0], self.reads[k][0].t(), out=None)
        found = self.weights[k] if self.masked else torch.zeros_like(weight)
        for part, read, block in zip(parts, self.reads[k], blocks(pattern, found), strict=True):
            by.mm(part, read.t(), out=block)
        return found * self.masks[k] if self.masked else found

    def _add_input_grads(self, k: int, steps: Sequence[tuple[Tensor, Tensor]], into: Tensor) -> None:
        """Adds Wᵀ grad for the blocks of some steps and their gradients."""
        for block, part in steps:
            if block.shape[1]:
                self.engines[k].add(into[: block.shape[1]], block.t(), part)


class Gradients:
    """Those of a network's activations: memory that one network after another uses in a backward pass."""

    def __init__(self, hidden: Sequence[Tensor]) -> None:
        self.planes = [torch.empty_like(h) for h in hidden]
        self.nbytes = nbytes(self.planes)


def nbytes(tensors: Iterable[Tensor]) -> int:
    """Total bytes of the tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def blocks(pattern: BlockTriangular, weight: Tensor) -> list[Tensor]:
    """The parts of a dense weight, ``(rows, columns)``, within the steps."""
    if pattern.whole:
        return [weight]
    return [weight[step.first : step.last, : step.columns] for step in pattern.steps]


def by_step(pattern: BlockTriangular, units: Tensor) -> Sequence[Tensor]:
    """The rows of ``(rows, n)`` that belong to each step."""
    return units.split(pattern.heights) if len(pattern.steps) > 1 else (units,)
