"""Chooses which consecutive transforms run together, and in which fast form; the only file that knows their kinds.

A plan is made at call time, from the transforms as they are then, so changes to a flow take effect at once. Properties
of a network that take time to compute are cached for the network's lifetime.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..nets.attention import CausalTransformer
from ..numerics.torch_internals import forward_mode, transformed, watched
from ..transforms.autoregressive import Autoregressive
from ..transforms.base import Transform
from ..transforms.columns import Columns, Extended, stack
from ..transforms.compose import Inverse
from .compiling import EAGER_PART, compiled, in_parts
from .gaussianization import Gaussianizations
from .rows import Couplings, MaskedRows, through

UNITS = 2**19  # of the widest layer of a transformer, at a time: 2 MB


def plan(transforms: Sequence[Transform], like: Tensor) -> Sequence[Any]:
    """The maps to call in sequence in place of the transforms; under ``torch.func``, forward-mode AD and autocast,
    which change what operators mean, the transforms themselves."""
    found = compiled(transforms)
    if found is not None:
        return found
    if transformed() or forward_mode() or autocast(like.device.type) or not like.is_floating_point():
        return transforms
    maps: list[Any] = []
    for each in transforms:
        for part in each.flattened(_whole):
            if not (maps and hasattr(maps[-1], "take") and maps[-1].take(part)):
                maps.append(_map(part, like))
    dim = transforms[0].event_dim
    long = (
        not torch.is_grad_enabled()
        and like.dim() in (dim + 1, transforms[-1].out_event_dim + 1)
        and len(like) > EAGER_PART
    )
    return [InParts(maps)] if long else maps


def autocast(device: str) -> bool:
    """Whether autocast is on for tensors on a device of this type; some device types, such as ``meta``, have none."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _whole(part: Transform) -> bool:
    """Whether a composition must be called as such: it has hooks or compiled code."""
    return watched(part) or compiled(getattr(part, "transforms", None)) is not None


def _map(transform: Transform, like: Tensor) -> Any:
    """The map that runs a transform, alone or with those after it; the transform itself if there is nothing faster."""
    if watched(transform):
        return transform
    if type(transform) is Inverse:
        inner = _map(transform.transform, like)
        return transform if inner is transform.transform else Turned(inner)
    for make in _MAKERS:
        found = make(transform, like)
        if found is not None:
            return found
    return transform


class Turned(NamedTuple):
    """A map with its directions exchanged."""

    inner: Any

    def __call__(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.inner.inverse(x, context)  # type: ignore[no-any-return]

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.inner(z, context)  # type: ignore[no-any-return]

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.inner(z, context)[0]  # type: ignore[no-any-return]


class InParts(NamedTuple):
    """Applies maps to a long batch in chunks of events."""

    maps: Sequence[Any]

    def __call__(self, x: Tensor, context: Tensor | None = None) -> Any:
        return in_parts(partial(through, self.maps), x, context, EAGER_PART)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Any:
        return in_parts(partial(through, [f.inverse for f in reversed(self.maps)]), z, context, EAGER_PART)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Any:
        def all_of(z: Tensor, context: Tensor | None) -> Tensor:
            for each in reversed(self.maps):
                z = each.generate(z, context)
            return z

        return in_parts(all_of, z, context, EAGER_PART)


class PositionsInParts(NamedTuple):
    """A transformer autoregressive transform in parts, so that their units stay in the processor's cache; its
    sequential direction takes the whole batch at every step."""

    transform: Autoregressive
    events: int

    @classmethod
    def make(cls, transform: Transform, like: Tensor) -> PositionsInParts | None:
        """Only on the CPU without gradients; a GPU is best kept full, and gradients need all units in memory anyway."""
        net = transform.net if type(transform) is Autoregressive else None
        if type(net) is not CausalTransformer or like.device.type != "cpu" or torch.is_grad_enabled():
            return None
        events = max(UNITS // (4 * net.width * net.positions), 1)
        return cls(transform, events) if len(like) > events else None  # type: ignore[arg-type]

    def __call__(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.dim() != 2 or len(x) <= self.events:
            return self.transform(x, context)  # type: ignore[no-any-return]
        even = math.ceil(len(x) / math.ceil(len(x) / self.events))
        return in_parts(self.transform, x, context, even)  # type: ignore[no-any-return]

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.transform.inverse(z, context)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.transform.generate(z, context)


class NearColumns(NamedTuple):
    """A map for each column, without its tails where no number lies in one: a tail takes a dozen passes over the
    numbers, and asking whether any is there takes one."""

    columns: Columns

    @classmethod
    def make(cls, transform: Transform, like: Tensor) -> NearColumns | None:
        if type(transform) is not Columns or like.device.type != "cpu":  # a GPU would be waited for
            return None
        tailed = any(type(each) is Extended for each in transform.maps)
        return cls(transform) if tailed and not any(map(watched, transform.maps)) else None

    def __call__(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._run(x, "ends", lambda one: one)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._run(z, "places", lambda one: one.inverse)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.inverse(z, context)[0]

    def _run(self, x: Tensor, ends: str, way: Callable[[Transform], Any]) -> tuple[Tensor, Tensor]:
        pairs = zip(self.columns.maps, x.unbind(-1), strict=True)
        values, slopes = stack([way(one.inner if _near(one, part, ends) else one)(part) for one, part in pairs])
        return values, slopes.sum(-1)


def _near(one: Transform, x: Tensor, ends: str) -> bool:
    """Whether all numbers lie between the ends of a map with tails; false for NaN."""
    if type(one) is not Extended or not x.numel():
        return False
    low, high = getattr(one, ends).tolist()
    least, most = torch.aminmax(x.detach())
    return low <= least.item() and most.item() <= high


_MAKERS: tuple[Callable[[Transform, Tensor], Any], ...] = (
    Couplings.make,
    MaskedRows.make,
    PositionsInParts.make,
    Gaussianizations.make,
    NearColumns.make,
)
