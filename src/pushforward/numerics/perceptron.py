"""A whole ReLU perceptron over staircase weights as one differentiable function.

One function, because a parameter network is most of a flow's time: its activations are rectified in place, its
backward pass multiplies no zeros and leaves no gradients of them, and autograd sees one node in place of a dozen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .layout import plain_operations
from .masked_linear import Staircase, grad_input, grad_weight, linear, linear_into
from .scratch import fresh, scratch

_CHUNK = 1024  # columns at a time without gradients


def perceptron(x: Tensor, layers: tuple[Staircase, ...], params: list[Tensor], residual: bool = False) -> Tensor:
    r"""The network's outputs, ``(outputs, n)``: everything here has the batch last.

    .. math:: h_1 = W_1 x + b_1,\quad h_{k+1} = W_{k+1} \max(h_k, 0) + b_{k+1}

    With ``residual``, pairs of hidden layers add to what they read (He et al. 2016, arXiv:1603.05027):
    :math:`h_{k+2} = h_k + W_{k+2} \max(W_{k+1} \max(h_k, 0) + b_{k+1}, 0) + b_{k+2}`.

    Args:
        x: Inputs, ``(inputs, n)``.
        layers: The pattern of each weight.
        params: Flat weights and biases in turn: w1, b1, w2, b2, …; b1 may also be ``(units, n)``, one for each column of x.
        residual: Whether hidden layers after the first come in residual pairs.
    """
    if plain_operations():
        return _plain(x, layers, params, residual)
    if torch.is_grad_enabled():
        return _Perceptron.apply(x, layers, residual, *params)
    return _infer(x, layers, params, residual)


def _plain(x: Tensor, layers: tuple[Staircase, ...], params: list[Tensor], residual: bool) -> Tensor:
    pairs = list(zip(layers, params[::2], params[1::2], strict=True))
    h = linear(*pairs[0], x)
    for k, layer in enumerate(pairs[1:-1]):
        if not residual:
            h = linear(*layer, F.relu(h))
        elif k % 2 == 0:
            inner = linear(*layer, F.relu(h))
        else:
            h = h + linear(*layer, F.relu(inner))
    return linear(*pairs[-1], F.relu(h) if len(pairs) > 1 else x)


def _run(
    x: Tensor,
    layers: tuple[Staircase, ...],
    params: Sequence[Tensor],
    residual: bool,
    out: Tensor | None,
    empty: Callable[..., Tensor],
) -> tuple[Tensor, list[Tensor]]:
    """The outputs, in ``out`` where given, and what each layer read, in memory from ``empty``."""
    read = [x]
    stream = x
    for k, stairs in enumerate(layers[:-1]):
        into = empty(k, x, stairs.rows, x.shape[1]) if len(stairs.steps) > 1 else None
        h = linear_into(into, stairs, params[2 * k], params[2 * k + 1], read[-1])
        if residual and k % 2 == 0:
            stream = h = h if k == 0 else h.add_(stream)
            read.append(h.relu())
        else:
            read.append(h.relu_())
    if out is None and len(layers[-1].steps) > 1:
        out = x.new_empty(layers[-1].rows, x.shape[1])
    return linear_into(out, layers[-1], params[-2], params[-1], read[-1]), read


def _infer(x: Tensor, layers: tuple[Staircase, ...], params: Sequence[Tensor], residual: bool) -> Tensor:
    """The outputs, some columns at a time in scratch memory, so that hidden units take no memory that grows with n."""
    n = x.shape[1]
    if n <= _CHUNK:
        return _run(x, layers, params, residual, None, scratch)[0]
    out = x.new_empty(layers[-1].rows, n)
    bias = params[1]
    for start in range(0, n, _CHUNK):
        some = slice(start, start + _CHUNK)
        if bias.dim() == 2:
            params = [params[0], bias[:, some], *params[2:]]
        _run(x[:, some].contiguous(), layers, params, residual, out[:, some], scratch)
    return out


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: tuple[Staircase, ...], residual: bool, *params: Tensor) -> Tensor:
        out, read = _run(x, layers, params, residual, None, fresh)
        ctx.save_for_backward(*params, *read)
        ctx.layers, ctx.residual = layers, residual
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        layers, residual = ctx.layers, ctx.residual
        params, read = ctx.saved_tensors[: 2 * len(layers)], ctx.saved_tensors[2 * len(layers) :]
        if torch.is_grad_enabled():  # somebody differentiates the gradient: plain operations can
            return _plain_backward(ctx, read[0], layers, params, residual, grad_out)
        grads: list[Tensor | None] = [None] * len(params)
        grad, stream = grad_out, None
        for k in range(len(layers) - 1, -1, -1):
            if ctx.needs_input_grad[3 + 2 * k]:
                grads[2 * k] = grad_weight(layers[k], params[2 * k], grad, read[k])
            if ctx.needs_input_grad[4 + 2 * k]:
                grads[2 * k + 1] = grad.clone() if params[2 * k + 1].dim() == 2 else grad.sum(1)
            if k == 0:
                break
            grad = _rectified(grad_input(layers[k], params[2 * k], grad), read[k])
            if residual and k % 2 == 1:  # what left the stream for a block comes back to it
                grad = grad if stream is None else grad.add_(stream)
                stream = grad
        grad_x = grad_input(layers[0], params[0], grad) if ctx.needs_input_grad[0] else None
        return grad_x, None, None, *grads


def _rectified(grad: Tensor, h: Tensor) -> Tensor:
    """The gradient through max(h, 0), in place."""
    return torch.ops.aten.threshold_backward.grad_input(grad, h, 0, grad_input=grad)


def _plain_backward(ctx: Any, x: Tensor, layers, params, residual: bool, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    needed = [i for i, need in enumerate(ctx.needs_input_grad) if need]
    inputs = (x, None, None, *params)
    found = torch.autograd.grad(
        _plain(x, layers, params, residual), [inputs[i] for i in needed], grad_out, create_graph=True, allow_unused=True
    )
    grads: list[Tensor | None] = [None] * len(inputs)
    for i, grad in zip(needed, found, strict=True):
        grads[i] = grad
    return tuple(grads)
