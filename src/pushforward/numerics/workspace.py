"""Memory for a parameter network's pass and for the way back, with its views made once.

A small network is mostly starts of operators, and half of these would be views of weights and activations. So a thread
keeps the workspaces of its last passes, with all their views, and lends each to one pass at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .masked_linear import Staircase, by_step, grad_input, layer, matrices
from .products import goes_anew, summed_product
from .scratch import keep, on, recycled, take

Views = list[list[Tensor]]
Columns = tuple[int, ...]  # (n,), or (blocks, n)


class Workspace:
    """What one network needs for some columns: its input, masked weights and activations.

    Its planes are (rows, n), or (blocks, rows, n) where ``columns`` is (blocks, n) in place of (n,).
    With ``residual``, hidden layers after the first come in pairs that add to what they read.
    """

    def __init__(
        self, key: Any, layers: tuple[Staircase, ...], residual: bool, has_masks: bool, like: Tensor, columns: Columns
    ) -> None:
        self.key, self.layers, self.residual, self.columns = key, layers, residual, columns
        self.x = plane(like, layers[0].columns, columns)
        self.hidden = [plane(like, stairs.rows, columns) for stairs in layers[:-1]]
        self.rectified = [torch.empty_like(h) if residual and k % 2 == 0 else h for k, h in enumerate(self.hidden)]
        self.weights = [like.new_empty(stairs.size) for stairs in layers] if has_masks else []
        self.matrices = [matrices(stairs, weight) for stairs, weight in zip(layers, self.weights, strict=False)]
        self.rows = [by_step(stairs, h) for stairs, h in zip(layers, self.hidden, strict=False)]
        self.reads: Views = [
            [read.narrow(-2, 0, step.columns) for step in stairs.steps]
            for stairs, read in zip(layers, [self.x, *self.rectified], strict=True)
        ]
        self.anew = [
            [goes_anew(height, read) for height, read in zip(stairs.heights, reads, strict=True)]
            for stairs, reads in zip(layers, self.reads, strict=True)
        ]
        apart = [h for h, below in zip(self.rectified, self.hidden, strict=True) if h is not below]
        self.numbers = sum(t.numel() for t in (self.x, *self.weights, *self.hidden, *apart))  # in its memory
        self.turned: tuple[Views, Views] | None = None  # the weights and what they read, transposed

    def run(
        self, params: Sequence[Tensor], masks: Sequence[Tensor], out: Tensor, rows: Sequence[Tensor] | None = None
    ) -> None:
        """Writes the network's outputs for ``self.x`` into ``out``, whose parts by step are ``rows``."""
        stream: Tensor | None = None
        for k, stairs in enumerate(self.layers):
            last = k == len(self.layers) - 1
            if masks:
                torch.mul(params[2 * k], masks[k], out=self.weights[k])
            blocks = self.matrices[k] if masks else matrices(stairs, params[2 * k])
            h, parts = (out, rows or by_step(stairs, out)) if last else (self.hidden[k], self.rows[k])
            streams = self.residual and not last and k % 2 == 0
            rectified = not (last or streams)
            layer(stairs, blocks, self.reads[k], parts, h, params[2 * k + 1], rectified, self.anew[k])
            if streams:
                stream = h if stream is None else h.add_(stream)
                torch.clamp_min(h, 0, out=self.rectified[k])

    def pull_back(
        self,
        grad: Tensor,
        params: Sequence[Tensor],
        masks: Sequence[Tensor],
        needed: Sequence[bool],
        into: Tensor | None,
        rows: Sequence[Tensor] | None = None,
        add: bool = False,
    ) -> list[Tensor | None]:
        """The gradients of those parameters, weights and biases in turn, that are ``needed``, after :meth:`run`.

        Args:
            grad: The gradient of the outputs, whose parts by step are ``rows``.
            params: What the network was run with, and ``masks``.
            needed: For each parameter whether it needs a gradient.
            into: Where to write the gradient of x, if anybody wants it.
            add: Whether to add it there.
        """
        if self.turned is None:
            self.turned = (
                [[block.t() for block in blocks] for blocks in self.matrices],
                [[read.mT for read in reads] for reads in self.reads],
            )
        weights_turned, reads_turned = self.turned
        key = ("gradients", *self.key)
        kept = take(key)
        below = _Gradients(self, grad) if kept is None else kept
        grads: list[Tensor | None] = [None] * len(params)
        stream, parts = None, rows or by_step(self.layers[-1], grad)
        for k in range(len(self.layers) - 1, -1, -1):
            stairs, weight, bias = self.layers[k], params[2 * k], params[2 * k + 1]
            if needed[2 * k]:
                new = recycled(weight, *weight.shape)
                blocks = below.blocks[k] if masks else matrices(stairs, new)
                for part, read, block in zip(parts, reads_turned[k], blocks, strict=True):
                    summed_product(part, read, block)
                grads[2 * k] = torch.mul(below.weights[k], masks[k], out=new) if masks else new
            if needed[2 * k + 1]:
                grads[2 * k + 1] = grad.clone() if bias.dim() == 2 else _sum_of_columns(grad)
            out = below.hidden[k - 1] if k else into
            if out is None:
                break
            turned = weights_turned[k] if masks else [block.t() for block in matrices(stairs, weight)]
            grad_input(stairs, turned, parts, out, below.columns[k - 1] if k else None, add and k == 0)
            if k == 0:
                break
            grad, parts = _rectified(out, self.rectified[k - 1]), below.rows[k - 1]
            if self.residual and k % 2 == 1:  # what left the stream for a block comes back to it
                stream = grad = grad if stream is None else grad.add_(stream)
        keep(key, below, below.numbers)
        return grads

    def release(self) -> None:
        """Gives the memory back: the next pass like this one may overwrite it."""
        keep(self.key, self, self.numbers)


