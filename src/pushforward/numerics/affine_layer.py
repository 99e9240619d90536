r"""A parameter network and the affine map that it drives, as one differentiable function: an affine flow's whole layer.

The rows that the network reads and the rows that are moved are two slices of the planes of x, ``(features, n)``: two
parts in a coupling, twice all of them, in some order, in an autoregressive layer. One function, because a small layer
is mostly starts of operators and nodes of a graph: the network's outputs are never kept, and results are written into
place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import affine, tails
from .masked_linear import Staircase, by_step
from .perceptron import infer, plain_gradients, plain_perceptron
from .scratch import keep, on, recycled, scratch, take
from .workspace import Workspace, hooked, workspace


class Layer(NamedTuple):
    """What does not change from call to call.

    ``read`` and ``moved`` are the rows that the network reads and those that it moves; ``limit`` bounds log-scales.
    With ``tails``, which have no inverse here, the moved rows go through :func:`~.tails.tame` at the end.
    """

    read: slice
    moved: slice
    layers: tuple[Staircase, ...]
    residual: bool
    limit: float
    inverse: bool
    tails: float | None = None


class Order(NamedTuple):
    """In which order the network takes the rows, and what undoes that."""

    order: Tensor
    back: Tensor


def affine_layer(
    x: Tensor, layer: Layer, params: list[Tensor], masks: Sequence[Tensor] = (), order: Order | None = None
) -> tuple[Tensor, Tensor]:
    """z (features, n) and log|det dz/dx| (n,); with ``layer.inverse`` the other way.

    Args:
        x: ``(features, n)``, contiguous.
        layer: The layer.
        params: The network's flat weights and biases in turn, as for :func:`~.perceptron.perceptron`; its outputs are
            mu and the raw log-scale of one moved row after the other.
        masks: What to multiply each weight by; nothing where not given.
        order: The order of the rows, where all are read and moved.
    """
    if torch.is_grad_enabled():
        return _Layer.apply(x, layer, masks, order, *params)
    z = x.clone() if order is None else x.index_select(0, order.order)
    outputs = _parameters(layer, x)
    infer(z[layer.read], layer.layers, params, layer.residual, masks, outputs.all)
    logdet = _move_only(z[layer.moved], outputs, layer)
    outputs.release()
    return (z if order is None else z.index_select(0, order.back)), logdet


class _Parameters:
    """Memory for mu and the raw log-scales of the moved rows, or for their gradients."""

    def __init__(self, key: Any, layer: Layer, like: Tensor, n: int) -> None:
        self.key = key
        with torch.inference_mode(False), torch.no_grad():
            self.all = like.new_empty(layer.layers[-1].rows, n)
            self.mu, self.raw = self.all.view(len(self.all) // 2, 2, n).unbind(1)
            self.rows = by_step(layer.layers[-1], self.all)

    def release(self) -> None:
        keep(self.key, self, self.all.numel())


def _parameters(layer: Layer, like: Tensor) -> _Parameters:
    key = ("parameters", layer.layers[-1], like.shape[1], *on(like))
    kept = take(key)
    return _Parameters(key, layer, like, like.shape[1]) if kept is None else kept


def _move_only(rows: Tensor, params: _Parameters, layer: Layer) -> Tensor:
    """Moves the rows in place, with their tails; the log-determinants."""
    mu, raw = params.mu, params.raw
    scale = scratch("scale", rows, *rows.shape)
    log_slope = torch.div(raw, _denominator(raw, layer, scale), out=raw)  # s or -s
    _affine(rows, mu, torch.exp(log_slope, out=scale), layer)
    if layer.tails is not None:
        log_slope.sub_(tails.tame_(rows, layer.tails))
    return log_slope.sum(0)


def _move(rows: Tensor, params: _Parameters, layer: Layer) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Moves the rows in place, and if there are tails tames them elsewhere; the result, the log-determinants, and what
    the way back needs: slopes, denominators of the log-slopes, and of the tails a and the clamped rows."""
    mu, raw = params.mu, params.raw
    denominator = _denominator(raw, layer, recycled(raw, *raw.shape))
    log_slope = torch.div(raw, denominator, out=raw)
    scale = torch.exp(log_slope, out=recycled(raw, *raw.shape))
    _affine(rows, mu, scale, layer)
    if layer.tails is None:
        return rows, log_slope.sum(0), [scale, denominator]
    tamed, log, a, clamped = tails.tame_rows(rows, layer.tails)
    return tamed, log_slope.sub_(log).sum(0), [scale, denominator, a, clamped]


def _denominator(raw: Tensor, layer: Layer, out: Tensor) -> Tensor:
    """What the raw log-scale is divided by: 1 + |r| / limit, or minus that, for -s."""
    sign = 1 if layer.inverse else -1
    return torch.abs(raw, out=out).mul_(sign / layer.limit).add_(sign)


