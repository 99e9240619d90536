"""Constraints of ``torch.distributions`` for the domains of transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints


class Increasing(constraints.Constraint):
    """Vectors of increasing numbers."""

    event_dim = 1  # type: ignore[assignment]

    def check(self, value: Tensor) -> Tensor:
        return (value.diff(dim=-1) > 0).all(-1)


class FlatMatrix(constraints.Constraint):
    """Vectors that hold a matrix, row by row.

    Args:
        n: Rows of the matrix.
        kind: The constraint on the matrix.
        unit: Whether its diagonal is 1.
    """

    event_dim = 1  # type: ignore[assignment]

    def __init__(self, n: int, kind: Any, *, unit: bool = False) -> None:
        self.n, self.kind, self.unit = n, kind, unit

    def check(self, value: Tensor) -> Tensor:
        matrix = value.unflatten(-1, (self.n, self.n))
        found = self.kind.check(matrix)
        ones = (matrix.diagonal(dim1=-2, dim2=-1) - 1).abs() < 1e-4
        return found & ones.all(-1) if self.unit else found  # type: ignore[no-any-return]


class OnSphere(constraints.Constraint):
    """Vectors of norm 1."""

    event_dim = 1  # type: ignore[assignment]

    def check(self, value: Tensor) -> Tensor:
        return (value.norm(dim=-1) - 1).abs() < 1e-4


class Inside(constraints.Constraint):
    """Points inside a convex body.

    Args:
        gauge: A function of a point, ``(*batch, 1)``, below 1 inside.
    """

    event_dim = 1  # type: ignore[assignment]

    def __init__(self, gauge: Callable[[Tensor], Tensor]) -> None:
        self.gauge = gauge

    def check(self, value: Tensor) -> Tensor:
        return self.gauge(value)[..., 0] < 1


class Preimage(constraints.Constraint):
    """The events that a transform maps to where a constraint holds.

    Args:
        transform: The transform.
        constraint: A constraint on its results.
    """

    def __init__(self, transform: Any, constraint: constraints.Constraint) -> None:
        self.transform, self.constraint, self.event_dim = transform, constraint, transform.event_dim

    @torch.no_grad()
    def check(self, value: Tensor) -> Tensor:
        return self.constraint.check(self.transform(value)[0])


class BlockConstraint(constraints.Constraint):
    """Vectors whose blocks of features obey separate constraints.

    Args:
        parts: The constraint of each block, on vectors.
        sizes: The features of each block.
    """

    event_dim = 1  # type: ignore[assignment]

    def __init__(self, parts: Sequence[constraints.Constraint], sizes: Sequence[int]) -> None:
        self.parts, self.sizes = tuple(parts), tuple(sizes)

    def check(self, value: Tensor) -> Tensor:
        blocks = zip(self.parts, value.split(self.sizes, -1), strict=True)
        return torch.stack([part.check(block) for part, block in blocks], -1).all(-1)


def in_blocks(parts: Sequence[Any], sizes: Sequence[int]) -> Any:
    """The constraint of vectors whose blocks have these constraints, on numbers or on vectors."""
    if all(part is constraints.real for part in parts):
        return constraints.real
    return BlockConstraint([on_events(part, 1) for part in parts], sizes)


def on_events(constraint: Any, event_dim: int) -> constraints.Constraint:
    """Turns a constraint on numbers into one on events."""
    missing = event_dim - constraint.event_dim
    return constraints.independent(constraint, missing) if missing > 0 else constraint
