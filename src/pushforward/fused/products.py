"""Which engine multiplies large matrices: PyTorch's BLAS or oneDNN, whichever is faster here.

Both are part of PyTorch. Which one is faster depends on the processor, by up to a factor of two, so it is measured,
once for each process and number of threads, in a few milliseconds, when the first such product comes. One engine does
them all: two in turn, each with its own way of waking threads, take longer than either. They round differently:
``PUSHFORWARD_PRODUCTS=blas`` or ``onednn`` pins one, and then results are reproducible from run to run. :func:`chosen`
says what was taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..numerics.threads import least_times
from ..numerics.torch_internals import has_onednn, onednn_product

LARGE = 1 << 20  # multiplications from which on a product counts as such
UNITS, EVENTS = 128, 512  # of the layer that is measured
REPEATS = 7
CLEARLY = 0.87  # of the other's time: a smaller gain may be noise


class Engine(NamedTuple):
    """How matrices are multiplied, without a graph: ``product(a, b, out=c)``, whose result is in c or in new memory,
    ``mm(a, b, out=c)``, and ``add(c, a, b)`` for c + a b in place. ``call`` multiplications take as long as a call."""

    name: str
    call: int
    product: Callable[..., Tensor]
    add: Callable[[Tensor, Tensor, Tensor], Tensor]

    def mm(self, a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
        found = self.product(a, b, out=out)
        return out if found is out else out.copy_(found)


BLAS = Engine("blas", 1 << 18, torch.mm, torch.Tensor.addmm_)
ONEDNN = Engine(
    "onednn", 1 << 23, lambda a, b, out: onednn_product(a, b), lambda total, a, b: total.add_(onednn_product(a, b))
)

_CHOSEN: dict[str, Engine] = {}  # by number of threads


def engine(multiplications: int, like: Tensor) -> Engine:
    """The engine for products of so many multiplications, of tensors like one of them."""
    if multiplications < LARGE or like.dtype != torch.float32 or like.device.type != "cpu" or not has_onednn():
        return BLAS
    pinned = os.environ.get("PUSHFORWARD_PRODUCTS")
    if pinned:
        return _named(pinned)
    key = f"engine {torch.get_num_threads()}"
    if key not in _CHOSEN:
        _CHOSEN[key] = _faster()
    return _CHOSEN[key]


def chosen() -> dict[str, str]:
    """The engine that was measured to be faster, by number of threads."""
    return {key: found.name for key, found in _CHOSEN.items()}


def _named(name: str) -> Engine:
    engines = {each.name: each for each in (BLAS, ONEDNN)}
    if name not in engines:
        raise ValueError(f"PUSHFORWARD_PRODUCTS must be one of {', '.join(engines)}, got {name!r}")
    return engines[name]


def _faster() -> Engine:
    """The engine with less time for the three products of a layer W: W h, g hᵀ and Wᵀ g, if it is clearly less."""
    weight, h = torch.ones(UNITS, UNITS), torch.ones(UNITS, EVENTS)
    products = [(a, b, torch.empty(len(a), b.shape[1])) for a, b in ((weight, h), (h, h.t()), (weight.t(), h))]
    calls = [lambda a=a, b=b, out=out, by=by: by.mm(a, b, out=out) for by in (BLAS, ONEDNN) for a, b, out in products]
    times = least_times(calls, REPEATS)  # type: ignore[arg-type]
    return ONEDNN if sum(times[3:]) < CLEARLY * sum(times[:3]) else BLAS
