"""The one abstraction: a differentiable, invertible map with its log-determinant; composition and inversion of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from types import FunctionType, MethodType
from typing import Any, overload

import torch
from torch import Tensor, nn

from ..numerics.layout import plain_operations
from ..saving.config import Described

# Rows that are taken at once where nobody wants gradients, so that what lies between two passes stays in the cache.
PART = 16384
COMPILED_PART = 1024


class Transform(Described):
    r"""A differentiable, invertible map f from data x to noise z, with g = f⁻¹.

    Concrete transforms are final: compose them, don't subclass them. ``forward`` and ``inverse`` return the value and
    the log-determinant of the Jacobian *of that direction*, summed over the event. Both take inputs of shape
    ``(*batch, *event)`` with any batch shape, and a context of shape ``(*batch, features)`` or broadcastable to it.

    Reference:
        Lecture: "Change of variable theorem (CoV)".
    """

    event_dim: int = 1  # trailing dimensions of one event: 1 for a row, 3 for an image
    compiles_inverse: bool = True  # false where g goes step by step, which no compiled graph should unroll
    compiles_together: int = 4  # so many transforms like this one fill a compiled graph; the simpler, the more

    @property
    def out_event_dim(self) -> int:
        """Trailing dimensions of one event of z; differs from ``event_dim`` only where a map flattens."""
        return self.event_dim

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z = f(x) and log|det df/dx|, the latter of the batch's shape."""
        raise NotImplementedError

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x = g(z) and log|det dg/dz|, the latter of the batch's shape."""
        raise NotImplementedError

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """x = g(z) alone: for sampling, where a log-determinant may be the dearer part."""
        return self.inverse(z, context)[0]

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Sets data-dependent parameters from a batch x, where there are any, and returns f(x)."""
        return self(x, context)[0]

    def initialize_inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The same for the inverse: sets data-dependent parameters from a batch z and returns g(z)."""
        return self.generate(z, context)

    def joined(self, following: Transform) -> Any:
        """A map that is this one and then another, as one function; None where there is nothing better than calling
        one after the other. It has ``__call__``, ``inverse``, ``generate`` and ``joined`` like a transform."""
        return None

    @property
    def continuous(self) -> bool:
        """Whether :meth:`at` is defined: the transform, or a part of it, runs in continuous time."""
        return type(self).at is not Transform.at

    def at(self, t: float | Tensor) -> Transform:
        """The map from p(x, t) to the base, for transforms that run in continuous time.

        Raises:
            ValueError: nothing in this transform depends on time.
        """
        raise ValueError(f"t={t!r}, but {type(self).__name__} is discrete: only continuous flows have a density at t")


