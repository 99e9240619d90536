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
from .masked_linear import (
    Staircase,
    by_row,
    by_step,
    flatten,
    grad_input,
    grad_weight,
    linear,
    matrices,
    products_into,
    rectify,
    unflatten,
)
from .products import full_rate, product
from .scratch import keep, recycled, scratch, take

_CHUNK = 1024  # columns at a time without gradients


def perceptron(
    x: Tensor,
    layers: tuple[Staircase, ...],
    params: list[Tensor],
    residual: bool = False,
    masks: Sequence[Tensor] = (),
) -> Tensor:
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
        masks: What to multiply each weight by, of its shape; nothing where not given.
    """
    if torch.compiler.is_dynamo_compiling() and not plain_for_ever():
        training, pattern = torch.is_grad_enabled(), [number for stairs in layers for number in flatten(stairs)]
        if training and not full_rate():
            return _OPERATOR(x, masked_params(params, masks), pattern, residual)[0]  # type: ignore[no-any-return]
        if not training and (not full_rate() or x.shape[1] > _CHUNK):
            return _INFERENCE(x, params, list(masks), pattern, residual)  # type: ignore[no-any-return]
    if plain_operations():
        return plain_perceptron(x, layers, masked_params(params, masks), residual)
    if torch.is_grad_enabled():
        return _Perceptron.apply(x, layers, residual, masks, *params)
    return _inference(x, params, masks, layers, residual)


def masked_params(params: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
    """The parameters with masked weights."""
    params = list(params)
    for k, mask in enumerate(masks):
        params[2 * k] = params[2 * k] * mask
    return params


def plain_perceptron(x: Tensor, layers: tuple[Staircase, ...], params: list[Tensor], residual: bool) -> Tensor:
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


def masked_into(params: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
    """The same without a graph, in memory that may stay."""
    params = list(params)
    for k, mask in enumerate(masks):
        params[2 * k] = torch.mul(params[2 * k], mask, out=recycled(mask, *mask.shape))
    return params


def run(
    x: Tensor, layers: tuple[Staircase, ...], params: Sequence[Tensor], residual: bool, out: Tensor
) -> list[Tensor]:
    """Writes the outputs into ``out``; what each layer read, in memory that may stay."""
    read = [x]
    stream = x
    for k, stairs in enumerate(layers):
        last = k == len(layers) - 1
        h = out if last else recycled(x, stairs.rows, x.shape[1])
        products_into(h, stairs, params[2 * k], read[-1])
        bias = params[2 * k + 1]
        if last:
            h.add_(by_row(bias))
        elif residual and k % 2 == 0:
            h.add_(by_row(bias))
            stream = h = h if k == 0 else h.add_(stream)
            read.append(torch.relu(h))
        else:
            read.append(rectify(h, bias))
    return read


def infer(
    x: Tensor,
    layers: tuple[Staircase, ...],
    params: Sequence[Tensor],
    residual: bool,
    masks: Sequence[Tensor],
    out: Tensor,
) -> None:
    """Writes the outputs into ``out``, some columns at a time in scratch memory, so that hidden units take no memory
    that grows with n."""
    n = x.shape[1]
    bias = params[1]
    for start in range(0, n, _CHUNK) if n > _CHUNK else (0,):
        part, into = x, out
        if n > _CHUNK:
            some = slice(start, start + _CHUNK)
            part, into = x[:, some], out[:, some]
            if bias.dim() == 2:
                params = [params[0], bias[:, some], *params[2:]]
        key = ("perceptron", layers, residual, len(masks), part.shape[1], x.dtype, x.device)
        workspace = take(key)
        if workspace is None:
            with torch.inference_mode(False), torch.no_grad():
                workspace = _Workspace(layers, residual, len(masks) > 0, part)
        workspace.run(part, params, masks, into)
        keep(key, workspace, workspace.numbers)


def _inference(
    x: Tensor, params: Sequence[Tensor], masks: Sequence[Tensor], layers: tuple[Staircase, ...], residual: bool
) -> Tensor:
    out = x.new_empty(layers[-1].rows, x.shape[1])
    infer(x, layers, params, residual, masks, out)
    return out


class _Workspace:
    """Memory for a pass without gradients, with its views made once: a small network is mostly starts of operators."""

    def __init__(self, layers: tuple[Staircase, ...], residual: bool, has_masks: bool, like: Tensor) -> None:
        n = like.shape[1]
        self.layers, self.residual = layers, residual
        self.x = like.new_empty(layers[0].columns, n)
        self.hidden = [like.new_empty(stairs.rows, n) for stairs in layers[:-1]]
        self.rectified = [torch.empty_like(h) if residual and k % 2 == 0 else h for k, h in enumerate(self.hidden)]
        self.weights = [like.new_empty(stairs.size) for stairs in layers] if has_masks else []
        self.matrices = [matrices(stairs, weight) for stairs, weight in zip(layers, self.weights, strict=False)]
        self.rows = [by_step(stairs, h) for stairs, h in zip(layers, self.hidden, strict=False)]
        self.reads = [
            [read.narrow(0, 0, step.columns) for step in stairs.steps]
            for stairs, read in zip(layers, [self.x, *self.rectified], strict=True)
        ]
        self.numbers = sum(t.numel() for t in (self.x, *self.weights, *self.hidden, *self.rectified))

    def run(self, x: Tensor, params: Sequence[Tensor], masks: Sequence[Tensor], out: Tensor) -> None:
        """Writes the network's outputs into ``out``."""
        first: Sequence[Tensor] = [x]
        if len(self.layers[0].steps) > 1:
            self.x.copy_(x)
            first = self.reads[0]
        elif self.layers[0].steps[0].columns < len(x):
            first = [x.narrow(0, 0, self.layers[0].steps[0].columns)]
        stream: Tensor | None = None
        for k, stairs in enumerate(self.layers):
            last = k == len(self.layers) - 1
            if masks:
                torch.mul(params[2 * k], masks[k], out=self.weights[k])
            blocks = self.matrices[k] if masks else matrices(stairs, params[2 * k])
            h = out if last else self.hidden[k]
            rows = by_step(stairs, out) if last else self.rows[k]
            for block, read, part in zip(blocks, self.reads[k] if k else first, rows, strict=True):
                product(block, read, out=part)
            bias = params[2 * k + 1]
            if last:
                h.add_(by_row(bias))
            elif self.residual and k % 2 == 0:
                h.add_(by_row(bias))
                stream = h if stream is None else h.add_(stream)
                torch.clamp_min(h, 0, out=self.rectified[k])
            else:
                rectify(h, bias)


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, layers: tuple[Staircase, ...], residual: bool, masks: Sequence[Tensor], *params: Tensor
    ) -> Tensor:
        used = masked_into(params, masks)
        out = recycled(x, layers[-1].rows, x.shape[1])
        read = run(x, layers, used, residual, out)
        ctx.save_for_backward(*used[::2], *read)
        ctx.layers, ctx.residual, ctx.masks, ctx.params = layers, residual, masks, params
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        layers, residual, masks, params = ctx.layers, ctx.residual, ctx.masks, ctx.params
        saved = ctx.saved_tensors
        weights, read = saved[: len(layers)], saved[len(layers) :]
        if torch.is_grad_enabled():  # somebody differentiates the gradient: plain operations can
            return _plain_backward(ctx, read[0], params, grad_out)
        needs_x, _, _, _, *needed = ctx.needs_input_grad
        grad_x = recycled(grad_out, *read[0].shape) if needs_x else None
        grads = pull_back(grad_out, layers, weights, params[1::2], read, residual, grad_x, needed, masks)
        return grad_x, None, None, None, *grads


