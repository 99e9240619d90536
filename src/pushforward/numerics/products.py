"""Matrix products at the full rate of the processor.

PyTorch hands float32 products on the CPU to MKL, which on processors of other makers than its own keeps to half the
width of AVX-512. The oneDNN library in the same build does not: on an EPYC whose units are as wide as that, Zen 5, it
multiplies 512 x 512 matrices at 480 GFLOP/s where MKL reaches 215. On a Zen 4, whose units are half as wide, it is a
tenth faster. oneDNN takes some ten microseconds to start and does not write where it is told, so products that are
too small to gain stay with MKL. So does everything on a Xeon, where both reach 420, other types and devices, and builds
without oneDNN.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .layout import plain_for_ever


def _least() -> int | None:
    """Multiplications in a product that is worth oneDNN's start on this processor; None where no product is."""
    try:
        first = Path("/proc/cpuinfo").read_text()[:4096]
    except OSError:  # not Linux
        return None
    family = re.search(r"^cpu family\s*: (\d+)$", first, re.MULTILINE)
    if "AuthenticAMD" not in first or family is None:
        return None
    return 1 << 20 if int(family[1]) >= _ZEN_5 else 1 << 24


_ZEN_5 = 26
_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
_LEAST = _least() if _HAS_ONEDNN else None
_ONEDNN: Any = torch.ops.mkldnn._linear_pointwise.default if _HAS_ONEDNN else None


def product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """a b for two matrices, without a graph; written into ``out`` where given. For :func:`blocks` of columns, b
    ``(blocks, k, n)``, it is a b of each block, and where a is ``(blocks, m, k)`` too the sum over them."""
    if b.dim() == 3:
        if a.dim() == 3:
            return torch.sum(torch.bmm(a, b), 0, out=out)
        return torch.bmm(a.expand(len(b), -1, -1), b, out=out)
    if _worth_onednn(a, b):
        whole = _ONEDNN(a, b.t(), None, "none", [], "")
        return whole if out is None else out.copy_(whole)
    return torch.mm(a, b) if out is None else torch.mm(a, b, out=out)


def add_product(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Adds a b to ``total`` in place, without a graph; b and ``total`` may be blocks."""
    if b.dim() == 3:
        return total.baddbmm_(a.expand(len(b), -1, -1), b)
    if _worth_onednn(a, b):
        return total.add_(_ONEDNN(a, b.t(), None, "none", [], ""))
    return total.addmm_(a, b)


def differentiable_product(a: Tensor, b: Tensor) -> Tensor:
    """a b for two matrices, differentiable to any order and open to ``torch.func`` and ``torch.compile``."""
    if not _worth_onednn(a, b) or plain_for_ever():
        return torch.mm(a, b)
    return _PRODUCT(a, b)  # type: ignore[no-any-return]


def blocks(like: Tensor, multiplications: int, n: int) -> int:
    """Into how many blocks to cut the n columns of a chain of networks, whose largest product has so many
    multiplications: one for each thread, or 1.

    MKL gives each thread some rows of a product, so each reads all columns of what the other threads wrote last; a
    product of blocks gives each thread columns of its own, from the first layer to the last. On a Zen 4 with two
    threads a layer of 128 units and 512 columns takes 97 microseconds in blocks and 127 without, and 131 and 250 while
    the two cores share no cache.
    """
    threads = torch.get_num_threads()
    if _LEAST is None or n % threads or not _BLOCKS <= multiplications < _LEAST:
        return 1
    return threads if like.dtype == torch.float32 and like.device.type == "cpu" else 1


_BLOCKS = 1 << 22  # multiplications in a product that is worth its start for each block


def worth_onednn(multiplications: int, *factors: Tensor) -> bool:
    """Whether a product that has so many multiplications goes to oneDNN."""
    return (
        _LEAST is not None
        and multiplications >= _LEAST
        and all(factor.dtype == torch.float32 and factor.device.type == "cpu" for factor in factors)
    )


def _worth_onednn(a: Tensor, b: Tensor) -> bool:
    return _LEAST is not None and worth_onednn(a.numel() * b.size(1), a, b)


# One operator, because the compiler takes oneDNN's with constant weights only.
_LIBRARY = torch.library.Library("pushforward", "DEF")
_LIBRARY.define("product(Tensor a, Tensor b) -> Tensor")
_LIBRARY.impl("product", product, "CompositeExplicitAutograd")
_PRODUCT: Any = torch.ops.pushforward.product


@torch.library.register_fake("pushforward::product", lib=_LIBRARY)
def _shape(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[1])


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    a, b = ctx.saved_tensors
    return differentiable_product(grad, b.t()), differentiable_product(a.t(), grad)


torch.library.register_autograd("pushforward::product", _backward, setup_context=_keep, lib=_LIBRARY)
