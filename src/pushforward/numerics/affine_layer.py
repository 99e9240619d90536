r"""A parameter network and the affine map that it drives, as one differentiable function: an affine flow's whole layer.

The rows that the network reads and the rows that are moved are two slices of the planes of x, ``(features, n)``: two
parts in a coupling, twice all of them in an autoregressive layer. One function, because a small layer is mostly starts
of operators and nodes of a graph: the network's outputs are never kept, and the result is written into place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import affine
from .masked_linear import Staircase
from .perceptron import infer, masked_into, masked_params, plain_perceptron, pull_back, run
from .scratch import recycled, scratch


class Layer(NamedTuple):
    """What does not change from call to call.

    ``read`` and ``moved`` are the rows that the network reads and those that it moves; ``limit`` bounds log-scales.
    """

    read: slice
    moved: slice
    layers: tuple[Staircase, ...]
    residual: bool
    limit: float
    inverse: bool


def affine_layer(x: Tensor, layer: Layer, params: list[Tensor], masks: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor]:
    """z (features, n) and log|det dz/dx| (n,); with ``layer.inverse`` the other way.

    Args:
        x: ``(features, n)``, contiguous.
        layer: The layer.
        params: The network's flat weights and biases in turn, as for :func:`~.perceptron.perceptron`; its outputs are
            mu and the raw log-scale of one moved row after the other.
        masks: What to multiply each weight by; nothing where not given.
    """
    if torch.is_grad_enabled():
        return _Layer.apply(x, layer, masks, *params)
    out = scratch("parameters", x, layer.layers[-1].rows, x.shape[1])
    infer(x[layer.read], layer.layers, params, layer.residual, masks, out)
    z = torch.empty_like(x)
    log_slope, _, _ = _move(x, out, z, layer)
    return z, log_slope.sum(0)


def _move(x: Tensor, out: Tensor, z: Tensor, layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
    """Writes z; the log-slopes, in the memory of ``out``, the slopes and the denominators, ``(moved, n)``."""
    mu, raw = out.view(-1, 2, out.shape[1]).unbind(1)
    sign = 1 if layer.inverse else -1
    denominator = raw.abs().mul_(sign / layer.limit).add_(sign)
    log_slope = torch.div(raw, denominator, out=raw)
    scale = log_slope.exp()
    if layer.read != layer.moved:
        z[layer.read] = x[layer.read]
    target, start = z[layer.moved], x[layer.moved]
    if layer.inverse:
        torch.addcmul(mu, start, scale, out=target)
    else:
        torch.sub(start, mu, out=target).mul_(scale)
    return log_slope, scale, denominator


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Layer, masks: Sequence[Tensor], *params: Tensor) -> tuple[Tensor, Tensor]:
        out = scratch("parameters", x, layer.layers[-1].rows, x.shape[1])
        used = masked_into(params, masks)
        read = run(x[layer.read], layer.layers, used, layer.residual, out)
        z = recycled(x, *x.shape)
        log_slope, scale, denominator = _move(x, out, z, layer)
        ctx.save_for_backward(x, z, *params)
        ctx.layer, ctx.masks, ctx.kept = layer, masks, (used[::2], read, scale, denominator)
        return z, log_slope.sum(0)

    @staticmethod
    def backward(ctx: Any, z_grad: Tensor, logdet_grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, z, *params = ctx.saved_tensors
        layer, masks = ctx.layer, ctx.masks
        if torch.is_grad_enabled():  # somebody differentiates the gradient: plain operations can
            return _plain_backward(ctx, x, params, (z_grad, logdet_grad))
        weights, read, scale, denominator = ctx.kept
        grad = scratch("parameters", x, layer.layers[-1].rows, x.shape[1])
        mu_grad, raw_grad = grad.view(-1, 2, grad.shape[1]).unbind(1)
        x_grad = recycled(x, *x.shape)
        moved_grad = z_grad[layer.moved]
        through = torch.mul(moved_grad, scale, out=x_grad[layer.moved])  # d z / d x = scale
        if layer.inverse:
            mu_grad.copy_(moved_grad)
            torch.addcmul(logdet_grad, through, x[layer.moved], out=raw_grad).div_(denominator.square())
        else:
            torch.neg(through, out=mu_grad)
            torch.addcmul(logdet_grad, moved_grad, z[layer.moved], out=raw_grad).div_(denominator.square().neg_())
        needs_x, _, _, *needed = ctx.needs_input_grad
        alone = layer.read != layer.moved
        into = None
        if needs_x:
            into = x_grad[layer.read] if alone else scratch("read gradient", x, *x.shape)
        grads = pull_back(grad, layer.layers, weights, params[1::2], read, layer.residual, into, needed, masks)
        if into is not None:
            x_grad[layer.read] += z_grad[layer.read] if alone else into
        return x_grad if needs_x else None, None, None, *grads


def _plain_backward(
    ctx: Any, x: Tensor, params: Sequence[Tensor], grads_out: tuple[Tensor, Tensor]
) -> tuple[Tensor | None, ...]:
    needed = [i for i, need in enumerate(ctx.needs_input_grad) if need]
    inputs: tuple[Any, ...] = (x, None, None, *params)
    outputs = plain_layer(x, ctx.layer, list(params), ctx.masks)
    found = torch.autograd.grad(outputs, [inputs[i] for i in needed], grads_out, create_graph=True, allow_unused=True)
    grads: list[Tensor | None] = [None] * len(inputs)
    for i, grad in zip(needed, found, strict=True):
        grads[i] = grad
    return tuple(grads)


def plain_layer(x: Tensor, layer: Layer, params: list[Tensor], masks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The same of operations that can be differentiated any number of times."""
    out = plain_perceptron(x[layer.read], layer.layers, masked_params(params, masks), layer.residual)
    theta = out.view(-1, 2, out.shape[1]).transpose(0, 1)
    scalar_map = affine.plain_inverse if layer.inverse else affine.plain_forward
    moved, log_slope = scalar_map(x[layer.moved], theta, layer.limit)
    rows = torch.arange(len(x), device=x.device)[layer.moved]
    return x.index_copy(0, rows, moved), log_slope.sum(0)