class Compose(Transform):
    r"""f = f_K ∘ … ∘ f_1: the first transform of the list meets the data, the last one makes the noise.

    .. math:: \log|\det J_f| = \sum_k \log|\det J_{f_k}|

    Args:
        transforms: The transforms, in the order from data to noise.

    Raises:
        ValueError: the list is empty, or neighbours disagree about the dimensions of an event.

    Reference:
        Lecture: "Log likelihood" of a composition.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        super().__init__()
        if not transforms:
            raise ValueError("transforms is empty: Compose needs at least one")
        for first, second in pairwise(transforms):
            if first.out_event_dim != second.event_dim:
                raise ValueError(
                    f"{type(first).__name__} ends with events of {first.out_event_dim} dimensions, "
                    f"but {type(second).__name__} takes {second.event_dim}"
                )
        self.transforms: Any = nn.ModuleList(transforms)  # Any: the list forgets what it holds
        self.event_dim = transforms[0].event_dim
        self._compiled: list[Any] | None = None
        self._joined: tuple[list[Transform], list[Any]] | None = None  # transforms, and these with neighbours joined

    @property
    def out_event_dim(self) -> int:
        return self.transforms[-1].out_event_dim

    def __len__(self) -> int:
        return len(self.transforms)

    def __iter__(self) -> Iterator[Transform]:
        return iter(self.transforms)

    @overload
    def __getitem__(self, index: int) -> Transform: ...

    @overload
    def __getitem__(self, index: slice) -> Compose: ...

    def __getitem__(self, index: int | slice) -> Transform:
        """One of the transforms, or for a slice the composition of several; they are shared, not copied."""
        return Compose(list(self.transforms)[index]) if isinstance(index, slice) else self.transforms[index]

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _in_parts(self._forward, x, context, self.event_dim, PART)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _in_parts(self._inverse, z, context, self.out_event_dim, PART)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return _in_parts(self._generate, z, context, self.out_event_dim, PART)

    def _maps(self) -> Any:
        """What is called one after the other."""
        if self._compiled is not None:
            return self._compiled
        if plain_operations():
            return self.transforms
        now = _flat(self.transforms)
        if any(map(_observed, now)):
            return self.transforms
        if self._joined is None or self._joined[0] != now:
            self._joined = now, _joined(now)
        return self._joined[1]

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        first, *rest = self._maps()
        x, total = first(x, context)
        for transform in rest:
            x, logdet = transform(x, context)
            total = total + logdet
        return x, total

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        *rest, last = self._maps()
        z, total = last.inverse(z, context)
        for transform in reversed(rest):
            z, logdet = transform.inverse(z, context)
            total = total + logdet
        return z, total

    def _generate(self, z: Tensor, context: Tensor | None) -> Tensor:
        for transform in reversed(self._maps()):
            z = transform.generate(z, context)
        return z

    def compile(self, **options: Any) -> None:  # type: ignore[override]
        """Compiles neighbours together, a few to a graph, in both directions; graphs that look alike share their code.

        One graph for each transform would spend as much on entering graphs as a small network takes; one graph for
        all of them would take as long to compile as the flow is deep.
        """
        part: list[Any] = []
        self._compiled = []
        functions = [_copied(function) for function in (Compose._forward, Compose._inverse, Compose._generate)]
        for transform in self.transforms:
            own = type(transform).compile is not nn.Module.compile  # knows better how to compile itself
            if part and (own or sum(1 / each.compiles_together for each in (*part, transform)) > 1 + 1e-9):
                self._compiled.append(_Compiled(part, functions, options))
                part = []
            if own:
                transform.compile(**options)
                self._compiled.append(transform)
            else:
                part.append(transform)
        if part:
            self._compiled.append(_Compiled(part, functions, options))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_compiled": None, "_joined": None}  # they belong to this very object

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        for transform in self.transforms:
            x = transform.initialize(x, context)
        return x

    def initialize_inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        for transform in reversed(self.transforms):
            z = transform.initialize_inverse(z, context)
        return z

    @property
    def continuous(self) -> bool:
        return any(part.continuous for part in self)

    def at(self, t: float | Tensor) -> Transform:
        return Compose([part.at(t) if part.continuous else part for part in self]) if self.continuous else super().at(t)


def _flat(transforms: Iterable[Transform]) -> list[Transform]:
    """The transforms, with those of compositions among them in their place."""
    found: list[Transform] = []
    for transform in transforms:
        if type(transform) is Compose and transform._compiled is None and not _observed(transform):
            found += _flat(transform.transforms)
        else:
            found.append(transform)
    return found


def _joined(transforms: Sequence[Transform]) -> list[Any]:
    """The transforms, neighbours joined where they can be."""
    maps: list[Any] = []
    for transform in transforms:
        both = maps[-1].joined(transform) if maps else None
        if both is None:
            maps.append(transform)
        else:
            maps[-1] = both
    return maps


def _observed(module: Any) -> bool:
    """Whether somebody has to know when this very module is called: hooks, as FSDP2 has them, or compiled code."""
    return bool(
        module._forward_pre_hooks
        or module._forward_hooks
        or module._backward_pre_hooks
        or module._backward_hooks
        or module._compiled_call_impl
    )


class _Compiled:
    """Some transforms that follow each other as one graph in either direction."""

    def __init__(self, transforms: Sequence[Transform], functions: Sequence[Any], options: dict[str, Any]) -> None:
        part = Compose(transforms)
        self.event_dims = part.event_dim, part.out_event_dim
        both = all(transform.compiles_inverse for transform in transforms)
        forward, *others = (MethodType(function, part) for function in functions)
        self.maps = [torch.compile(forward, **options), *others]
        self.back = COMPILED_PART if both else PART  # rows at a time on the way back
        if both:
            self.maps[1:] = [torch.compile(each, **options) for each in others]

    def __call__(self, x: Tensor, context: Tensor | None = None) -> Any:
        return _in_parts(self.maps[0], x, context, self.event_dims[0], COMPILED_PART)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Any:
        return _in_parts(self.maps[1], z, context, self.event_dims[1], self.back)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Any:
        return _in_parts(self.maps[2], z, context, self.event_dims[1], self.back)


def _copied(function: Any) -> Any:
    """The same function with code of its own: PyTorch keeps eight compiled versions of one code, so that with a shared
    one the third or fourth flow of a process would stay eager, with no more than a line in a log."""
    return FunctionType(function.__code__.replace(), function.__globals__, function.__name__, function.__defaults__)


def _in_parts(function: Any, x: Tensor, context: Tensor | None, event_dim: int, rows: int) -> Any:
    """A map of rows that know nothing of each other, some at a time where nobody wants gradients."""
    if torch.is_grad_enabled() or plain_operations() or x.dim() != event_dim + 1 or len(x) <= rows:
        return function(x, context)
    parts: Sequence[Any] = x.split(rows)
    whole = context is None or context.shape[:-1] != x.shape[:1]
    contexts = [context] * len(parts) if whole else context.split(rows)  # type: ignore[union-attr]
    found = [function(part, c) for part, c in zip(parts, contexts, strict=True)]
    if isinstance(found[0], Tensor):
        return torch.cat(found)
    return tuple(torch.cat(each) for each in zip(*found, strict=True))


class Inverse(Transform):
    """The same map, run the other way: ``Inverse(Autoregressive(...))`` is an inverse autoregressive flow (IAF).

    Args:
        transform: The transform whose directions are exchanged.
    """

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self.transform = transform
        self.event_dim = transform.out_event_dim

    @property
    def out_event_dim(self) -> int:
        return self.transform.event_dim

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.transform.inverse(x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.transform(z, context)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.transform.initialize_inverse(x, context)

    def initialize_inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.transform.initialize(z, context)

    @property
    def continuous(self) -> bool:
        return self.transform.continuous

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
