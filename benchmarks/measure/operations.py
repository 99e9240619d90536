"""Costs that do not depend on a machine's load: matrix-product FLOPs, operators, bytes moved, and bytes kept for the
backward pass.

FLOPs follow PyTorch's own formulas (``torch.utils.flop_counter``), plus the products that its counter omits: in-place
ones. Everything is counted where PyTorch dispatches, so work done in hand-written autograd functions
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
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from pushforward.fused.maps import SplineMoving
from pushforward.fused.pool import Pool
from pushforward.fused.stack import Workspace
from pushforward.numerics.torch_internals import onednn_product

from .models import Job

aten = torch.ops.aten
FORMULAS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    aten.addmm_: lambda *args, **kwargs: flop_registry[aten.addmm](*args, **kwargs),
    aten.baddbmm_: lambda *args, **kwargs: flop_registry[aten.baddbmm](*args, **kwargs),
}
ONEDNN: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
if ONEDNN is not None:
    FORMULAS[ONEDNN] = lambda x, weight, *rest, out_val=None: 2 * x.numel() * len(weight)
VIEWS = {"view", "t", "transpose", "permute", "expand", "slice", "select", "detach", "alias", "unsqueeze", "squeeze"}


@dataclass(frozen=True)
class Cost:
    """Of one call: FLOPs of matrix products and convolutions, operators other than views, bytes that these read and
    write, bytes for the backward."""

    flops: int
    operators: int
    moved_bytes: int
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

    def by_either_engine(self) -> list[Job]:
        """The same work; for a product of two matrices as each engine does it."""
        a, b = (*_filled(self.args), None, None)[:2]
        if self.operator._overloadpacket is ONEDNN:
            return [self.again(), lambda: torch.mm(a, b.t())]
        if self.operator._overloadpacket is aten.mm and ONEDNN is not None and a.device.type == "cpu":
            return [self.again(), lambda: onednn_product(a, b)]
        return [self.again()]


def cost(job: Job, module: nn.Module) -> Cost:
    """Costs of the second call, after seeding; the first may fill caches. The module's own parameters are not counted,
    but the workspaces of networks are."""
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
    return Cost(flops, seen.operators, seen.moved, lent + sum(kept.values()))


def _lent(job: Job) -> int:
    """Bytes leased by the fast room at the start of the backward pass, and those that splines keep beside it."""
    lease, give_back, vjp = Pool.lease, Pool.give_back, Workspace.vjp
    leased: dict[int, Any] = {}
    waiting: list[int] = []

    def leasing(pool: Pool, *args: Any) -> Any:
        thing = lease(pool, *args)
        leased[id(thing)] = thing
        return thing

    def giving_back(pool: Pool, kind: Any, batch: int, thing: Any) -> None:
        leased.pop(id(thing), None)
        give_back(pool, kind, batch, thing)

    def pulling(workspace: Workspace, *args: Any) -> Any:
        waiting.append(sum(thing.nbytes + _kept_by_splines(thing) for thing in leased.values()))
        return vjp(workspace, *args)

    with (
        mock.patch.multiple(Pool, lease=leasing, give_back=giving_back),
        mock.patch.object(Workspace, "vjp", pulling),
    ):
        job()
    return max(waiting, default=0)


def _kept_by_splines(thing: Any) -> int:
    moving = [views.moving for views in thing.views] if isinstance(thing, Workspace) else []
    kept = [each.kept for each in moving if isinstance(each, SplineMoving) and each.kept is not None]
    tensors = [value for one in kept for value in (one.t, one.inside, *one.bins, one.shares)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def products(job: Job) -> list[Product]:
    """Every matrix product and convolution of a call, with equal ones merged."""
    job()
    with _Dispatched() as seen:
        job()
    return list(seen.products.values())


class _Dispatched(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operators = self.moved = 0
        self.products: dict[Any, Product] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func._overloadpacket.__name__ not in VIEWS:
            self.operators += 1
            self.moved += _bytes((args, kwargs, result))
        formula = FORMULAS.get(func._overloadpacket)
        if formula is not None:
            rest = {name: value for name, value in kwargs.items() if name != "out"}
            flops = formula(*args, **rest, out_val=result)
            layout = func, _layout(args), _layout(kwargs)
            kept = self.products.setdefault(layout, Product(flops, 0, *layout))
            kept.count += 1
        return result


def _bytes(values: Any) -> int:
    """Bytes of all tensors among the values, each counted once, and expanded ones as they lie in memory."""
    tensors = {id(leaf): leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)}
    return sum(min(t.numel() * t.element_size(), t.untyped_storage().nbytes()) for t in tensors.values())


@dataclass(frozen=True)
class Layout:
    """The properties of tensors that determine the speed of a product."""

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
        numbers = torch.randn(extent, dtype=value.dtype, device=value.device)  # elements may share memory: expanded
        return numbers.as_strided(value.shape, value.stride)
    return tuple(map(_filled, value)) if isinstance(value, tuple) else value