def _affine(rows: Tensor, mu: Tensor, scale: Tensor, layer: Layer) -> None:
    if layer.inverse:
        torch.addcmul(mu, rows, scale, out=rows)
    else:
        rows.sub_(mu).mul_(scale)


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, layer: Layer, masks: Sequence[Tensor], order: Order | None, *params: Tensor
    ) -> tuple[Tensor, Tensor]:
        space, outputs = _run(x, layer, masks, order, params)
        z = recycled(x, *x.shape).copy_(x if order is None else space.x)
        rows, logdet, kept = _move(z[layer.moved], outputs, layer)
        outputs.release()
        ctx.save_for_backward(x, z, *kept, *params)  # z in the network's order, its tails not tamed
        ctx.space, ctx.fixed = None if hooked() else space, (layer, masks, order)
        if ctx.space is None:
            space.release()
        whole = z if layer.tails is None else rows  # tails are of all rows
        return (whole if order is None else whole.index_select(0, order.back)), logdet

    @staticmethod
    def backward(ctx: Any, z_grad: Tensor, logdet_grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        layer, masks, order = ctx.fixed
        x, z, scale, denominator, *params = ctx.saved_tensors
        if layer.tails is not None:
            a, clamped, *params = params
        needs_x, _, _, _, *needed = ctx.needs_input_grad
        if torch.is_grad_enabled():  # somebody differentiates the gradient: plain operations can

            def plain(x: Tensor, *params: Tensor) -> tuple[Tensor, Tensor]:
                return plain_layer(x, layer, params, masks, order)

            found = plain_gradients(plain, (x, *params), (needs_x, *needed), (z_grad, logdet_grad))
            return found[0], None, None, None, *found[1:]
        space, ctx.space = ctx.space, None
        if space is None:  # once more through one graph: others may have the memory by now
            space, outputs = _run(x, layer, masks, order, params)
        else:
            outputs = _parameters(layer, x)
        x_grad = recycled(x, *x.shape)
        if order is None:
            x_grad.copy_(z_grad)
        else:
            torch.index_select(z_grad, 0, order.order, out=x_grad)
        rows = x_grad[layer.moved]
        if layer.tails is not None:
            tails.pull_back(rows, logdet_grad, a, clamped, layer.tails)
        if layer.inverse:
            outputs.mu.copy_(rows)
            rows.mul_(scale)  # d z / d x = scale
            torch.addcmul(logdet_grad, rows, x[layer.moved], out=outputs.raw)
        else:
            torch.addcmul(logdet_grad.neg(), rows, z[layer.moved], value=-1, out=outputs.raw)
            torch.neg(rows.mul_(scale), out=outputs.mu)
        outputs.raw.div_(denominator).div_(denominator)
        into = x_grad[layer.read] if needs_x else None
        grads = space.pull_back(outputs.all, params, masks, needed, into, outputs.rows, add=True)
        outputs.release()
        space.release()
        if order is not None and needs_x:
            x_grad = x_grad.index_select(0, order.back)
        return x_grad if needs_x else None, None, None, None, *grads


def _run(
    x: Tensor, layer: Layer, masks: Sequence[Tensor], order: Order | None, params: Sequence[Tensor]
) -> tuple[Workspace, _Parameters]:
    """The network's pass: its workspace and its outputs."""
    space, outputs = workspace(layer.layers, layer.residual, masks, x, x.shape[1]), _parameters(layer, x)
    if order is None:
        space.x.copy_(x[layer.read])
    else:
        torch.index_select(x, 0, order.order, out=space.x)
    space.run(params, masks, outputs.all, outputs.rows)
    return space, outputs


def plain_layer(
    x: Tensor, layer: Layer, params: Sequence[Tensor], masks: Sequence[Tensor], order: Order | None = None
) -> tuple[Tensor, Tensor]:
    """The same of operations that can be differentiated any number of times."""
    x = x if order is None else x.index_select(0, order.order)
    out = plain_perceptron(x[layer.read], layer.layers, params, layer.residual, masks)
    theta = out.unflatten(0, (len(out) // 2, 2)).transpose(0, 1)
    scalar_map = affine.plain_inverse if layer.inverse else affine.plain_forward
    moved, log_slope = scalar_map(x[layer.moved], theta, layer.limit)
    rows = torch.arange(len(x), device=x.device)[layer.moved]
    if layer.tails is not None:
        moved, more = tails.tame(moved, layer.tails)
        log_slope = log_slope + more
    z = x.index_copy(0, rows, moved)
    return (z if order is None else z.index_select(0, order.back)), log_slope.sum(0)