def pull_back(
    grad: Tensor,
    layers: Sequence[Staircase],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    read: Sequence[Tensor],
    residual: bool,
    into: Tensor | None,
    needed: Sequence[bool],
    masks: Sequence[Tensor] = (),
) -> list[Tensor | None]:
    """Writes the gradient of x where it is wanted; the gradients of those parameters, weights and biases in turn, that
    need one."""
    grads: list[Tensor | None] = [None] * (2 * len(layers))
    stream = None
    for k in range(len(layers) - 1, -1, -1):
        if needed[2 * k]:
            grads[2 * k] = grad_weight(layers[k], grad, read[k], recycled(grad, *weights[k].shape))
            if masks:
                grads[2 * k].mul_(masks[k])  # type: ignore[union-attr]
        if needed[2 * k + 1]:
            grads[2 * k + 1] = grad.clone() if biases[k].dim() == 2 else grad.sum(1)
        if k == 0:
            break
        below = scratch(("gradient", k), grad, layers[k].columns, grad.shape[1])
        grad = _rectified(grad_input(layers[k], weights[k], grad, below), read[k])
        if residual and k % 2 == 1:  # what left the stream for a block comes back to it
            grad = grad if stream is None else grad.add_(stream)
            stream = grad
    if into is not None:
        grad_input(layers[0], weights[0], grad, into)
    return grads


