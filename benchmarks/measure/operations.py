"""Costs that no other process on the machine can change: matrix-product FLOPs, operators, bytes kept for the backward.

FLOPs are by PyTorch's own formulas (``torch.utils.flop_counter``), with those products added that its counter leaves
out: in-place ones and oneDNN's. All is counted where PyTorch dispatches, so what hand-written autograd functions do
counts too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from pushforward.numerics.affine_chain import Memory
from pushforward.numerics.workspace import Workspace

from .models import Job

aten = torch.ops.aten
FORMULAS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    aten.addmm_: lambda *args, **kwargs: flop_registry[aten.addmm](*args, **kwargs),
    aten.baddbmm_: lambda *args, **kwargs: flop_registry[aten.baddbmm](*args, **kwargs),
}
HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
if HAS_ONEDNN:  # x Wᵀ for W of shape (outputs, inputs), by oneDNN
    FORMULAS[torch.ops.mkldnn._linear_pointwise] = lambda x, weight, *rest, **names: 2 * x.numel() * weight.shape[0]
VIEWS = {"view", "t", "transpose", "permute", "expand", "slice", "select", "detach", "alias", "unsqueeze", "squeeze"}


@dataclass(frozen=True)
class Cost:
    """Of one call: FLOPs of matrix products and convolutions, operators that are no views, bytes for the backward."""

    flops: int
    operators: int
    saved_bytes: int


@dataclass
class Product:
    """One matrix product or convolution of a call: its FLOPs, how often it ran, and the operator with its arguments."""

    flops: int
    count: int
    operator: Any
    args: Any
    kwargs: Any

    def again(self) -> Job:
        """The same work on other numbers."""
        args, kwargs = _filled(self.args), dict(_filled(self.kwargs))
        return lambda: self.operator(*args, **kwargs)

    def by_onednn(self) -> Job | None:
        """The same product of two matrices by oneDNN, which on some processors is twice as fast as MKL."""
        pair = [value for value in self.args if isinstance(value, Layout)][-2:]
        plain = self.operator._overloadpacket in (aten.mm, aten.addmm, aten.addmm_)
        if not (HAS_ONEDNN and plain) or any(of.dtype != torch.float32 or of.device.type != "cpu" for of in pair):
            return None
        a, b = map(_filled, pair)

        def job() -> Tensor:
            return torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")

        try:
            job()
        except RuntimeError:  # a layout that it does not take
            return None
        return job


def cost(job: Job, module: nn.Module) -> Cost:
    """Of the second call, after a seed; the first may fill caches. The module's own parameters are not counted, the
    workspaces of networks are."""
    lent = _lent(job)
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(0)
    with _Dispatched() as seen:
        job()
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        job()
    flops = sum(each.flops * each.count for each in seen.products.values())
    return Cost(flops, seen.operators, lent + sum(kept.values()))


def _lent(job: Job) -> int:
    """Bytes of the workspaces, and of what chains of couplings keep with them, that wait when the way back begins."""
    run, pull_back, release = Workspace.run, Workspace.pull_back, Workspace.release
    lent: dict[int, int] = {}
    waiting: list[int] = []

    def running(space: Workspace, *args: Any) -> None:
        lent[id(space)] = space.numbers * space.x.itemsize
        run(space, *args)

    def pulling(space: Workspace, *args: Any, **names: Any) -> Any:
        waiting.append(sum(lent.values()))
        return pull_back(space, *args, **names)

    def released(space: Workspace) -> None:
        lent.pop(id(space))
        release(space)

    def chained(memory: Memory, x: Tensor, *args: Any) -> Tensor:
        spaces = {id(turn.space): turn.space.numbers for turn in memory.turns}  # which are counted by themselves
        lent[id(memory)] = (memory.numbers - sum(spaces.values())) * x.itemsize
        return run_chain(memory, x, *args)

    run_chain = Memory.run
    with (
        mock.patch.multiple(Workspace, run=running, pull_back=pulling, release=released),
        mock.patch.object(Memory, "run", chained),
    ):
        job()
    return max(waiting, default=0)


def products(job: Job) -> list[Product]:
    """Every matrix product and convolution of a call, equal ones together."""
    job()
    with _Dispatched() as seen:
        job()
    return list(seen.products.values())


class _Dispatched(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operators = 0
        self.products: dict[Any, Product] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.operators += func._overloadpacket.__name__ not in VIEWS
        formula = FORMULAS.get(func._overloadpacket)
        if formula is not None:
            rest = {name: value for name, value in kwargs.items() if name != "out"}
            flops = formula(*args, **rest, out_val=result)
            layout = func, _layout(args), _layout(kwargs)
            kept = self.products.setdefault(layout, Product(flops, 0, *layout))
            kept.count += 1
        return result


@dataclass(frozen=True)
class Layout:
    """What decides how fast a product of tensors is."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


def _layout(value: Any) -> Any:
    """The arguments with layouts in place of tensors, hashable."""
    if isinstance(value, Tensor):
        return Layout(tuple(value.shape), value.stride(), value.dtype, value.device)
    if isinstance(value, dict):
        return tuple((name, _layout(entry)) for name, entry in value.items())
    return tuple(map(_layout, value)) if isinstance(value, list | tuple) else value


def _filled(value: Any) -> Any:
    """The arguments with new tensors in place of layouts."""
    if isinstance(value, Layout):
        extent = 1 + sum((size - 1) * step for size, step in zip(value.shape, value.stride, strict=True))
        numbers = torch.randn(extent, dtype=value.dtype, device=value.device)  # elements may share a place: expanded
        return numbers.as_strided(value.shape, value.stride)
    return tuple(map(_filled, value)) if isinstance(value, tuple) else value
