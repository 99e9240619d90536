r"""Affine couplings that follow each other, with their networks, as one differentiable function: a whole RealNVP.

A coupling reads one part of the rows and moves the other; the next one mostly exchanges the roles. So each writes what
it moved to where the next network reads it, and nothing is split, joined or copied in between. One function, because
small couplings are mostly starts of operators and nodes of a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import affine
from .masked_linear import Staircase
from .perceptron import plain_gradients, plain_perceptron
from .products import blocks
from .scratch import keep, on, recycled, take
from .workspace import Columns, Workspace, hooked, plane, workspace

_ACTIVATIONS = 1 << 20  # of a layer, at a time where nobody wants gradients


class Link(NamedTuple):
    """One coupling: its network, the bound of its log-scales, and which of the two parts it moves, 0 or 1."""

    layers: tuple[Staircase, ...]
    residual: bool
    limit: float
    moved: int


class Chain(NamedTuple):
    """The two parts of the rows, the couplings in the order of their turns, and whether they go from z to x."""

    parts: tuple[slice, slice]
    links: tuple[Link, ...]
    inverse: bool


def affine_chain(x: Tensor, chain: Chain, params: list[Tensor]) -> tuple[Tensor, Tensor]:
    """z (features, n) and log|det dz/dx| (n,).

    Args:
        x: ``(features, n)``, contiguous.
        chain: The couplings.
        params: Weights and biases in turn, as for :func:`~.perceptron.perceptron`, one network after the other. The
            outputs of a network are mu and the raw log-scale of one moved row after the other.
    """
    if torch.is_grad_enabled():
        return _Chain.apply(x, chain, *params)
    z, n = torch.empty_like(x), x.shape[1]
    columns = max(_ACTIVATIONS // max(stairs.rows for link in chain.links for stairs in link.layers), 1)
    if n <= columns:
        return z, _run(x, z, chain, params)
    logdets = []
    for start in range(0, n, columns):
        some = slice(start, start + columns)
        # the first bias of a network may have a column for each of x
        part = [p[:, some] if k % 2 and p.dim() == 2 else p for k, p in enumerate(params)]
        logdets.append(_run(x[:, some], z[:, some], chain, part))
    return z, torch.cat(logdets)


class Turn(NamedTuple):
    """One coupling's part of a chain and what it works in: the moved rows before and after, the denominators of their
    log-slopes, these, and the slopes."""

    link: Link
    params: slice
    read: Tensor
    space: Workspace
    outputs: affine.Parameters
    before: Tensor
    after: Tensor
    denominator: Tensor
    log_slope: Tensor
    scale: Tensor


class Memory:
    """What a chain works in, with all its views. A turn mostly writes where the next one's network reads.

    Args:
        key: What to keep it by.
        chain: The chain.
        like: Rows that it is for.
        columns: (n,), or (blocks, n of a block).
        keeps: Whether everything stays for the way back. If not, turns write over what the ones before them left.
    """

    def __init__(self, key: Any, chain: Chain, like: Tensor, columns: Columns, keeps: bool) -> None:
        self.key, self.chain, self.columns = key, chain, columns
        links = chain.links
        sizes = [len(range(*part.indices(len(like)))) for part in chain.parts]
        heights = [sizes[link.moved] for link in links]
        ends = list(accumulate((2 * len(link.layers) for link in links), initial=0))
        found: dict[Any, Any] = {}

        def once(key: Any, make: Any, *args: Any) -> Any:
            if key not in found:
                found[key] = make(*args)
            return found[key]

        def rows(*key: Any) -> Any:
            return once(key, plane, like, key[-1], columns)

        # Without a way back two workspaces in turns are enough: a turn may write over what the one before it read.
        spaces = [
            once(("space", k if keeps else k % 2, link[:2]), workspace, link.layers, link.residual, (), like, columns)
            for k, link in enumerate(links)
        ]
        self.log_slopes = rows("log slopes", sum(heights))
        log_slopes = self.log_slopes.split_with_sizes(heights, -2)
        now = [spaces[0].x, spaces[0].x]
        now[links[0].moved] = rows("first", heights[0])
        self.first, self.turns = tuple(now), []
        for k, (link, space, height) in enumerate(zip(links, spaces, heights, strict=True)):
            read, before = now[1 - link.moved], now[link.moved]
            follows = k + 1 < len(links) and links[k + 1].moved != link.moved
            after = spaces[k + 1].x if follows else rows("after", k, height)
            now[1 - link.moved], now[link.moved] = space.x, after
            outputs = once(("outputs", link.layers[-1]), affine.parameters, link.layers[-1], like, columns)
            denominator = rows("denominator", k if keeps else None, height)
            scale = rows("scale", k, height) if keeps else denominator
            own = slice(ends[k], ends[k + 1])
            slopes = denominator, log_slopes[k], scale
            self.turns.append(Turn(link, own, read, space, outputs, before, after, *slopes))
        self.last = tuple(now)
        self.grads = [rows("gradient", side, size) for side, size in enumerate(sizes)] if keeps else []
        self.numbers = sum(each.numel() if isinstance(each, Tensor) else each.numbers for each in found.values())

    def run(self, x: Tensor, z: Tensor, params: Sequence[Tensor]) -> Tensor:
        """Writes z and gives the log-determinants."""
        inverse = self.chain.inverse
        self.load(x, self.first)
        for link, own, read, space, outputs, before, after, denominator, log_slope, scale in self.turns:
            if read is not space.x:
                space.x.copy_(read)
            space.run(params[own], (), outputs.all, outputs.rows)
            affine.denominator(outputs.raw, link.limit, inverse, denominator)
            torch.exp(torch.div(outputs.raw, denominator, out=log_slope), out=scale)
            if inverse:
                torch.addcmul(outputs.mu, before, scale, out=after)
            else:
                torch.sub(before, outputs.mu, out=after).mul_(scale)
        self.store(self.last, z)
        return self.log_slopes.sum(-2).view(-1)

    def pull_back(
        self, z_grad: Tensor, logdet_grad: Tensor, params: Sequence[Tensor], needed: Sequence[bool], into: Tensor | None
    ) -> list[Tensor | None]:
        """The gradients of those parameters that are ``needed``, after :meth:`run`; writes that of x ``into`` where it
        is wanted."""
        inverse, grads = self.chain.inverse, self.grads
        self.load(z_grad, grads)
        slope_grad = logdet_grad if inverse else logdet_grad.neg()
        if len(self.columns) == 2:
            slope_grad = slope_grad.view(self.columns[0], 1, self.columns[1])
        found: list[Tensor | None] = []
        for turn in reversed(self.turns):
            outputs, grad = turn.outputs, grads[turn.link.moved]
            if inverse:
                outputs.mu.copy_(grad)
                torch.addcmul(slope_grad, grad.mul_(turn.scale), turn.before, out=outputs.raw)
            else:
                torch.addcmul(slope_grad, grad, turn.after, value=-1, out=outputs.raw)
                torch.neg(grad.mul_(turn.scale), out=outputs.mu)
            outputs.raw.div_(turn.denominator).div_(turn.denominator)
            read = None if into is None and turn is self.turns[0] else grads[1 - turn.link.moved]
            own = params[turn.params], (), needed[turn.params]
            found[:0] = turn.space.pull_back(outputs.all, *own, read, outputs.rows, add=True)
        if into is not None:
            self.store(grads, into)
        return found

    def load(self, rows: Tensor, parts: Sequence[Tensor]) -> None:
        """Copies rows to where their parts lie."""
        for part, own in zip(parts, self._parts(rows), strict=True):
            part.copy_(own)

    def store(self, parts: Sequence[Tensor], rows: Tensor) -> None:
        """Copies parts to where the rows lie."""
        for part, own in zip(parts, self._parts(rows), strict=True):
            own.copy_(part)

    def _parts(self, rows: Tensor) -> list[Tensor]:
        if len(self.columns) == 2:
            rows = rows.view(len(rows), *self.columns).transpose(0, 1)
        return [rows[..., part, :] for part in self.chain.parts]

    def release(self) -> None:
        """Gives the memory back: the next pass like this one may overwrite it."""
        keep(self.key, self, self.numbers)


def _memory(x: Tensor, chain: Chain, params: Sequence[Tensor], keeps: bool) -> Memory:
    """Memory for one pass, some that was released or new."""
    columns = _columns(x, chain, params)
    parts = tuple((part.start, part.stop, part.step) for part in chain.parts)
    key = ("chain", len(x), parts, chain.links, chain.inverse, columns, keeps, *on(x))
    kept = take(key)
    if kept is None:
        with torch.inference_mode(False), torch.no_grad():
            kept = Memory(key, chain, x, columns, keeps)
    return kept  # type: ignore[no-any-return]


def _columns(x: Tensor, chain: Chain, params: Sequence[Tensor]) -> Columns:
    """(n,), or (blocks, columns of a block) where the columns are cut."""
    n, largest = x.shape[1], max(stairs.size for link in chain.links for stairs in link.layers)
    count = blocks(x, largest * n, n)
    if count == 1 or any(bias.dim() == 2 for bias in params[1::2]):  # a bias for each column is not cut
        return (n,)
    return count, n // count


def _run(x: Tensor, z: Tensor, chain: Chain, params: Sequence[Tensor]) -> Tensor:
    """Writes z and gives the log-determinants; nothing stays."""
    memory = _memory(x, chain, params, keeps=False)
    logdet = memory.run(x, z, params)
    memory.release()
    return logdet


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, chain: Chain, *params: Tensor) -> tuple[Tensor, Tensor]:
        z = recycled(x, *x.shape)
        memory = None if hooked() else _memory(x, chain, params, keeps=True)
        logdet = _run(x, z, chain, params) if memory is None else memory.run(x, z, params)
        ctx.save_for_backward(x, *params)
        ctx.chain, ctx.memory = chain, memory
        return z, logdet

    @staticmethod
    def backward(ctx: Any, z_grad: Tensor, logdet_grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, *params = ctx.saved_tensors
        chain: Chain = ctx.chain
        needs_x, _, *needed = ctx.needs_input_grad
        if torch.is_grad_enabled():  # somebody differentiates the gradient: plain operations can

            def plain(x: Tensor, *params: Tensor) -> tuple[Tensor, Tensor]:
                return plain_chain(x, chain, params)

            found = plain_gradients(plain, (x, *params), (needs_x, *needed), (z_grad, logdet_grad))
            return found[0], None, *found[1:]
        memory, ctx.memory = ctx.memory, None
        if memory is None:  # once more through one graph: others may have the memory by now
            memory = _memory(x, chain, params, keeps=True)
            memory.run(x, torch.empty_like(x), params)
        x_grad = recycled(x, *x.shape) if needs_x else None
        grads = memory.pull_back(z_grad, logdet_grad, params, needed, x_grad)
        memory.release()
        return x_grad, None, *grads


def plain_chain(x: Tensor, chain: Chain, params: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The same of operations that can be differentiated any number of times."""
    scalar_map = affine.plain_inverse if chain.inverse else affine.plain_forward
    now, logdet, rest = [x[part] for part in chain.parts], x.new_zeros(x.shape[1]), iter(params)
    for link in chain.links:
        these = list(islice(rest, 2 * len(link.layers)))
        out = plain_perceptron(now[1 - link.moved], link.layers, these, link.residual)
        theta = out.unflatten(0, (len(out) // 2, 2)).transpose(0, 1)
        now[link.moved], log_slope = scalar_map(now[link.moved], theta, link.limit)
        logdet = logdet + log_slope.sum(0)
    row = torch.arange(len(x), device=x.device)
    return torch.cat(now)[torch.cat([row[part] for part in chain.parts]).argsort()], logdet
