"""Which entries of a Jacobian are non-zero: diagonal, triangular, full. Lecture: "Jacobian structure"."""

from __future__ import annotations

import torch
from torch import Tensor


def jacobian_structure(jacobian: Tensor) -> tuple[str, bool]:
    """``"diagonal"``, ``"triangular"`` or ``"full"``, and whether rows and columns had to be reordered to see it.

    A square matrix can be made triangular by reordering if and only if rows with a single entry can be removed one by
    one, each with its column, until nothing is left.

    Args:
        jacobian: ``(..., m, m)``; an entry counts if it is non-zero in any of the matrices.
    """
    magnitude = jacobian.abs().flatten(0, -3).amax(0) if jacobian.dim() > 2 else jacobian.abs()
    pattern = magnitude > magnitude.max() * 64 * torch.finfo(magnitude.dtype).eps
    for name, permuted, fits in (
        ("diagonal", False, not (pattern & ~torch.eye(len(pattern), dtype=torch.bool)).any()),
        ("diagonal", True, bool((pattern.sum(0) == 1).all() and (pattern.sum(1) == 1).all())),
        ("triangular", False, not pattern.triu(1).any() or not pattern.tril(-1).any()),
    ):
        if fits:
            return name, permuted
    while len(pattern):
        single = (pattern.sum(1) == 1).nonzero()
        if not len(single):
            return "full", False
        row = int(single[0])
        column = int(pattern[row].nonzero()[0])
        pattern = _without(_without(pattern, row).T, column).T
    return "triangular", True


def _without(matrix: Tensor, row: int) -> Tensor:
    return torch.cat([matrix[:row], matrix[row + 1 :]])
