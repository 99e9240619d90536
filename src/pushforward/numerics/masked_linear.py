"""Block-triangular weights: where the zeros are, and products that skip them.

The units of a masked network are sorted by degree, so every mask is a staircase: row i reads the columns up to some
count that grows with i. A staircase is cut into a few steps of rows that share one count; only the entries within the
steps are stored, one step after the other in a flat tensor, and only they are multiplied. A matrix without zeros is one
step and may be passed as a matrix.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


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


def staircase(row_degrees: Sequence[int], column_degrees: Sequence[int], least_rows: int = 96) -> Staircase:
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


def dense(stairs: Staircase, weight: Tensor) -> Tensor:
    """The whole matrix, zeros included."""
    matrix = weight.new_zeros(stairs.rows, stairs.columns)
    for step, block in blocks(stairs, weight):
        matrix[step.first : step.last, : step.columns] = block
    return matrix


def linear(stairs: Staircase, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """x Wᵀ + b for x of shape (n, columns); ``bias`` is (rows,) or (n, rows). Differentiable to any order."""
    parts = [
        F.linear(x[:, : step.columns], block) + bias[..., step.first : step.last]
        for step, block in blocks(stairs, weight)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def linear_into(out: Tensor, stairs: Staircase, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """The same, written into ``out`` of shape (n, rows)."""
    if len(stairs.steps) == 1 and stairs.steps[0].columns == x.shape[1]:
        return torch.addmm(bias, x, weight.view(stairs.rows, stairs.columns).t(), out=out)
    for step, block in blocks(stairs, weight):
        rows = slice(step.first, step.last)
        torch.addmm(bias[..., rows], x[:, : step.columns], block.t(), out=out[:, rows])
    return out


def linear_into_transposed(out: Tensor, stairs: Staircase, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """The same, transposed, into ``out`` of shape (rows, n): every output is then contiguous over the batch."""
    columns = bias.t() if bias.dim() == 2 else bias[:, None]
    for step, block in blocks(stairs, weight):
        rows = slice(step.first, step.last)
        torch.addmm(columns[rows], block, x[:, : step.columns].t(), out=out[rows])
    return out


def grad_input(stairs: Staircase, weight: Tensor, grad: Tensor, out: Tensor) -> Tensor:
    """grad W into ``out``, for grad of shape (n, rows): the widest step writes, the narrower ones add."""
    if weight.dim() == 2:
        return torch.mm(grad, weight, out=out)
    written = 0
    for step, block in reversed(blocks(stairs, weight)):
        part = grad[:, step.first : step.last]
        if not written:
            written = step.columns
            torch.mm(part, block, out=out[:, :written])
            out[:, written:] = 0
        elif step.columns:
            out[:, : step.columns].addmm_(part, block)
    return out


def grad_weight(stairs: Staircase, weight: Tensor, grad: Tensor, x: Tensor) -> Tensor:
    """gradᵀ x within the steps, of the shape of the weight."""
    if weight.dim() == 2:
        return torch.mm(grad.t(), x)
    out = torch.empty_like(weight)
    for step, block in blocks(stairs, out):
        torch.mm(grad[:, step.first : step.last].t(), x[:, : step.columns], out=block)
    return out
