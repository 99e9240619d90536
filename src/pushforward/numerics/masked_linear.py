"""Block-triangular weights: where the zeros are, and products that skip them.

The units of a masked network are sorted by degree, so every mask is a staircase: row i reads the columns up to some
count that grows with i. A staircase is cut into a few steps of rows that share one count; only the entries within the
steps are stored, one step after the other in a flat tensor, and only they are multiplied. A matrix without zeros is one
step and may be passed as a matrix.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from .layout import plain_operations
from .products import add_product, by_column, differentiable_product, new_product, product, summed_product
from .scratch import scratch


class Step(NamedTuple):
    """Rows ``first`` to ``last`` (exclusive) read the first ``columns`` columns; stored from ``offset`` on."""

    first: int
    last: int
    columns: int
    offset: int


@dataclass(frozen=True, eq=True)
class Staircase:
    """The pattern of a block lower triangular matrix, ``rows`` by ``columns``; only its steps are stored."""

    rows: int
    columns: int
    steps: tuple[Step, ...]
    heights: tuple[int, ...] = field(init=False, compare=False, repr=False)
    sizes: tuple[int, ...] = field(init=False, compare=False, repr=False)
    size: int = field(init=False, compare=False, repr=False)  # how many entries are stored
    number: int = field(init=False, compare=False, repr=False)  # its hash: patterns are looked up in every pass

    def __post_init__(self) -> None:
        heights = tuple(step.last - step.first for step in self.steps)
        sizes = tuple(height * step.columns for height, step in zip(heights, self.steps, strict=True))
        found = {"heights": heights, "sizes": sizes, "size": sum(sizes)}
        for name, value in (found | {"number": hash((self.rows, self.columns, self.steps))}).items():
            object.__setattr__(self, name, value)

    def __hash__(self) -> int:
        return self.number

    def __deepcopy__(self, memo: Any) -> Staircase:
        return self

    @classmethod
    def of(cls, rows: int, columns: int, steps: Sequence[Step]) -> Staircase:
        """The pattern; equal ones are one object, so that comparing them takes no time."""
        made = cls(rows, columns, tuple(steps))
        return _KNOWN.setdefault((rows, columns, made.steps), made)


_KNOWN: WeakValueDictionary[Any, Staircase] = WeakValueDictionary()


def staircase(
    row_degrees: Sequence[int], column_degrees: Sequence[int], least_rows: int = 96, least_saved: int = 4096
) -> Staircase:
    """The pattern in which a row reads the columns of at most its own degree; both degrees are sorted.

    Rows of one degree stay in one step, and a step has at least ``least_rows`` rows where there are so many: thinner
    ones skip more zeros but multiply at a lower rate. Nor does a step end where that would save few zeros.
    """
    steps, first, offset, rows = [], 0, 0, len(row_degrees)
    for row in range(1, rows + 1):
        ends_degree = row == rows or row_degrees[row] != row_degrees[row - 1]
        columns = bisect_right(column_degrees, row_degrees[row - 1]) if ends_degree else 0
        saved = (row - first) * (len(column_degrees) - columns)
        wide = row - first >= least_rows and rows - row >= least_rows
        if row == rows or (ends_degree and wide and saved >= least_saved):
            steps.append(Step(first, row, columns, offset))
            offset += (row - first) * columns
            first = row
    return Staircase.of(rows, len(column_degrees), steps)


def full(rows: int, columns: int) -> Staircase:
    """The pattern without zeros: one step."""
    return Staircase.of(rows, columns, [Step(0, rows, columns, 0)])


def mask(stairs: Staircase, row_degrees: Sequence[int], column_degrees: Sequence[int]) -> Tensor:
    """Ones where a stored entry is allowed, zeros where a step juts out over the exact staircase.

    Equal masks are one tensor: the layers of a flow mostly have the same, and one stays in the processor's cache.
    """
    like = torch.empty(0)  # of the default device; of another type where somebody only simulates
    key = (stairs, tuple(row_degrees), tuple(column_degrees), like.device)
    if type(like) is Tensor and (found := _MASKS.get(key)) is not None:
        return found
    with torch.inference_mode(False):
        reads = torch.tensor(column_degrees)[None, :] <= torch.tensor(row_degrees)[:, None]
        made = torch.cat([reads[s.first : s.last, : s.columns].flatten() for s in stairs.steps]).float()
    if type(made) is Tensor:
        _MASKS[key] = made
    return made


_MASKS: WeakValueDictionary[Any, Tensor] = WeakValueDictionary()


def blocks(stairs: Staircase, weight: Tensor) -> list[tuple[Step, Tensor]]:
    """The steps with their parts of the flat weight, as matrices; a matrix is its own only step."""
    return list(zip(stairs.steps, matrices(stairs, weight), strict=True))


def matrices(stairs: Staircase, weight: Tensor) -> list[Tensor]:
    """The parts of the flat weight, as matrices."""
    if weight.dim() == 2:
        return [weight]
    parts = weight.split(stairs.sizes) if len(stairs.sizes) > 1 else (weight,)
    return [part.view(step.last - step.first, step.columns) for part, step in zip(parts, stairs.steps, strict=True)]


def masked(weight: Tensor, mask: Tensor, slot: int) -> Tensor:
    """weight · mask; without gradients in scratch memory, one buffer for each slot."""
    if plain_operations() or torch.is_grad_enabled():
        return weight * mask
    return torch.mul(weight, mask, out=scratch(("masked", slot), weight, *weight.shape))


def by_step(stairs: Staircase, rows: Tensor) -> Sequence[Tensor]:
    """The rows that belong to each step."""
    return rows.split(stairs.heights, -2) if len(stairs.heights) > 1 else (rows,)


def dense(stairs: Staircase, weight: Tensor, out: Tensor | None = None) -> Tensor:
    """The whole matrix, zeros included; in ``out`` where given, whose zeros are there already."""
    matrix = weight.new_zeros(stairs.rows, stairs.columns) if out is None else out
    for step, block in blocks(stairs, weight):
        matrix[step.first : step.last, : step.columns] = block
    return matrix


def linear(stairs: Staircase, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """W x + b for x of shape (columns, n), or for blocks (blocks, columns, n); ``bias`` is (rows,), or (rows, n) for
    all blocks. Differentiable to any order."""
    bias = by_row(bias)
    parts = [
        differentiable_product(block, x[..., : step.columns, :]) + bias[step.first : step.last]
        for step, block in blocks(stairs, weight)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -2)


def linear_by_row(stairs: Staircase, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """:func:`linear` with the batch first, x and the result, for a weight without steps."""
    return torch.addmm(bias.t(), x, weight.view(stairs.rows, stairs.columns).t())


def goes_by_row(stairs: Staircase, columns: int) -> bool:
    """Whether :func:`linear_by_row` can and should take the place of :func:`linear` for so many columns."""
    return stairs.size == stairs.rows * stairs.columns and not by_column(stairs.size * columns)


def layer(
    stairs: Staircase,
    weights: Sequence[Tensor],
    reads: Sequence[Tensor],
    parts: Sequence[Tensor],
    out: Tensor,
    bias: Tensor,
    rectified: bool,
    anew: Sequence[bool],
) -> None:
    """Writes W x + b, or max(W x + b, 0) where ``rectified``, into ``out`` without a graph.

    Args:
        stairs: The pattern of W.
        weights: Its matrices by step.
        reads: What of x each step reads.
        parts: The rows of ``out`` by step.
        out: All of them.
        bias: b, (rows,) or (rows, n).
        rectified: Whether negative numbers become 0.
        anew: Which steps' products :func:`go anew <.products.goes_anew>`.
    """
    finish, bias = (add_rectified if rectified else torch.add), by_row(bias)
    if True not in anew:
        for weight, read, part in zip(weights, reads, parts, strict=True):
            product(weight, read, out=part)
        finish(out, bias, out=out)
        return
    for weight, read, part, b, new in zip(weights, reads, parts, by_step(stairs, bias), anew, strict=True):
        finish(new_product(weight, read) if new else product(weight, read, out=part), b, out=part)


def add_rectified(h: Tensor, bias: Tensor, out: Tensor) -> Tensor:
    """max(h + bias, 0) without a graph, in ``out``, which may be h."""
    if _ADD_RELU is None or h.device.type != "cpu" or h.dtype not in (torch.float32, torch.float64):
        return torch.add(h, bias, out=out).relu_()
    return _ADD_RELU(h, bias, out=out)  # type: ignore[no-any-return]


_ADD_RELU: Any = getattr(getattr(torch.ops.aten, "_add_relu", None), "out", None)  # one pass over memory, not two


def by_row(bias: Tensor) -> Tensor:
    """A bias for each row, (rows, 1) or (rows, n)."""
    return bias if bias.dim() == 2 else bias.unsqueeze(1)


def grad_input(
    stairs: Staircase,
    turned: Sequence[Tensor],
    parts: Sequence[Tensor],
    out: Tensor,
    columns: Sequence[Tensor] | None = None,
    add: bool = False,
) -> Tensor:
    """Wᵀ grad without a graph, in ``out``: the last step, which is the widest, writes, the others add.

    Args:
        stairs: The pattern of W.
        turned: The transposed matrices of the steps.
        parts: The gradient by step.
        out: Where to write.
        columns: The rows of ``out`` that each step reads, where somebody has these views already.
        add: Whether to add to what is in ``out`` already.
    """
    columns = columns or [out.narrow(-2, 0, step.columns) for step in stairs.steps]
    *others, (widest, block, part, into) = zip(stairs.steps, turned, parts, columns, strict=True)
    if add:
        add_product(into, block, part)
    else:
        product(block, part, out=into)
        if widest.columns < stairs.columns:
            out[..., widest.columns :, :] = 0
    for step, block, part, into in others:
        if step.columns:
            add_product(into, block, part)
    return out


def grad_weight(stairs: Staircase, grad: Tensor, x: Tensor, out: Tensor) -> Tensor:
    """grad xᵀ within the steps, without a graph, in ``out``, which has the shape of the weight."""
    if out.dim() == 2:
        return summed_product(grad, x.t(), out)
    for step, part, block in zip(stairs.steps, by_step(stairs, grad), matrices(stairs, out), strict=True):
        summed_product(part, x.narrow(0, 0, step.columns).t(), block)
    return out
