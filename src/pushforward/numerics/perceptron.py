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
from .masked_linear import Staircase, goes_by_row, linear, linear_by_row
from .products import blocks
from .scratch import recycled
from .workspace import hooked, workspace

_ACTIVATIONS = 1 << 19  # of the first layer, at a time without gradients


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
    if plain_operations():  # compilers make the biases, rectifiers and sums around the products into a few passes
        return plain_perceptron(x, layers, params, residual, masks)
    if torch.is_grad_enabled():
        return _Perceptron.apply(x, layers, residual, masks, *params)
    out = x.new_empty(layers[-1].rows, x.shape[1])
    infer(x, layers, params, residual, masks, out)
    return out


def plain_perceptron(
    x: Tensor,
    layers: tuple[Staircase, ...],
    params: Sequence[Tensor],
    residual: bool = False,
    masks: Sequence[Tensor] = (),
) -> Tensor:
    """The same of operations that anybody can look into."""
    weights = [w * mask for w, mask in zip(params[::2], masks, strict=True)] if masks else params[::2]
    pairs = list(zip(layers, weights, params[1::2], strict=True))
    count, n = _compiled_blocks(x, layers, params), x.shape[1]
    # a compiler has no other need of the batch last, and MKL shares out products by the batch where it is first
    by_row = count == 1 and torch.compiler.is_compiling() and all(goes_by_row(stairs, n) for stairs in layers)
    apply = linear_by_row if by_row else linear
    h = x.t() if by_row else x if count == 1 else x.unflatten(1, (count, n // count)).transpose(0, 1)
    h = apply(*pairs[0], h)
    for k, layer in enumerate(pairs[1:-1]):
        if not residual:
            h = apply(*layer, F.relu(h))
        elif k % 2 == 0:
            inner = apply(*layer, F.relu(h))
        else:
            h = h + apply(*layer, F.relu(inner))
    if len(pairs) > 1:
        h = apply(*pairs[-1], F.relu(h))
    return h.t() if by_row else h if count == 1 else h.transpose(0, 1).flatten(1)


def _compiled_blocks(x: Tensor, layers: Sequence[Staircase], params: Sequence[Tensor]) -> int:
    """Into how many :func:`~.products.blocks` a compiled network should cut the columns of x."""
    if not torch.compiler.is_compiling() or plain_for_ever() or any(bias.dim() == 2 for bias in params[1::2]):
        return 1
    return blocks(x, max(stairs.size for stairs in layers) * x.shape[1], x.shape[1])


def infer(
    x: Tensor,
    layers: tuple[Staircase, ...],
    params: Sequence[Tensor],
    residual: bool,
    masks: Sequence[Tensor],
    out: Tensor,
) -> None:
    """Writes the outputs into ``out`` without a graph, some columns at a time, so that hidden units take no memory that
    grows with n."""
    n, most = x.shape[1], max(_ACTIVATIONS // layers[0].rows, 1)
    bias = params[1]
    for start in range(0, n, most) if n > most else (0,):
        part, into = x, out
        if n > most:
            some = slice(start, start + most)
            part, into = x[:, some], out[:, some]
            if bias.dim() == 2:
                params = [params[0], bias[:, some], *params[2:]]
        space = workspace(layers, residual, masks, x, (part.shape[1],))
        space.x.copy_(part)
        space.run(params, masks, into)
        space.release()


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, layers: tuple[Staircase, ...], residual: bool, masks: Sequence[Tensor], *params: Tensor
    ) -> Tensor:
        space = workspace(layers, residual, masks, x, (x.shape[1],))
        space.x.copy_(x)
        out = recycled(x, layers[-1].rows, x.shape[1])
        space.run(params, masks, out)
        ctx.save_for_backward(x, *params)
        ctx.space, ctx.network = None if hooked() else space, (layers, residual, masks)
        if ctx.space is None:
            space.release()
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, *params = ctx.saved_tensors
        layers, residual, masks = ctx.network
        needs_x, _, _, _, *needed = ctx.needs_input_grad
        if torch.is_grad_enabled():  # somebody differentiates the gradient: plain operations can

            def plain(x: Tensor, *params: Tensor) -> Tensor:
                return plain_perceptron(x, layers, params, residual, masks)

            grad_x, *grads = plain_gradients(plain, (x, *params), (needs_x, *needed), grad_out)
            return grad_x, None, None, None, *grads
        space, ctx.space = ctx.space, None
        if space is None:  # once more through one graph: others may have the memory by now
            space = workspace(layers, residual, masks, x, (x.shape[1],))
            space.x.copy_(x)
            space.run(params, masks, x.new_empty(grad_out.shape))
        grad_x = recycled(x, *x.shape) if needs_x else None
        grads = space.pull_back(grad_out, params, masks, needed, grad_x)
        space.release()
        return grad_x, None, None, None, *grads


def plain_gradients(
    function: Callable[..., Any], inputs: Sequence[Tensor], needed: Sequence[bool], grads_out: Any
) -> list[Tensor | None]:
    """The gradients of a function's inputs, those that are needed, as part of a graph themselves."""
    wanted = [value for value, need in zip(inputs, needed, strict=True) if need]
    found = iter(torch.autograd.grad(function(*inputs), wanted, grads_out, create_graph=True, allow_unused=True))
    return [next(found) if need else None for need in needed]
