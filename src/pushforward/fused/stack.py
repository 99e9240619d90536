r"""A sequence of networks and the scalar maps that they parametrise, as one differentiable function.

A layer of a flow reads one part of the event and moves another: consecutive couplings mostly swap the roles, and each
writes its moved part to where the next network reads it, so nothing is split, joined or copied in between. A masked
autoregressive layer is a stack by itself, whose only part is the whole event. It is one function because small flows
are mostly operator-launch and autograd overhead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..nets.mlp import STRAIGHT
from ..numerics.torch_internals import saved_tensors_hooked
from ..transforms.linear import Permutation
from .maps import AffineMap, Moving, SplineMap
from .network import Network, Shape, mask
from .pool import POOL, where


class FlowLayer(NamedTuple):
    """A network, the map that it parametrises, and the indices of the parts that it reads and moves."""

    shape: Shape
    map: AffineMap | SplineMap
    read: int
    moved: int


class Plan(NamedTuple):
    """Constant across calls: the parts of the event ``(start, stop, step)``, the layers in the order in which they run,
    and whether they run from noise to data."""

    parts: tuple[tuple[int, int, int], ...]
    layers: tuple[FlowLayer, ...]
    inverse: bool


def run(x: Tensor, plan: Plan, params: list[Tensor], order: Permutation | None = None) -> tuple[Tensor, Tensor]:
    """The moved events ``(features, n)`` and the log-determinants ``(n,)``.

    Args:
        x: ``(features, n)``.
        params: Weights ``(out, in)`` and biases in turn, one network after the other; a network's outputs are all
            parameters of the first feature, then of the next. The first bias of a network may be ``(units, n)``.
        order: The permutation in whose order the features of a plan of one part come out.
    """
    if torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in params)):
        return _Stack.apply(x, plan, order, *params)
    return _run(x, plan, params, order)


class Views(NamedTuple):
    """One layer's part of a call: where its parameters are, and the memory it works in."""

    layer: FlowLayer
    params: slice
    read: Tensor
    network: Network
    moving: Moving
    before: Tensor
    after: Tensor
    log_slope: Tensor


class Workspace:
    """The memory of a stack, with all its views. A layer usually writes where the next layer's network reads.

    Args:
        kind: What the memory may be leased for.
        like: Events of the kind it is for, ``(features, n)``.
        keeps: Whether everything is kept for the backward pass. If not, layers overwrite memory of earlier layers.
    """

    def __init__(self, kind: Any, plan: Plan, like: Tensor, keeps: bool) -> None:
        self.plan, self.kind, n = plan, kind, like.shape[1]
        self._shared: dict[Any, Any] = {}
        self.parts = [slice(*part) for part in plan.parts]
        ranges = all(step == 1 for *_, step in plan.parts)
        self.adjacent = sorted(range(len(self.parts)), key=lambda k: plan.parts[k][0]) if ranges else []
        sizes = [len(range(*part)) for part in plan.parts]
        heights = [sizes[layer.moved] for layer in plan.layers]
        ends = list(accumulate((2 * len(layer.shape.layers) for layer in plan.layers), initial=0))
        # Without a backward pass two networks in turn suffice: a layer may overwrite what the one before it read.
        networks = [
            self._once(("network", k if keeps else k % 2, layer.shape), Network, layer.shape, like, n)
            for k, layer in enumerate(plan.layers)
        ]
        self.log_slopes = self._plane("log slopes", like, sum(heights), n)
        log_slopes = self.log_slopes.split(heights)
        first = plan.layers[0]
        now = [self._plane(("first", part), like, size, n) for part, size in enumerate(sizes)]
        now[first.read] = networks[0].x
        self.first, self.views = list(now), []
        for k, (layer, network, height) in enumerate(zip(plan.layers, networks, heights, strict=True)):
            read, before = now[layer.read], now[layer.moved]
            feeds = k + 1 < len(networks) and plan.layers[k + 1].read == layer.moved
            after = networks[k + 1].x if feeds else self._plane(("after", k), like, height, n)
            now[layer.read], now[layer.moved] = network.x, after
            outputs = self._plane(("outputs", height * layer.map.num_params), like, height * layer.map.num_params, n)
            moving = self._once(("map", k if keeps else height, layer.map), layer.map.workspace, outputs, plan.inverse)
            own = slice(ends[k], ends[k + 1])
            self.views.append(Views(layer, own, read, network, moving, before, after, log_slopes[k]))
        self.last = now
        self.grads = (
            [self._plane(("gradient", part), like, size, n) for part, size in enumerate(sizes)] if keeps else []
        )
        self.nbytes = sum(each.nbytes for each in self._shared.values())

    def _once(self, key: Any, make: Callable[..., Any], *args: Any) -> Any:
        if key not in self._shared:
            self._shared[key] = make(*args)
        return self._shared[key]

    def _plane(self, key: Any, like: Tensor, units: int, n: int) -> Tensor:
        return self._once(key, like.new_empty, (units, n))  # type: ignore[no-any-return]

    def run(self, x: Tensor, params: Sequence[Tensor], order: Permutation | None) -> tuple[Tensor, Tensor]:
        """The moved events and the log-determinants, in new memory."""
        self._divide(x, self.first)
        places = list(self.last)
        for layer, own, read, network, moving, before, after, log_slope in self.views:
            if read is not network.x:
                network.x.copy_(read)
            network.run(params[own], moving.outputs)
            found = moving.run(before, after, log_slope)
            if found is not after:  # only the last layer of a plan may leave its plane elsewhere
                places[layer.moved] = found
        return self._joined(places, order), self.log_slopes.sum(0)

    def vjp(
        self,
        z_grad: Tensor,
        logdet_grad: Tensor,
        params: Sequence[Tensor],
        order: Permutation | None,
        needs_x: bool,
        needed: Sequence[bool],
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """The gradients of x, if it ``needs`` one, and of the ``needed`` parameters, after :meth:`run`."""
        if order is None:
            self._divide(z_grad, self.grads)
        else:
            torch.index_select(z_grad, 0, order.back, out=self.grads[0])
        found: list[Tensor | None] = []
        for views in reversed(self.views):
            moving, own = views.moving, views.params
            moving.vjp(self.grads[views.layer.moved], logdet_grad)
            into = self.grads[views.layer.read] if needs_x or views is not self.views[0] else None
            found[:0] = views.network.vjp(moving.outputs, params[own], needed[own], into)
        return self._joined(self.grads) if needs_x else None, found

    def give_back(self) -> None:
        """Drops references that only this call needed, and lets the memory be leased again."""
        for views in self.views:
            views.moving.forget()
        POOL.give_back(self.kind, self.log_slopes.shape[1], self)

    def _divide(self, whole: Tensor, places: Sequence[Tensor]) -> None:
        """Copies the parts of a ``(features, n)`` tensor to their places."""
        for part, place in zip(self.parts, places, strict=True):
            place.copy_(whole[part])

    def _joined(self, places: Sequence[Tensor], order: Permutation | None = None) -> Tensor:
        """The inverse of :meth:`_divide`, in new memory."""
        if order is not None:
            return places[0].index_select(0, order.order)
        if self.adjacent:
            return torch.cat([places[k] for k in self.adjacent])
        whole = places[0].new_empty(sum(map(len, places)), places[0].shape[1])
        for part, place in zip(self.parts, places, strict=True):
            whole[part] = place
        return whole


def _lease(x: Tensor, plan: Plan, keeps: bool) -> Workspace:
    kind = "stack", plan, keeps, *where(x)
    return POOL.lease(kind, x.shape[1], lambda: Workspace(kind, plan, x, keeps))


def _run(x: Tensor, plan: Plan, params: Sequence[Tensor], order: Permutation | None) -> tuple[Tensor, Tensor]:
    workspace = _lease(x, plan, keeps=False)
    with torch.no_grad():
        found = workspace.run(x, params, order)
    workspace.give_back()
    return found


class _Stack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: Plan, order: Permutation | None, *params: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, *params)
        ctx.plan, ctx.order, ctx.workspace = plan, order, None
        if saved_tensors_hooked():
            return _run(x, plan, params, order)
        ctx.workspace = _lease(x, plan, keeps=True)
        return ctx.workspace.run(x, params, order)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, z_grad: Tensor, logdet_grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, *params = ctx.saved_tensors
        needs_x, _, _, *needed = ctx.needs_input_grad
        if torch.is_grad_enabled():  # double backward: only plain operations are differentiable
            return _plain_gradients(ctx, (x, *params), (needs_x, *needed), (z_grad, logdet_grad))
        workspace, ctx.workspace = ctx.workspace, None
        if workspace is None:  # a second backward through one graph, or a checkpoint: run again
            workspace = _lease(x, ctx.plan, keeps=True)
            workspace.run(x, params, ctx.order)
        x_grad, grads = workspace.vjp(z_grad, logdet_grad, params, ctx.order, needs_x, needed)
        workspace.give_back()
        return x_grad, None, None, *grads


