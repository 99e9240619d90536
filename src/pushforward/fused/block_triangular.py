"""Masked weights as block triangles: where the zeros are, and products that skip them.

The units of a masked network are sorted by degree, so every mask is block triangular: row i reads a number of leading
columns that grows with i. It is cut into a few steps of rows with the same number, and only the blocks within the steps
are multiplied. A matrix without zeros is one step.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

STEP = 64  # rows at least, where the weight has that many: thinner steps skip more zeros, with a call more for each
LEAST_SAVED = 4096  # zeros that a further step skips
LEAST_SKIPPED = 1 << 18  # the same, times the events: multiplications that take about as long as a call


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


def for_events(pattern: BlockTriangular, n: int) -> BlockTriangular:
    """The same matrix in fewer steps where few events are multiplied: there a call takes longer than the zeros."""
    if pattern.degrees is None:
        return pattern
    return block_triangular(*pattern.degrees, max(LEAST_SAVED, LEAST_SKIPPED >> (n - 1).bit_length()))


@lru_cache(maxsize=256)
def mask(pattern: BlockTriangular, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The whole mask, ``(rows, columns)``: ones where a row reads a column."""
    assert pattern.degrees is not None
    with torch.inference_mode(False), torch.no_grad():
        rows, columns = (torch.tensor(degrees) for degrees in pattern.degrees)
        return (columns[None, :] <= rows[:, None]).to(device, dtype)
