"""Block-triangular weights: where the zeros are, and products that skip them.

The units of a masked network are sorted by degree, so every mask is a staircase: row i reads the columns up to some
count that grows with i. A staircase is cut into a few steps of rows that share one count; only the entries within the
steps are stored, one step after the other in a flat tensor, and only they are multiplied. A matrix without zeros is one
step and may be passed as a matrix.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from .products import differentiable_product, product, product_plus


class Step(NamedTuple):
    """Rows ``first`` to ``last`` (exclusive) read the first ``columns`` columns; stored from ``offset`` on."""

    first: int
    last: int
    columns: int
    offset: int


class Staircase(NamedTuple):
    """The pattern of a block lower triangular matrix, ``rows`` by ``columns``, ``size`` of whose entries are stored."""

    rows: int
    columns: int
    steps: tuple[Step, ...]
    size: int


def staircase(row_degrees: Sequence[int], column_degrees: Sequence[int], least_rows: int = 128) -> Staircase:
    """The pattern in which a row reads the columns of at most its own degree; both degrees are sorted.

    Rows of one degree stay in one step, and a step has at least ``least_rows`` rows where there are so many: thinner
    ones skip more zeros but multiply at a lower rate.
    """
    steps, first, offset, rows = [], 0, 0, len(row_degrees)
    for row in range(1, rows + 1):
        ends_degree = row == rows or row_degrees[row] != row_degrees[row - 1]
        if row == rows or (ends_degree and row - first >= least_rows and rows - row >= least_rows):
            columns = bisect_right(column_degrees, row_degrees[row - 1])
            steps.append(Step(first, row, columns, offset))
            offset += (row - first) * columns
            first = row
    return Staircase(rows, len(column_degrees), tuple(steps), offset)


def full(rows: int, columns: int) -> Staircase:
    """The pattern without zeros: one step."""
    return Staircase(rows, columns, (Step(0, rows, columns, 0),), rows * columns)


def flatten(stairs: Staircase) -> list[int]:
    """The pattern as plain numbers."""
    return [stairs.rows, stairs.columns, len(stairs.steps), *(number for step in stairs.steps for number in step)]


@lru_cache
def unflatten(numbers: tuple[int, ...]) -> tuple[Staircase, ...]:
    """The patterns from one :func:`flatten` after another."""
    patterns, at = [], 0
    while at < len(numbers):
        rows, columns, count = numbers[at : at + 3]
        steps = tuple(Step(*numbers[i : i + 4]) for i in range(at + 3, at + 3 + 4 * count, 4))
        patterns.append(Staircase(rows, columns, steps, sum((s.last - s.first) * s.columns for s in steps)))
        at += 3 + 4 * count
    return tuple(patterns)


def mask(stairs: Staircase, row_degrees: Sequence[int], column_degrees: Sequence[int]) -> Tensor:
    """Ones where a stored entry is allowed, zeros where a step juts out over the exact staircase."""
    reads = torch.tensor(column_degrees)[None, :] <= torch.tensor(row_degrees)[:, None]
    return torch.cat([reads[s.first : s.last, : s.columns].flatten() for s in stairs.steps]).float()


def blocks(stairs: Staircase, weight: Tensor) -> list[tuple[Step, Tensor]]:
    """The steps with their parts of the flat weight, as matrices; a matrix is its own only step."""
    if weight.dim() == 2:
        return [(stairs.steps[0], weight)]
    return [
        (
            step,
            weight[step.offset : step.offset + (step.last - step.first) * step.columns].view(
                step.last - step.first, step.columns
            ),
        )
        for step in stairs.steps
    ]


def dense(stairs: Staircase, weight: Tensor, out: Tensor | None = None) -> Tensor:
    """The whole matrix, zeros included; in the memory of ``out`` where given."""
    matrix = weight.new_zeros(stairs.rows, stairs.columns) if out is None else out.zero_()
    for step, block in blocks(stairs, weight):
        matrix[step.first : step.last, : step.columns] = block
    return matrix


def linear(stairs: Staircase, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """W x + b for x of shape (columns, n); ``bias`` is (rows,) or (rows, n). Differentiable to any order."""
    bias = by_row(bias)
    parts = [
        differentiable_product(block, x[: step.columns]) + bias[step.first : step.last]
        for step, block in blocks(stairs, weight)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def linear_into(out: Tensor | None, stairs: Staircase, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """The same without a graph, written into ``out``, which only a single step can do without."""
    bias = by_row(bias)
    if out is None:
        if weight.dim() == 2:
            return product_plus(bias, weight, x)
        return product_plus(bias, weight.view(stairs.rows, -1), x[: stairs.steps[0].columns])
    for step, block in blocks(stairs, weight):
        rows = slice(step.first, step.last)
        product_plus(bias[rows], block, x[: step.columns], out=out[rows])
    return out


def by_row(bias: Tensor) -> Tensor:
    """A bias for each row, (rows, 1) or (rows, n)."""
    return bias if bias.dim() == 2 else bias[:, None]


def grad_input(stairs: Staircase, weight: Tensor, grad: Tensor) -> Tensor:
    """Wᵀ grad for grad of shape (rows, n), without a graph: the widest step writes, the narrower ones add."""
    if weight.dim() == 2:
        return product(weight.t(), grad)
    (widest, block), *others = reversed(blocks(stairs, weight))
    out = product(block.t(), grad[widest.first : widest.last])
    if widest.columns < stairs.columns:
        out = torch.cat([out, out.new_zeros(stairs.columns - widest.columns, out.shape[1])])
    for step, block in others:
        if step.columns:
            out[: step.columns] += product(block.t(), grad[step.first : step.last])
    return out


def grad_weight(stairs: Staircase, weight: Tensor, grad: Tensor, x: Tensor) -> Tensor:
    """grad xᵀ within the steps, of the shape of the weight, without a graph."""
    if weight.dim() == 2:
        return product(grad, x.t())
    parts = [product(grad[s.first : s.last], x[: s.columns].t()) for s in stairs.steps]
    return parts[0].view_as(weight) if len(parts) == 1 else torch.cat([part.view(-1) for part in parts])
