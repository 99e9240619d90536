"""Which engine multiplies large matrices: PyTorch's BLAS or oneDNN, whichever is faster here.

Both are part of PyTorch. Which one is faster depends on the processor, by up to a factor of two, so it is measured,
once for each process, number of threads, kind and size of product, in a millisecond or two, when the first such product
comes. The engines round differently: ``PUSHFORWARD_PRODUCTS=blas`` or ``onednn`` pins one, and then results are
reproducible from run to run. :func:`chosen` says what was taken.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..numerics.torch_internals import has_onednn, onednn_product

SIZES = {1 << 20: 128, 1 << 23: 256}  # multiplications from which on products count as such, and what is measured then
REPEATS = 7
CLEARLY = 0.87  # of the other's time: a smaller gain may be noise
WIDTHS = (64, 128, 256)  # rows of a step of a masked weight


class Engine(NamedTuple):
    """How matrices are multiplied, without a graph: ``product(a, b, out=c)``, whose result is in c or in new memory,
    ``mm(a, b, out=c)``, and ``add(c, a, b)`` for c + a b in place."""

    name: str
    product: Callable[..., Tensor]
    add: Callable[[Tensor, Tensor, Tensor], Tensor]

    def mm(self, a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
        found = self.product(a, b, out=out)
        return out if found is out else out.copy_(found)


BLAS = Engine("blas", torch.mm, torch.Tensor.addmm_)
ONEDNN = Engine("onednn", lambda a, b, out: onednn_product(a, b), lambda total, a, b: total.add_(onednn_product(a, b)))

# Operands of a product of n x n matrices as networks have them, for each kind.
KINDS: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "values": lambda weight, units: (weight, units),  # W h
    "weights": lambda grad, units: (grad, units.t()),  # the gradient of W, g hᵀ
    "inputs": lambda weight, grad: (weight.t(), grad),  # the gradient of h, Wᵀ g
}

_CHOSEN: dict[tuple[Any, ...], Any] = {}


def engine(kind: str, multiplications: int, like: Tensor) -> Engine:
    """The engine for products of a kind and of so many multiplications, of tensors like one of them."""
    size = max((least for least in SIZES if least <= multiplications), default=0)
    if not size or like.dtype != torch.float32 or like.device.type != "cpu" or not has_onednn():
        return BLAS
    pinned = os.environ.get("PUSHFORWARD_PRODUCTS")
    if pinned:
        return _named(pinned)
    key = kind, size, torch.get_num_threads()
    if key not in _CHOSEN:
        _CHOSEN[key] = _faster(kind, SIZES[size])
    return _CHOSEN[key]  # type: ignore[no-any-return]


def step_rows(rows: int, columns: int) -> int:
    """Rows of a step of a masked weight: thinner ones skip more zeros but multiply less efficiently. 128 if the weight
    is small or an engine is pinned; measured otherwise."""
    if rows * columns < 1 << 17 or os.environ.get("PUSHFORWARD_PRODUCTS"):
        return 128
    key = "rows", torch.get_num_threads()
    if key not in _CHOSEN:
        _CHOSEN[key] = _width()
    return _CHOSEN[key]  # type: ignore[no-any-return]


def chosen() -> dict[str, str]:
    """The engines that have been measured, by kind and size of product and threads, and the rows of a step."""
    return {" ".join(map(str, key)): getattr(found, "name", str(found)) for key, found in _CHOSEN.items()}


def _named(name: str) -> Engine:
    engines = {each.name: each for each in (BLAS, ONEDNN)}
    if name not in engines:
        raise ValueError(f"PUSHFORWARD_PRODUCTS must be one of {', '.join(engines)}, got {name!r}")
    return engines[name]


def _faster(kind: str, n: int) -> Engine:
    a, b = KINDS[kind](torch.ones(n, n), torch.ones(n, n))
    out = torch.empty(n, n)
    blas, onednn = _times([lambda: BLAS.mm(a, b, out=out), lambda: ONEDNN.mm(a, b, out=out)])
    return ONEDNN if onednn < CLEARLY * blas else BLAS


def _width() -> int:
    """The width with the least time for a square weight whose upper triangle is zero, if that is clearly less."""
    units, side = torch.ones(256, 256), 512
    products = [(torch.ones(rows, 256), torch.empty(rows, 256)) for rows in WIDTHS]
    multiply = engine("values", 1 << 23, units).mm
    times = _times([lambda a=a, out=out: multiply(a, units, out=out) for a, out in products])  # type: ignore[misc]
    costs = {rows: spent / rows * (side + rows) for rows, spent in zip(WIDTHS, times, strict=True)}
    best = min(costs, key=costs.__getitem__)
    return best if costs[best] < CLEARLY * costs[128] else 128


def _times(calls: list[Callable[[], Any]]) -> list[float]:
    """The least time of each call in seconds; they take turns, so that disturbances hit all alike."""
    best = [float("inf")] * len(calls)
    with torch.inference_mode(False), torch.no_grad():
        for _ in range(REPEATS):
            for k, call in enumerate(calls):
                start = time.perf_counter()
                call()
                best[k] = min(best[k], time.perf_counter() - start)
    return best