def _rectified(grad: Tensor, h: Tensor) -> Tensor:
    """The gradient through max(h, 0), in place."""
    return torch.ops.aten.threshold_backward.grad_input(grad, h, 0, grad_input=grad)


def _plain_backward(ctx: Any, x: Tensor, params: Sequence[Tensor], grad_out: Tensor) -> tuple[Tensor | None, ...]:
    needed = [i for i, need in enumerate(ctx.needs_input_grad) if need]
    inputs: tuple[Any, ...] = (x, None, None, None, *params)
    out = plain_perceptron(x, ctx.layers, masked_params(params, ctx.masks), ctx.residual)
    found = torch.autograd.grad(out, [inputs[i] for i in needed], grad_out, create_graph=True, allow_unused=True)
    grads: list[Tensor | None] = [None] * len(inputs)
    for i, grad in zip(needed, found, strict=True):
        grads[i] = grad
    return tuple(grads)


# Where PyTorch's products are not at full rate, and for many rows without gradients, the network is one operator that
# torch.compile does not look into: compiled code knows neither oneDNN's products nor scratch memory. Elsewhere the
# compiler makes the biases, rectifiers and sums around the products into a few passes.


_LIBRARY = torch.library.Library("pushforward", "DEF")
_LIBRARY.define("perceptron(Tensor x, Tensor[] params, int[] pattern, bool residual) -> Tensor[]")
_LIBRARY.define(
    "perceptron_backward(Tensor grad, Tensor[] params, Tensor[] read, int[] pattern, bool residual) -> Tensor[]"
)


_LIBRARY.define(
    "perceptron_inference(Tensor x, Tensor[] params, Tensor[] masks, int[] pattern, bool residual) -> Tensor"
)


@torch.library.impl(_LIBRARY, "perceptron_inference", "CompositeExplicitAutograd")
def _inferred(x: Tensor, params: list[Tensor], masks: list[Tensor], pattern: list[int], residual: bool) -> Tensor:
    return _inference(x, params, masks, unflatten(tuple(pattern)), residual)


@torch.library.register_fake("pushforward::perceptron_inference", lib=_LIBRARY)
def _inference_shape(
    x: Tensor, params: list[Tensor], masks: list[Tensor], pattern: list[int], residual: bool
) -> Tensor:
    return x.new_empty(unflatten(tuple(pattern))[-1].rows, x.shape[1])


@torch.library.impl(_LIBRARY, "perceptron", "CompositeExplicitAutograd")
def _operator(x: Tensor, params: list[Tensor], pattern: list[int], residual: bool) -> list[Tensor]:
    layers = unflatten(tuple(pattern))
    out = recycled(x, layers[-1].rows, x.shape[1])
    return [out, *run(x, layers, params, residual, out)[1:]]


@torch.library.register_fake("pushforward::perceptron", lib=_LIBRARY)
def _shapes(x: Tensor, params: list[Tensor], pattern: list[int], residual: bool) -> list[Tensor]:
    layers = unflatten(tuple(pattern))
    return [x.new_empty(stairs.rows, x.shape[1]) for stairs in (layers[-1], *layers[:-1])]


@torch.library.impl(_LIBRARY, "perceptron_backward", "CompositeExplicitAutograd")
def _operator_backward(
    grad: Tensor, params: list[Tensor], read: list[Tensor], pattern: list[int], residual: bool
) -> list[Tensor]:
    layers, needed = unflatten(tuple(pattern)), [True] * len(params)
    grad_x = recycled(grad, *read[0].shape)
    grads = pull_back(grad.contiguous(), layers, params[::2], params[1::2], read, residual, grad_x, needed)
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
_INFERENCE: Callable[..., Any] = torch.ops.pushforward.perceptron_inference
