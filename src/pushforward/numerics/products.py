"""Matrix products at the full rate of the processor.

PyTorch hands float32 products on the CPU to MKL, which on processors of other makers than its own keeps to half the
width of AVX-512. The oneDNN library in the same build does not: on an EPYC whose units are as wide as that, Zen 5, it
multiplies 512 x 512 matrices at 480 GFLOP/s where MKL reaches 215. On a Zen 4, whose units are half as wide, each wins
somewhere. On a Xeon both reach 420, and MKL starts sooner and writes where it is told. So who multiplies depends on the
processor, on what becomes of the product and on its size: oneDNN takes some ten microseconds to start and always gives
new memory. Other types and devices, and builds without oneDNN, stay with PyTorch's own choice.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .layout import plain_for_ever

_NEVER = 1 << 62


class Worth(NamedTuple):
    """What takes less time on a processor: from how many multiplications on oneDNN does, for each kind of product."""

    new: int = _NEVER  # one that may lie in new memory,
    wide: int = _NEVER  # the same of at least 512 columns,
    largest: int = _NEVER  # of at most so many numbers, because new pages cost more than any product
    summed: int = _NEVER  # the gradient of a weight, a sum over all columns
    placed: int = _NEVER  # one that is written into place, or added there
    cut: range = range(0)  # multiplications for which columns are best cut into blocks
    compiled: range = range(0)  # the same where a compiler leaves the products to MKL


_ZEN_4 = Worth(
    new=1 << 22,
    wide=1 << 19,
    largest=1 << 20,
    summed=1 << 24,
    cut=range(1 << 22, 1 << 24),
    compiled=range(1 << 22, 1 << 28),
)
_ZEN_5 = Worth(new=1 << 20, wide=1 << 20, summed=1 << 20, placed=1 << 20)


def _worth() -> Worth:
    """What holds for this processor."""
    try:
        first = Path("/proc/cpuinfo").read_text()[:4096]
    except OSError:  # not Linux
        return Worth()
    family = re.search(r"^cpu family\s*: (\d+)$", first, re.MULTILINE)
    if "AuthenticAMD" not in first or family is None:
        return Worth()
    return _ZEN_5 if int(family[1]) >= 26 else _ZEN_4


_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
_WORTH = _worth() if _HAS_ONEDNN else Worth()
_THREADS = torch.get_num_threads()  # at first; compilers cannot ask
_ONEDNN: Any = torch.ops.mkldnn._linear_pointwise.default if _HAS_ONEDNN else None


def product(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """a b for two matrices, without a graph, in ``out``. For :func:`blocks` of columns, b ``(blocks, k, n)``, it is a b
    of each block."""
    if b.dim() == 3:
        return torch.bmm(a.expand(len(b), -1, -1), b, out=out)
    if _suits_onednn(_WORTH.placed, a, b):
        return out.copy_(new_product(a, b))
    return torch.mm(a, b, out=out)


def goes_anew(rows: int, b: Tensor) -> bool:
    """Whether a product of a matrix of so many rows and b takes less time in new memory than in place."""
    inner, columns = b.shape[-2:]
    least = _WORTH.wide if columns >= 512 else _WORTH.new
    fits = b.dim() == 2 and rows * columns <= _WORTH.largest
    return fits and _is_worth_it(least, rows * inner * columns, b)


def new_product(a: Tensor, b: Tensor) -> Tensor:
    """a b by oneDNN, in new memory and without a graph, for two float32 matrices on the CPU."""
    return _ONEDNN(a, b.t(), None, "none", [], "")  # type: ignore[no-any-return]


def summed_product(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """a b for (m, n) and (n, k), a sum over all of many columns n, without a graph, in ``out``; of blocks also the sum
    over them."""
    if a.dim() == 3:
        return torch.sum(torch.bmm(a, b), 0, out=out)
    if _suits_onednn(_WORTH.summed, a, b):
        return out.copy_(new_product(a, b))
    return torch.mm(a, b, out=out)


def add_product(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Adds a b to ``total`` in place, without a graph; b and ``total`` may be blocks."""
    if b.dim() == 3:
        return total.baddbmm_(a.expand(len(b), -1, -1), b)
    if _suits_onednn(_WORTH.placed, a, b):
        return total.add_(new_product(a, b))
    return total.addmm_(a, b)


def differentiable_product(a: Tensor, b: Tensor) -> Tensor:
    """a b for two matrices, differentiable to any order and open to ``torch.func`` and ``torch.compile``; of each of
    the :func:`blocks` b."""
    if b.dim() == 3:
        return torch.bmm(a.expand(len(b), -1, -1), b)
    if not _suits_onednn(_WORTH.placed, a, b) or plain_for_ever():
        return torch.mm(a, b)  # what a compiler fuses around it saves more than oneDNN does on a Zen 4
    return _PRODUCT(a, b)  # type: ignore[no-any-return]


def blocks(like: Tensor, multiplications: int, n: int) -> int:
    """Into how many blocks to cut the n columns of a chain of networks, whose largest product has so many
    multiplications: one for each thread, or 1.

    MKL gives each thread some rows of a product, so each reads all columns of what the other threads wrote last; a
    product of blocks gives each thread columns of its own, from the first layer to the last. On a Zen 4 with two
    threads a layer of 128 units and 512 columns takes 97 microseconds in blocks and 127 without, and 131 and 250 while
    the two cores share no cache.
    """
    compiling = torch.compiler.is_compiling()
    threads, cut = (_THREADS, _WORTH.compiled) if compiling else (torch.get_num_threads(), _WORTH.cut)
    if not cut.start <= multiplications < cut.stop or n % threads:
        return 1
    return threads if like.dtype == torch.float32 and like.device.type == "cpu" else 1


def by_column(multiplications: int) -> bool:
    """Whether compilers should leave products that have so many multiplications with the batch last, for oneDNN. MKL
    shares out products best where it is first."""
    return multiplications >= _WORTH.placed


def _suits_onednn(least: int, a: Tensor, b: Tensor) -> bool:
    return least != _NEVER and a.dtype == torch.float32 and _is_worth_it(least, a.numel() * b.size(1), b)


def _is_worth_it(least: int, multiplications: int, like: Tensor) -> bool:
    return multiplications >= least and like.dtype == torch.float32 and like.device.type == "cpu"


# One operator, because the compiler takes oneDNN's with constant weights only.
_LIBRARY = torch.library.Library("pushforward", "DEF")
_LIBRARY.define("product(Tensor a, Tensor b) -> Tensor")
_LIBRARY.impl("product", new_product, "CompositeExplicitAutograd")
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
