"""The one abstraction: a differentiable, invertible map with its log-determinant, and constraints for its domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ..saving.config import Configurable


class Transform(Configurable):
    r"""A differentiable, invertible map f from data x to noise z, with g = f⁻¹.

    Concrete transforms are final: compose them, don't subclass them. ``forward`` and ``inverse`` return the value and
    the log-determinant of the Jacobian *of that direction*, summed over the event. Both take inputs of shape
    ``(*batch, *event)`` with any batch shape, and a context of shape ``(*batch, features)`` or broadcastable to it.

    Reference:
        Lecture: "Change of variable theorem (CoV)".
    """

    event_dim: int = 1  # trailing dimensions of one event: 1 for a vector, 3 for an image
    domain: Any = constraints.real  # of x: a constraint on each number or, where they depend on each other, on an event
    codomain: Any = constraints.real  # of z, likewise
    event_shape: Sequence[int] | None = None  # of x, of a transform that is made for one shape and refuses others

    @property
    def out_event_shape(self) -> Sequence[int] | None:
        """That of z; differs from ``event_shape`` only if the map flattens."""
        return self.event_shape

    @property
    def out_event_dim(self) -> int:
        """Trailing dimensions of one event of z; differs from ``event_dim`` only if the map flattens."""
        return self.event_dim

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z = f(x) and log|det df/dx|, the latter of the batch shape; by default from :meth:`entries`."""
        z, slopes = self.entries(x)
        return z, sum_event(slopes, self.event_dim)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x = g(z) and log|det dg/dz|, the latter of the batch shape."""
        raise NotImplementedError

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """x = g(z) alone: for sampling, as the log-determinant may be the more expensive part."""
        return self.inverse(z, context)[0]

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Sets data-dependent parameters, if any, from a batch x, and returns f(x)."""
        return self(x, context)[0]

    def initialize_inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """:meth:`initialize` for data on the side of z, as in an inverse autoregressive flow; returns g(z)."""
        return self.generate(z, context)

    @property
    def sequential(self) -> tuple[bool, bool]:
        """Whether ``forward``, and whether ``inverse``, goes step by step or iterates, which no compiler should unroll.

        By default, what the transforms inside say.
        """
        found = [inner.sequential for child in self.children() for inner in _transforms(child)]
        return any(forward for forward, _ in found), any(inverse for _, inverse in found)

    @property
    def looped(self) -> bool:
        """Whether a :attr:`sequential` direction is a loop of equal steps, which one graph holds without unrolling it.

        By default, if all sequential transforms inside are.
        """
        found = [inner.looped for child in self.children() for inner in _transforms(child) if any(inner.sequential)]
        return bool(found) and all(found)

    @property
    def entrywise(self) -> bool:
        """Whether every z_j depends on x_j alone: then :meth:`entries` is defined."""
        return type(self).entries is not Transform.entries

    def entries(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f(x) and log|f_j'(x_j)| of every entry, both of the shape of x, of a map that is :attr:`entrywise`.

        The sum of the latter is the log-determinant; the sum over some entries is that of their marginal density.
        """
        raise NotImplementedError

    def flattened(self, whole: Callable[[Transform], bool] = lambda part: False) -> list[Transform]:
        """The transforms that run one after the other: this one alone, unless it is a composition.

        Args:
            whole: Compositions for which this holds are not taken apart.
        """
        return [self]

    @property
    def continuous(self) -> bool:
        """Whether :meth:`at` is defined: the transform, or a part of it, is continuous in time."""
        return type(self).at is not Transform.at

    def at(self, t: float | Tensor) -> Transform:
        """The map from p(x, t) to the base, for transforms that are continuous in time.

        Raises:
            ValueError: nothing in this transform depends on time.
        """
        raise ValueError(f"t={t!r}, but {type(self).__name__} is discrete: only continuous flows have a density at t")


def _transforms(module: nn.Module) -> list[Transform]:
    """The module itself, or the items of a list."""
    items = module if isinstance(module, nn.ModuleList) else [module]
    return [item for item in items if isinstance(item, Transform)]


def check_event(value: Tensor, shape: Sequence[int] | None) -> None:
    """Refuses events of another shape, of which some maps would read the first numbers only.

    Raises:
        ValueError: the last dimensions of ``value`` are not ``shape``.
    """
    if shape is None or torch.compiler.is_compiling():
        return
    if tuple(value.shape[-len(shape) :]) != tuple(shape):
        raise ValueError(f"events of this transform have shape {tuple(shape)}, got a batch {tuple(value.shape)}")


def sum_event(values: Tensor, event_dim: int) -> Tensor:
    """Sums over the trailing ``event_dim`` dimensions, which leaves the batch shape."""
    return values.sum(tuple(range(-event_dim, 0))) if event_dim else values


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
