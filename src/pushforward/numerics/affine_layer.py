r"""A masked network and the affine map that it drives, as one differentiable function: a whole layer of a MAF.

One function, because a small layer is mostly starts of operators and nodes of a graph: the network's outputs are never
kept, and results are written into place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import affine, tails
from .masked_linear import Staircase
from .perceptron import infer, plain_gradients, plain_perceptron
from .scratch import recycled, scratch
from .workspace import Workspace, hooked, workspace


class Layer(NamedTuple):
    """What does not change from call to call: the network, the bound of log-scales and where
    :func:`tails <.tails.tame>` begin, if there are any."""

    layers: tuple[Staircase, ...]
    residual: bool
    limit: float
    tails: float | None = None


class Order(NamedTuple):
    """In which order the network takes the rows, and what undoes that."""

    order: Tensor
    back: Tensor


def affine_layer(
    x: Tensor, layer: Layer, params: list[Tensor], masks: Sequence[Tensor] = (), order: Order | None = None
) -> tuple[Tensor, Tensor]:
    """z (features, n) and log|det dz/dx| (n,).

    Args:
        x: ``(features, n)``, contiguous.
        layer: The layer.
        params: The network's flat weights and biases in turn, as for :func:`~.perceptron.perceptron`; its outputs are
            mu and the raw log-scale of one moved row after the other.
        masks: What to multiply each weight by; nothing where not given.
        order: The order in which the network takes the rows.
    """
    if torch.is_grad_enabled():
        return _Layer.apply(x, layer, masks, order, *params)
    z = x.clone() if order is None else x.index_select(0, order.order)
    outputs = affine.parameters(layer.layers[-1], x, (x.shape[1],))
    infer(z, layer.layers, params, layer.residual, masks, outputs.all)
    logdet = _move_only(z, outputs, layer)
    outputs.release()
    return (z if order is None else z.index_select(0, order.back)), logdet


def _move_only(rows: Tensor, params: affine.Parameters, layer: Layer) -> Tensor:
    """Moves the rows in place, with their tails; the log-determinants."""
    mu, raw = params.mu, params.raw
    scale = scratch("scale", rows, *rows.shape)
    log_slope = torch.div(raw, affine.denominator(raw, layer.limit, False, scale), out=raw)
    rows.sub_(mu).mul_(torch.exp(log_slope, out=scale))
    if layer.tails is not None and not tails.all_within(rows, layer.tails):
        log_slope.sub_(tails.tame_(rows, layer.tails))
    return log_slope.sum(0)


def _move(rows: Tensor, params: affine.Parameters, layer: Layer) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Moves the rows in place, and if there are tails tames them elsewhere; the result, the log-determinants, and what
    the way back needs: slopes, denominators of the log-slopes, and of tails that are reached a and the clamped rows."""
    mu, raw = params.mu, params.raw
    denominator = affine.denominator(raw, layer.limit, False, recycled(raw, *raw.shape))
    log_slope = torch.div(raw, denominator, out=raw)
    scale = torch.exp(log_slope, out=recycled(raw, *raw.shape))
    rows.sub_(mu).mul_(scale)
    if layer.tails is None or tails.all_within(rows, layer.tails):
        return rows, log_slope.sum(0), [scale, denominator]
    tamed, log, a, clamped = tails.tame_rows(rows, layer.tails)
    return tamed, log_slope.sub_(log).sum(0), [scale, denominator, a, clamped]


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, layer: Layer, masks: Sequence[Tensor], order: Order | None, *params: Tensor
    ) -> tuple[Tensor, Tensor]:
        space, outputs = _run(x, layer, masks, order, params)
        z = recycled(x, *x.shape).copy_(x if order is None else space.x)
        rows, logdet, kept = _move(z, outputs, layer)
        outputs.release()
        ctx.save_for_backward(x, z, *kept, *params)  # z in the network's order, its tails not tamed
        ctx.space, ctx.fixed, ctx.kept = None if hooked() else space, (layer, masks, order), len(kept)
        if ctx.space is None:
            space.release()
        return (rows if order is None else rows.index_select(0, order.back)), logdet

    @staticmethod
    def backward(ctx: Any, z_grad: Tensor, logdet_grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        layer, masks, order = ctx.fixed
        x, z, *saved = ctx.saved_tensors
        (scale, denominator, *tamed), params = saved[: ctx.kept], saved[ctx.kept :]
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
            outputs = affine.parameters(layer.layers[-1], x, (x.shape[1],))
        x_grad = recycled(x, *x.shape)
        if order is None:
            x_grad.copy_(z_grad)
        else:
            torch.index_select(z_grad, 0, order.order, out=x_grad)
        if layer.tails is not None and tamed:
            a, clamped = tamed
            tails.pull_back(x_grad, logdet_grad, a, clamped, layer.tails)
        torch.addcmul(logdet_grad.neg(), x_grad, z, value=-1, out=outputs.raw).div_(denominator).div_(denominator)
        torch.neg(x_grad.mul_(scale), out=outputs.mu)  # d z / d x = scale
        into = x_grad if needs_x else None
        grads = space.pull_back(outputs.all, params, masks, needed, into, outputs.rows, add=True)
        outputs.release()
        space.release()
        if order is not None and needs_x:
            x_grad = x_grad.index_select(0, order.back)
        return x_grad if needs_x else None, None, None, None, *grads


def _run(
    x: Tensor, layer: Layer, masks: Sequence[Tensor], order: Order | None, params: Sequence[Tensor]
) -> tuple[Workspace, affine.Parameters]:
    """The network's pass: its workspace and its outputs."""
    space = workspace(layer.layers, layer.residual, masks, x, (x.shape[1],))
    outputs = affine.parameters(layer.layers[-1], x, (x.shape[1],))
    if order is None:
        space.x.copy_(x)
    else:
        torch.index_select(x, 0, order.order, out=space.x)
    space.run(params, masks, outputs.all, outputs.rows)
    return space, outputs


def plain_layer(
    x: Tensor, layer: Layer, params: Sequence[Tensor], masks: Sequence[Tensor], order: Order | None = None
) -> tuple[Tensor, Tensor]:
    """The same of operations that can be differentiated any number of times."""
    x = x if order is None else x.index_select(0, order.order)
    out = plain_perceptron(x, layer.layers, params, layer.residual, masks)
    theta = out.unflatten(0, (len(out) // 2, 2)).transpose(0, 1)
    z, log_slope = affine.plain_forward(x, theta, layer.limit)
    if layer.tails is not None:
        z, more = tails.tame(z, layer.tails)
        log_slope = log_slope + more
    return (z if order is None else z.index_select(0, order.back)), log_slope.sum(0)
