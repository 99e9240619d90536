"""Constraints of ``torch.distributions`` for the domains of transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints


class Where(constraints.Constraint):
    """Events for which something holds.

    Args:
        holds: A function of events ``(*batch, *event)`` to truth values ``(*batch,)``.
        event_dim: Dimensions of an event.
    """

    def __init__(self, holds: Callable[[Tensor], Tensor], event_dim: int = 1) -> None:
        self.holds, self.event_dim = holds, event_dim

    def check(self, value: Tensor) -> Tensor:
        with torch.no_grad():
            return self.holds(value)


def in_blocks(parts: Sequence[Any], sizes: Sequence[int]) -> Any:
    """The constraint of vectors whose blocks of features have these constraints, on numbers or on vectors."""
    if all(part is constraints.real for part in parts):
        return constraints.real
    vectors = [on_events(part, 1) for part in parts]

    def holds(value: Tensor) -> Tensor:
        blocks = zip(vectors, value.split(list(sizes), -1), strict=True)
        return torch.stack([part.check(block) for part, block in blocks], -1).all(-1)

    return Where(holds)


def on_events(constraint: Any, event_dim: int) -> constraints.Constraint:
    """Turns a constraint on numbers into one on events."""
    missing = event_dim - constraint.event_dim
    return constraints.independent(constraint, missing) if missing > 0 else constraint
