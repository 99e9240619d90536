"""The only door to the fast room: runs faster code in place of the formulas, and can be kept shut.

Compositions ask for a plan (``compose.py``), densities that are sampled number by number call :func:`generate` or
:func:`pixel_steps`, continuous flows :func:`field_solve`, ``Flow.compile`` calls :func:`compile_blocks`. Nothing else
knows that ``pushforward.fused`` exists. The room depends on the transforms, whose kinds it must know, so it is imported
by name on first use; if its folder is missing, or shut by ``PUSHFORWARD_FUSED=0`` or :func:`plain`, the formulas
themselves run.
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
from torch import Tensor, nn

from ..nets.pixelcnn import PixelNet, PixelSteps
from ..numerics.torch_internals import fake_tensors

if TYPE_CHECKING:
    from ..nets.made import MADE
    from .base import Transform

SHUT: ContextVar[bool] = ContextVar("shut", default=os.environ.get("PUSHFORWARD_FUSED", "1") == "0")


@contextmanager
def plain() -> Iterator[None]:
    """Inside, the transforms' own formulas run: slower, and open to inspection.

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
    j and returns the network's inputs for it, ``(inputs, n)``. One network pass per feature."""
    room = opened()
    if room is not None:
        return room.sequential(net, context, batch).generate(batch.numel(), feature)
    known = net.biases[0].new_zeros(*batch, net.features, net.inputs)
    for j in range(net.features):
        params = net(known.flatten(-2), context)[..., j]
        known[..., j, :] = feature(j, params.reshape(net.num_params, -1)).t().view(*batch, net.inputs)
    return None


def pixel_steps(net: PixelNet, x: Tensor, context: Tensor | None) -> PixelSteps:
    """The network of an autoregressive CNN, number by number, for images x that are being filled."""
    room = opened()
    return PixelSteps(net, x, context) if room is None else room.FusedPixelSteps(net, x, context)


def field_solve(field: nn.Module) -> Callable[..., Any] | None:
    """A faster solve of a field with its exact divergence, ``(solver, z, rows, trace)`` to the end state, the integral
    of the divergence and the outcome, differentiable but for the times; None if there is none."""
    room = opened()
    return None if room is None else room.field_solve(field)


def compile_blocks(transform: Transform, **options: Any) -> None:
    """Compiles a transform; a composition, a few neighbouring transforms per graph."""
    room = opened()
    if room is None:
        transform.compile(**options)
    else:
        room.compile_blocks(transform, options)


def free_memory() -> None:
    """Releases all memory that fast functions keep for their next call."""
    room = imported()
    if room is not None:
        room.POOL.clear()


def product_engines() -> dict[str, str]:
    """Which engine multiplies large matrices, for each number of threads that has come so far: ``blas`` or ``onednn``,
    whichever was measured to be faster.

    The engines round differently. ``PUSHFORWARD_PRODUCTS=blas`` or ``onednn`` in the environment pins one, so that
    results are the same in every run.
    """
    room = imported()
    return {} if room is None else room.chosen()  # type: ignore[no-any-return]


def opened() -> Any:
    """The fast room, or None if it is shut or missing, or a compiler traces the call, or tensors hold no numbers."""
    if torch.compiler.is_compiling() or SHUT.get() or fake_tensors():
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
