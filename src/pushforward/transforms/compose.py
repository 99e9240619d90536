"""Composition and inversion of transforms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from .base import Transform, Where, check_event, on_events
from .seam import opened


def plan(transforms: Sequence[Transform], like: Tensor) -> Sequence[Transform]:
    """The maps to call in sequence in place of the transforms: faster ones, or the transforms themselves if a compiler
    traces the call or the fast room is shut (:mod:`.seam`)."""
    room = opened()
    return transforms if room is None else room.plan(transforms, like)


class Composition(Transform):
    """Transforms one after the other, with the length, indexing, slicing and iteration of a list of them;
    subclasses say what a backward pass finds stored.

    Args:
        transforms: The transforms, in the order from data to noise.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        super().__init__()
        if not transforms:
            raise ValueError(f"transforms is empty: {type(self).__name__} needs at least one")
        for first, second in pairwise(transforms):
            if first.out_event_dim != second.event_dim:
                raise ValueError(
                    f"{type(first).__name__} ends with events of {first.out_event_dim} dimensions, "
                    f"but {type(second).__name__} takes {second.event_dim}"
                )
        self.transforms: Any = nn.ModuleList(transforms)  # Any: a ModuleList's items are untyped

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self.transforms[0].event_dim  # type: ignore[no-any-return]

    @property
    def out_event_dim(self) -> int:
        return self.transforms[-1].out_event_dim  # type: ignore[no-any-return]

    @property
    def event_shape(self) -> Sequence[int] | None:  # type: ignore[override]
        return _known_shape(self.transforms, "event_shape")

    @property
    def out_event_shape(self) -> Sequence[int] | None:
        return _known_shape(reversed(self.transforms), "out_event_shape")

    @property
    def domain(self) -> Any:
        """That of the first transform with a bounded one; if others come before it, a constraint that can only check
        given events."""
        return _first_bounded(self.parts())

    @property
    def codomain(self) -> Any:
        return _first_bounded([Inverse(part) for part in reversed(self.parts())])

    @property
    def entrywise(self) -> bool:
        return all(transform.entrywise for transform in self)

    def entries(self, x: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros_like(x)
        for transform in self:
            x, slopes = transform.entries(x)
            total = total + slopes
        return x, total

    def parts(self) -> list[Transform]:
        """The transforms inside, compositions among them taken apart."""
        return [part for transform in self for part in transform.flattened()]

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_event(x, _known_shape(self.transforms, "event_shape"))
        first, *rest = plan(self.transforms, x)
        x, total = first(x, context)
        for transform in rest:
            x, logdet = transform(x, context)
            total = total + logdet
        return x, total

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_event(z, _known_shape(reversed(self.transforms), "out_event_shape"))
        *rest, last = plan(self.transforms, z)
        z, total = last.inverse(z, context)
        for transform in reversed(rest):
            z, logdet = transform.inverse(z, context)
            total = total + logdet
        return z, total

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        check_event(z, _known_shape(reversed(self.transforms), "out_event_shape"))
        for transform in reversed(plan(self.transforms, z)):
            z = transform.generate(z, context)
        return z

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        for transform in self:
            x = transform.initialize(x, context)
        return x

    def initialize_inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        for transform in reversed(list(self)):
            z = transform.initialize_inverse(z, context)
        return z

    @property
    def continuous(self) -> bool:
        return any(transform.continuous for transform in self)

    def at(self, t: float | Tensor) -> Transform:
        return Compose([part.at(t) if part.continuous else part for part in self]) if self.continuous else super().at(t)

    def __len__(self) -> int:
        return len(self.transforms)

    def __iter__(self) -> Iterator[Transform]:
        return iter(self.transforms)  # type: ignore[arg-type]

    @overload
    def __getitem__(self, index: int) -> Transform: ...
    @overload
    def __getitem__(self, index: slice) -> Compose: ...
    def __getitem__(self, index: int | slice) -> Transform:
        """One of the transforms, or for a slice the composition of several; shared, not copied."""
        found = self.transforms[index]
        return Compose(list(found)) if isinstance(index, slice) else found


class Compose(Composition):
    r"""f = f_K ∘ … ∘ f_1: the first transform of the list takes the data, the last one yields the noise.

    .. math:: \log|\det J_f| = \sum_k \log|\det J_{f_k}|

    Supports length, indexing, slicing and iteration like a list of transforms.

    Args:
        transforms: The transforms, in the order from data to noise.

    Raises:
        ValueError: the list is empty, or neighbours disagree about the dimensions of an event.

    Reference:
        Lecture: "Log likelihood" of a composition.
    """

    def flattened(self, whole: Callable[[Transform], bool] = lambda part: False) -> list[Transform]:
        return [self] if whole(self) else [part for transform in self for part in transform.flattened(whole)]


def _of_inner(name: str) -> Any:
    """What the transform inside says of itself under this name."""
    return property(lambda self: getattr(self.transform, name))


class Inverse(Transform):
    """The same map with directions exchanged: ``Inverse(Autoregressive(...))`` is an inverse autoregressive flow (IAF).

    Args:
        transform: The transform to invert.
    """

    event_dim = _of_inner("out_event_dim")
    out_event_dim = _of_inner("event_dim")
    event_shape = _of_inner("out_event_shape")
    out_event_shape = _of_inner("event_shape")
    domain = _of_inner("codomain")
    codomain = _of_inner("domain")
    continuous = _of_inner("continuous")

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self.transform = transform

    @property
    def sequential(self) -> tuple[bool, bool]:
        return self.transform.sequential[::-1]

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.transform.inverse(x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.transform(z, context)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.transform(z, context)[0]

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.transform.initialize_inverse(x, context)

    def initialize_inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.transform.initialize(z, context)

    def at(self, t: float | Tensor) -> Transform:
        """The map from p(x, t) to the base. Time runs backwards inside: t here is 1 - t there."""
        inner = self.transform
        if isinstance(inner, Inverse):
            return inner.transform.at(t)
        if isinstance(inner, Compose):
            return Compose([Inverse(part) for part in reversed(list(inner))]).at(t)
        return Compose([inner.at(1 - t), self])

    def extra_repr(self) -> str:
        return "forward and inverse are exchanged"


def _known_shape(parts: Iterable[Transform], name: str) -> Sequence[int] | None:
    """The shape of the first part that is made for one, unless a part before it may change shapes."""
    for part in parts:
        shape = getattr(part, name)
        if shape is not None or not part.entrywise:
            return shape
    return None


def _first_bounded(transforms: Sequence[Transform]) -> Any:
    place = next((k for k, part in enumerate(transforms) if part.domain is not constraints.real), None)
    if place is None:
        return constraints.real
    found = on_events(transforms[place].domain, transforms[place].event_dim)
    if not place:
        return found
    before = Compose(transforms[:place])
    return Where(lambda x: found.check(before(x)[0]), before.event_dim)
