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

from .layout import plain_for_ever, plain_operations
from .masked_linear import Staircase, flatten, grad_input, grad_weight, linear, linear_into, unflatten
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
        params: Flat weights and biases in turn: w1, b1, w2, b2, …; b1 may also be ``(units, n)``,
            one for each column of x.
        residual: Whether hidden layers after the first come in residual pairs.
    """
    if torch.compiler.is_dynamo_compiling() and not plain_for_ever():
        pattern = [number for stairs in layers for number in flatten(stairs)]
        return _OPERATOR(x, params, pattern, residual)[0]  # type: ignore[no-any-return]
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
        needs_x, _, _, *needed = ctx.needs_input_grad
        grad_x, grads = _pull_back(grad_out, layers, params, read, residual, needs_x, needed)
        return grad_x, None, None, *grads


def _pull_back(
    grad: Tensor,
    layers: Sequence[Staircase],
    params: Sequence[Tensor],
    read: Sequence[Tensor],
    residual: bool,
    needs_x: bool,
    needed: Sequence[bool],
) -> tuple[Tensor | None, list[Tensor | None]]:
    """The gradients of x and of those parameters that need one."""
    grads: list[Tensor | None] = [None] * len(params)
    stream = None
    for k in range(len(layers) - 1, -1, -1):
        if needed[2 * k]:
            grads[2 * k] = grad_weight(layers[k], params[2 * k], grad, read[k])
        if needed[2 * k + 1]:
            grads[2 * k + 1] = grad.clone() if params[2 * k + 1].dim() == 2 else grad.sum(1)
        if k == 0:
            break
        grad = _rectified(grad_input(layers[k], params[2 * k], grad), read[k])
        if residual and k % 2 == 1:  # what left the stream for a block comes back to it
            grad = grad if stream is None else grad.add_(stream)
            stream = grad
    return grad_input(layers[0], params[0], grad) if needs_x else None, grads


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


# For torch.compile the network is one operator that it does not look into: the products are at full rate as they are.


_LIBRARY = torch.library.Library("pushforward", "DEF")
_LIBRARY.define("perceptron(Tensor x, Tensor[] params, int[] pattern, bool residual) -> Tensor[]")
_LIBRARY.define(
    "perceptron_backward(Tensor grad, Tensor[] params, Tensor[] read, int[] pattern, bool residual) -> Tensor[]"
)


@torch.library.impl(_LIBRARY, "perceptron", "CompositeExplicitAutograd")
def _operator(x: Tensor, params: list[Tensor], pattern: list[int], residual: bool) -> list[Tensor]:
    out, read = _run(x, unflatten(tuple(pattern)), params, residual, None, fresh)
    return [out, *read[1:]]


@torch.library.register_fake("pushforward::perceptron", lib=_LIBRARY)
def _shapes(x: Tensor, params: list[Tensor], pattern: list[int], residual: bool) -> list[Tensor]:
    layers = unflatten(tuple(pattern))
    return [x.new_empty(stairs.rows, x.shape[1]) for stairs in (layers[-1], *layers[:-1])]


@torch.library.impl(_LIBRARY, "perceptron_backward", "CompositeExplicitAutograd")
def _operator_backward(
    grad: Tensor, params: list[Tensor], read: list[Tensor], pattern: list[int], residual: bool
) -> list[Tensor]:
    grad_x, grads = _pull_back(
        grad.contiguous(), unflatten(tuple(pattern)), params, read, residual, True, [True] * len(params)
    )
    return [grad_x, *grads]  # type: ignore[list-item]


@torch.library.register_fake("pushforward::perceptron_backward", lib=_LIBRARY)
def _backward_shapes(
    grad: Tensor, params: list[Tensor], read: list[Tensor], pattern: list[int], residual: bool
) -> list[Tensor]:
    return [torch.empty_like(read[0]), *(torch.empty_like(param) for param in params)]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, params, ctx.pattern, ctx.residual = inputs
    ctx.params = len(params)
    ctx.save_for_backward(*params, x, *output[1:])


def _backward(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    params, read = ctx.saved_tensors[: ctx.params], ctx.saved_tensors[ctx.params :]
    grad_x, *found = torch.ops.pushforward.perceptron_backward(
        grads[0], list(params), list(read), ctx.pattern, ctx.residual
    )
    return grad_x, found, None, None


torch.library.register_autograd("pushforward::perceptron", _backward, setup_context=_keep, lib=_LIBRARY)
_OPERATOR: Callable[..., Any] = torch.ops.pushforward.perceptron
