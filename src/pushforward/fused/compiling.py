"""Compiled flows: which neighbouring transforms share a graph, and how many events go through it at a time.

With one graph per transform, entering graphs would cost as much as a small network; with one graph for all of them,
compile time would grow with the depth of the flow.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..numerics.torch_internals import mark_any_length
from ..transforms.base import Transform
from ..transforms.compose import Compose, Inverse
from ..transforms.multiscale import Multiscale
from ..transforms.scalar import Affine

# Events at a time, without gradients: intermediate results between kernels of a graph, or between maps, stay in cache.
COMPILED_PART, EAGER_PART = 1024, 16384

_COMPILED: WeakKeyDictionary[nn.Module, list[Any]] = WeakKeyDictionary()


def compiled(transforms: Any) -> list[Any] | None:
    """The compiled maps in place of a composition's transforms, if it was compiled."""
    return _COMPILED.get(transforms) if _COMPILED and isinstance(transforms, nn.Module) else None


def compile_blocks(transform: Transform, options: dict[str, Any]) -> None:
    """Compiles neighbouring transforms, a few per graph, in both directions; graphs of the same structure share
    code."""
    if isinstance(transform, Compose):
        _COMPILED[transform.transforms] = _blocks(transform, options)
    elif isinstance(transform, Multiscale):
        for level in transform.levels:  # each as a whole
            if isinstance(level, Compose):
                _COMPILED[level.transforms] = [_Compiled(list(level), options)]
    elif not transform.continuous:  # its steps depend on the data, which a graph cannot capture
        transform.compile(**options)


def _blocks(transform: Compose, options: dict[str, Any]) -> list[Any]:
    maps: list[Any] = []
    part: list[Transform] = []
    for each in transform.flattened():
        alone = each.continuous or isinstance(each, Multiscale)
        if part and (alone or sum(map(_share, [*part, each])) > 1 + 1e-9):
            maps.append(_Compiled(part, options))
            part = []
        if alone:
            compile_blocks(each, options)
            maps.append(each)
        else:
            part.append(each)
    return [*maps, _Compiled(part, options)] if part else maps


def _share(transform: Transform) -> float:
    """How much of a graph a transform fills."""
    inner = transform.transform if isinstance(transform, Inverse) else transform
    if next(inner.parameters(), None) is None:
        return 1 / 64
    return 1 / 8 if isinstance(getattr(inner, "scalar", None), Affine) else 1 / 4


class _Compiled:
    """Consecutive transforms as one graph per direction; a direction that is sequential, or iterates to rounding, stays
    eager, as no graph should unroll it."""

    def __init__(self, transforms: Sequence[Transform], options: dict[str, Any]) -> None:
        self.part = Compose(transforms)
        functions = (_copied(f) for f in (Compose.forward, Compose.inverse, Compose.generate))
        methods = [MethodType(function, self.part) for function in functions]
        ahead, back = (not sequential for sequential in self.part.sequential)
        graphs = (ahead, back, back)
        self.maps = [torch.compile(f, **options) if one else f for f, one in zip(methods, graphs, strict=True)]
        self.sizes = [COMPILED_PART if one else EAGER_PART for one in graphs]

    def __call__(self, x: Tensor, context: Tensor | None = None) -> Any:
        return self._run(0, x, context, self.part.event_dim)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Any:
        return self._run(1, z, context, self.part.out_event_dim)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Any:
        return self._run(2, z, context, self.part.out_event_dim)

    def _run(self, way: int, x: Tensor, context: Tensor | None, event_dim: int) -> Any:
        function, size = self.maps[way], self.sizes[way]
        if torch.is_grad_enabled() or x.dim() != event_dim + 1:
            return function(x, context)
        if size == COMPILED_PART:
            function = partial(_of_any_size, function)
        return function(x, context) if len(x) <= size else in_parts(function, x, context, size)


def _of_any_size(function: Any, x: Tensor, context: Tensor | None) -> Any:
    """One graph for batches of any size. PyTorch would compile one for the first size and another for all others, and
    in any case one for a single event, which goes through as two."""
    shared = context is None or context.dim() == 1 or len(context) != len(x)
    own = [x] if shared or context is None else [x, context]  # what has a row for each event
    if len(x) == 1:
        x, *contexts = (torch.cat([each, each]) for each in own)
        found = _of_any_size(function, x, contexts[0] if contexts else context)
        return found[:1] if isinstance(found, Tensor) else tuple(each[:1] for each in found)
    for each in own:
        mark_any_length(each)
    return function(x, context)


def _copied(function: Any) -> Any:
    """The same function with its own code object: PyTorch keeps at most eight compiled versions per code object, so
    with a shared one the third or fourth flow of a process would stay eager, with only a line in a log to say so."""
    return FunctionType(function.__code__.replace(), function.__globals__, function.__name__, function.__defaults__)


def in_parts(function: Any, x: Tensor, context: Tensor | None, size: int) -> Any:
    """Applies a map to a long batch, ``size`` events at a time."""
    parts: Sequence[Any] = x.split(size)
    whole = context is None or context.shape[:-1] != x.shape[:1]
    contexts = [context] * len(parts) if context is None or whole else context.split(size)
    found = [function(part, c) for part, c in zip(parts, contexts, strict=True)]
    if isinstance(found[0], Tensor):
        return torch.cat(found)
    return tuple(torch.cat(each) for each in zip(*found, strict=True))
