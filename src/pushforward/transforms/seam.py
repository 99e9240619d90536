"""The one door to the fast room: what runs in place of the formulas where that is faster, and how to keep it shut.

Compositions ask for a plan (``compose.py``), densities that are drawn feature by feature ask :func:`generate`,
``Flow.compile`` asks :func:`compile_blocks`. Nothing else knows that ``pushforward.fused`` exists. The room stands
above the transforms, whose kinds it has to know, so it is looked up by name when it is first asked; where its folder is
missing, or shut by ``PUSHFORWARD_FUSED=0`` or :func:`plain`, the formulas themselves run.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ..nets.made import MADE
    from .base import Transform

SHUT: ContextVar[bool] = ContextVar("shut", default=os.environ.get("PUSHFORWARD_FUSED", "1") == "0")


@contextmanager
def plain() -> Iterator[None]:
    """Inside, the formulas run as they stand in the transforms: slower, and open to any look inside.

    ``PUSHFORWARD_FUSED=0`` in the environment does the same for a whole process. Results agree to rounding.
    """
    token = SHUT.set(True)
    try:
        yield
    finally:
        SHUT.reset(token)


def generate(
    net: MADE, batch: torch.Size, feature: Callable[[int, Tensor], Tensor], context: Tensor | None = None
) -> None:
    """Runs through the features of n events: ``feature(j, params)`` gets the parameters ``(num_params, n)`` of feature
    j and returns what the network reads of it, ``(inputs, n)``. One pass of the network for each feature."""
    room = _room()
    if room is not None:
        return room.generate(net, batch, feature, context)
    known = net.biases[0].new_zeros(*batch, net.features, net.inputs)
    for j in range(net.features):
        params = net(known.flatten(-2), context)[..., j]
        known[..., j, :] = feature(j, params.reshape(net.num_params, -1)).t().view(*batch, net.inputs)
    return None


def compile_blocks(transform: Transform, **options: Any) -> None:
    """Compiles a transform, a few neighbours to a graph where it is a composition."""
    room = _room()
    if room is None:
        transform.compile(**options)
    else:
        room.compile_blocks(transform, options)


def free_memory() -> None:
    """Gives all memory back that fast functions keep for their next call."""
    room = imported()
    if room is not None:
        room.free_memory()


def _room() -> Any:
    """The fast room, or None where it is shut, missing, or a compiler traces the call."""
    if torch.compiler.is_compiling() or SHUT.get():
        return None
    return imported()


@functools.cache
def imported() -> Any:
    name = f"{__package__.rpartition('.')[0]}.fused"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None