def _plain_gradients(
    ctx: Any, inputs: Sequence[Tensor], needed: Sequence[bool], grads_out: tuple[Tensor, Tensor]
) -> tuple[Tensor | None, ...]:
    """The gradients as differentiable tensors."""
    wanted = [value for value, need in zip(inputs, needed, strict=True) if need]
    outputs = plain(inputs[0], ctx.plan, inputs[1:], ctx.order)
    found = iter(torch.autograd.grad(outputs, wanted, grads_out, create_graph=True, allow_unused=True))
    first, *others = (next(found) if need else None for need in needed)
    return first, None, None, *others


def plain(x: Tensor, plan: Plan, params: Sequence[Tensor], order: Permutation | None = None) -> tuple[Tensor, Tensor]:
    """:func:`run` in operations that can be differentiated any number of times."""
    parts = [slice(*part) for part in plan.parts]
    now, logdet, rest = [x[part] for part in parts], x.new_zeros(x.shape[1]), iter(params)
    for layer in plan.layers:
        out = plain_network(now[layer.read], layer.shape, rest)
        theta = out.unflatten(0, (-1, layer.map.num_params)).transpose(0, 1)
        now[layer.moved], log_slope = layer.map.plain(now[layer.moved], theta, plan.inverse)
        logdet = logdet + log_slope.sum(0)
    places = torch.arange(len(x), device=x.device)
    whole = torch.cat(now)[torch.cat([places[part] for part in parts]).argsort()]
    return whole if order is None else whole.index_select(0, order.order), logdet


def plain_network(x: Tensor, shape: Shape, params: Iterator[Tensor]) -> Tensor:
    h = stream = x
    for k, pattern in enumerate(shape.layers):
        weight, bias = next(params), next(params)
        if pattern.degrees is not None:
            weight = weight * mask(pattern, weight.dtype, weight.device)
        read = h if k == 0 else STRAIGHT * h if k == shape.straight else h.relu()
        h = weight @ read + (bias if bias.dim() == 2 else bias[:, None])
        if shape.residual and k % 2 == 0 and k < len(shape.layers) - 1:
            h = stream = h if k == 0 else stream + h
    return h
