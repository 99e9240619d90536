"""The domain of a transform, as a constraint of ``torch.distributions``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from . import elementwise as e
from .base import Transform
from .circle import Circle
from .compose import Compose, Inverse
from .constrained import Above, Below, Between, Blocks, Ordered, StickBreaking
from .dequantise import Dequantise, GaussianNoise, UnitLogit, VariationalDequantise
from .matrices import Correlation, LowerCholesky, MatrixChart, UnitCholesky
from .reversible import Reversible
from .sphere import Polytope, Sphere


class Increasing(constraints.Constraint):
    """Vectors of increasing numbers."""

    event_dim = 1  # type: ignore[assignment]

    def check(self, value: Tensor) -> Tensor:
        return (value.diff(dim=-1) > 0).all(-1)


class Matrices(constraints.Constraint):
    """Vectors that hold a matrix, row by row, in the domain of a chart.

    Args:
        chart: The chart.
    """

    event_dim = 1  # type: ignore[assignment]

    def __init__(self, chart: MatrixChart) -> None:
        kinds = {LowerCholesky: constraints.lower_cholesky, UnitCholesky: constraints.corr_cholesky}
        self.n, self.unit = chart.n, isinstance(chart, Correlation)
        self.kind: Any = kinds.get(type(chart), constraints.positive_definite)

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
    """Points inside a polytope.

    Args:
        polytope: The polytope's chart.
    """

    event_dim = 1  # type: ignore[assignment]

    def __init__(self, polytope: Polytope) -> None:
        self.polytope = polytope

    def check(self, value: Tensor) -> Tensor:
        return self.polytope.gauge(self.polytope.away(value))[..., 0] < 1


SYMMETRIC = constraints.interval(-1.0, 1.0)
DOMAINS: dict[type[Transform], constraints.Constraint] = {
    e.Log: constraints.positive,
    e.InverseSoftplus: constraints.positive,
    e.Logit: constraints.unit_interval,
    e.Atanh: SYMMETRIC,
    UnitLogit: constraints.unit_interval,
    Ordered: Increasing(),
    StickBreaking: constraints.simplex,
}
RANGES: dict[type[Transform], constraints.Constraint] = {
    e.Exp: constraints.positive,
    e.Softplus: constraints.positive,
    e.Sigmoid: constraints.unit_interval,
    e.Tanh: SYMMETRIC,
}  # domains of the inverses


def domain(transform: Transform) -> constraints.Constraint:
    """The events that a transform accepts: the whole space if nothing bounds them.

    For a composition it is the domain of the first transform with a restricted domain; if other transforms come before
    that one, a constraint that can only check given events.
    """
    found = _bounded(transform)
    return _on_events(constraints.real, transform.event_dim) if found is None else found


class Preimage(constraints.Constraint):
    """The events that a transform maps to where a constraint holds.

    Args:
        transform: The transform.
        constraint: A constraint on its results.
    """

    def __init__(self, transform: Transform, constraint: constraints.Constraint) -> None:
        self.transform, self.constraint, self.event_dim = transform, constraint, transform.event_dim  # type: ignore[misc]

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


def _bounded(transform: Transform) -> Any:
    """The domain of a transform; None for the whole space."""
    parts = _flat(transform)
    for place, part in enumerate(parts):
        found = _own(part)
        if found is not None:
            found = _on_events(found, part.event_dim)
            return Preimage(Compose(parts[:place]), found) if place else found
    return None


def _flat(transform: Transform) -> list[Transform]:
    if isinstance(transform, Compose | Reversible):
        return [part for each in transform.transforms for part in _flat(each)]
    if isinstance(transform, Inverse) and isinstance(transform.transform, Compose):
        return [part for each in reversed(transform.transform.transforms) for part in _flat(Inverse(each))]
    return [] if isinstance(transform, e.Identity) else [transform]


def _own(part: Transform) -> Any:
    """The same for a transform that is not a composition; on numbers rather than events if simpler."""
    if isinstance(part, Inverse):
        return RANGES.get(type(part.transform))
    if isinstance(part, Above):
        return constraints.greater_than(part.low)
    if isinstance(part, Below):
        return constraints.less_than(part.high)
    if isinstance(part, Between):
        return constraints.interval(part.low, part.low + part.width)
    if isinstance(part, Circle):
        return constraints.interval(part.low, part.high)
    if isinstance(part, MatrixChart):
        return Matrices(part)
    if isinstance(part, Sphere):
        return OnSphere()
    if isinstance(part, Polytope):
        return Inside(part)
    if isinstance(part, Dequantise | VariationalDequantise):
        return constraints.integer_interval(0, part.levels - 1)
    if isinstance(part, GaussianNoise) and part.levels is not None:
        return constraints.integer_interval(0, part.levels - 1)
    if isinstance(part, Blocks | e.Columns):
        found = [_bounded(each) for each in part.maps]
        parts = [_on_events(constraints.real if each is None else each, 1) for each in found]
        sizes = part.sizes if isinstance(part, Blocks) else [1] * len(parts)
        return None if all(each is None for each in found) else BlockConstraint(parts, sizes)
    return DOMAINS.get(type(part))


def _on_events(constraint: Any, event_dim: int) -> constraints.Constraint:
    """Turns a constraint on numbers into one on events."""
    missing = event_dim - constraint.event_dim
    return constraints.independent(constraint, missing) if missing > 0 else constraint