def workspace(
    layers: tuple[Staircase, ...], residual: bool, masks: Sequence[Tensor], like: Tensor, columns: Columns
) -> Workspace:
    """A workspace for one pass, one that was released or a new one."""
    key = ("workspace", layers, residual, bool(masks), columns, *on(like))
    kept = take(key)
    if kept is None:
        with torch.inference_mode(False), torch.no_grad():
            kept = Workspace(key, layers, residual, bool(masks), like, columns)
    return kept  # type: ignore[no-any-return]


def plane(like: Tensor, rows: int, columns: Columns) -> Tensor:
    """Memory for so many rows of these columns."""
    return like.new_empty(*columns[:-1], rows, columns[-1])


def hooked() -> bool:
    """Whether somebody takes charge of what graphs save, as ``torch.utils.checkpoint`` does to save memory. Then no
    graph should hold a workspace; the way back runs its network once more."""
    return _TOP_HOOKS is not None and _TOP_HOOKS(True) is not None


_TOP_HOOKS = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)


class _Gradients:
    """Scratch memory for the gradients of a network's activations and weights; workspaces of one shape share it."""

    def __init__(self, of: Workspace, like: Tensor) -> None:
        with torch.inference_mode(False), torch.no_grad():
            self.hidden = [like.new_empty(h.shape) for h in of.hidden]
            self.weights = [like.new_empty(weight.shape) for weight in of.weights]
            self.rows = [by_step(stairs, h) for stairs, h in zip(of.layers, self.hidden, strict=False)]
            self.columns = [
                [h.narrow(-2, 0, step.columns) for step in stairs.steps]
                for stairs, h in zip(of.layers[1:], self.hidden, strict=True)
            ]
            self.blocks = [matrices(stairs, weight) for stairs, weight in zip(of.layers, self.weights, strict=False)]
        self.numbers = sum(t.numel() for t in (*self.hidden, *self.weights))


def _sum_of_columns(plane: Tensor) -> Tensor:
    return plane.sum(1) if plane.dim() == 2 else plane.sum((0, 2))


def _rectified(grad: Tensor, h: Tensor) -> Tensor:
    """The gradient through max(h, 0), in place."""
    return torch.ops.aten.threshold_backward.grad_input(grad, h, 0, grad_input=grad)
