r"""Affine couplings that follow each other, with their networks, as one differentiable function: a whole RealNVP.

A coupling reads one part of the rows and moves the other; the next one mostly exchanges the roles. So each writes what
it moved to where the next network reads it, and nothing is split, joined or copied in between. One function, because
small couplings are mostly starts of operators and nodes of a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import affine
from .masked_linear import Staircase
from .perceptron import plain_gradients, plain_perceptron
from .products import blocks
from .scratch import recycled, scratch
from .workspace import Columns, Workspace, hooked, workspace

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


class Kept(NamedTuple):
    """What the way back needs of a coupling: its network's pass, the moved rows before, their slopes, and the
    denominators of the log-slopes."""

    space: Workspace
    before: Tensor
    scale: Tensor
    denominator: Tensor


def _run(x: Tensor, z: Tensor, chain: Chain, params: Sequence[Tensor], kept: list[Kept] | None = None) -> Tensor:
    """Writes z and gives the log-determinants; fills ``kept`` where somebody wants to go back."""
    links, columns = chain.links, _columns(x, chain, params)
    now, ends = (_parts(rows, chain, columns) for rows in (x, z))
    heights = [now[link.moved].shape[-2] for link in links]
    log_slopes = scratch("log slopes", x, *columns[:-1], sum(heights), columns[-1])
    space, done = _workspace(links[0], x, columns), None  # of this turn and of the last one
    space.x.copy_(now[1 - links[0].moved])
    turns = zip(links, [*links[1:], None], _by_link(params, links), log_slopes.split(heights, -2), strict=True)
    for link, following, these, log_slope in turns:
        outputs, rows, read = affine.parameters(link.layers[-1], x, columns), now[link.moved], space
        read.run(these, (), outputs.all, outputs.rows)
        if following is None:
            after = ends[link.moved]
        else:
            space = _workspace(following, x, columns)
            if following.moved != link.moved:
                after = space.x
            else:
                after = rows.new_empty(rows.shape)
                now[1 - link.moved] = space.x.copy_(read.x)
        memory = scratch("slopes", x, *rows.shape) if kept is None else recycled(rows, *rows.shape)
        denominator = affine.denominator(outputs.raw, link.limit, chain.inverse, memory)
        memory = denominator if kept is None else recycled(rows, *rows.shape)
        scale = torch.exp(torch.div(outputs.raw, denominator, out=log_slope), out=memory)
        if chain.inverse:
            torch.addcmul(outputs.mu, rows, scale, out=after)
        else:
            torch.sub(rows, outputs.mu, out=after).mul_(scale)
        outputs.release()
        now[link.moved] = after
        if kept is not None:
            kept.append(Kept(read, rows, scale, denominator))
        elif done is not None:
            done.release()
        done = read  # the next turn mostly moves what this one read
    if kept is None:
        space.release()
    stays = 1 - links[-1].moved
    ends[stays].copy_(now[stays])
    return log_slopes.sum(-2).view(-1)


def _columns(x: Tensor, chain: Chain, params: Sequence[Tensor]) -> Columns:
    """(n,), or (blocks, columns of a block) where the columns are cut."""
    n, largest = x.shape[1], max(stairs.size for link in chain.links for stairs in link.layers)
    count = blocks(x, largest * n, n)
    if count == 1 or any(bias.dim() == 2 for bias in params[1::2]):  # a bias for each column is not cut
        return (n,)
    return count, n // count


def _parts(rows: Tensor, chain: Chain, columns: Columns) -> list[Tensor]:
    """The two parts of the rows, with columns like these."""
    if len(columns) == 2:
        rows = rows.view(len(rows), *columns).transpose(0, 1)
    return [rows[..., part, :] for part in chain.parts]


def _workspace(link: Link, like: Tensor, columns: Columns) -> Workspace:
    return workspace(link.layers, link.residual, (), like, columns)


def _by_link(values: Sequence[Any], links: Sequence[Link]) -> list[Any]:
    """What belongs to the parameters of each coupling."""
    found, first = [], 0
    for link in links:
        last = first + 2 * len(link.layers)
        found.append(values[first:last])
        first = last
    return found


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, chain: Chain, *params: Tensor) -> tuple[Tensor, Tensor]:
        z = recycled(x, *x.shape)
        kept: list[Kept] | None = None if hooked() else []
        logdet = _run(x, z, chain, params, kept)
        ctx.save_for_backward(x, z, *params)
        ctx.chain, ctx.kept = chain, kept
        return z, logdet

    @staticmethod
    def backward(ctx: Any, z_grad: Tensor, logdet_grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, z, *params = ctx.saved_tensors
        chain: Chain = ctx.chain
        needs_x, _, *needed = ctx.needs_input_grad
        if torch.is_grad_enabled():  # somebody differentiates the gradient: plain operations can

            def plain(x: Tensor, *params: Tensor) -> tuple[Tensor, Tensor]:
                return plain_chain(x, chain, params)

            found = plain_gradients(plain, (x, *params), (needs_x, *needed), (z_grad, logdet_grad))
            return found[0], None, *found[1:]
        kept, ctx.kept = ctx.kept, None
        if kept is None:  # once more through one graph: others may have the memory by now
            kept = []
            _run(x, torch.empty_like(z), chain, params, kept)
        links, columns = chain.links, kept[0].space.columns
        now = _parts(z, chain, columns)
        part_grads = [recycled(x, *part.shape).copy_(part) for part in _parts(z_grad, chain, columns)]
        slope_grad = logdet_grad if chain.inverse else logdet_grad.neg()
        if len(columns) == 2:
            slope_grad = slope_grad.view(columns[0], 1, columns[1])
        grads: list[Tensor | None] = []
        done: Workspace | None = None
        turns = list(zip(links, _by_link(params, links), _by_link(needed, links), strict=True))
        for k, (link, these, wanted) in reversed(list(enumerate(turns))):
            one = kept.pop()
            outputs, grad = affine.parameters(link.layers[-1], x, columns), part_grads[link.moved]
            if chain.inverse:
                outputs.mu.copy_(grad)
                torch.addcmul(slope_grad, grad.mul_(one.scale), one.before, out=outputs.raw)
            else:
                torch.addcmul(slope_grad, grad, now[link.moved], value=-1, out=outputs.raw)
                torch.neg(grad.mul_(one.scale), out=outputs.mu)
            outputs.raw.div_(one.denominator).div_(one.denominator)
            into = part_grads[1 - link.moved] if k or needs_x else None
            grads[:0] = one.space.pull_back(outputs.all, these, (), wanted, into, outputs.rows, add=True)
            outputs.release()
            now[link.moved] = one.before
            if done is not None:
                done.release()
            done = one.space  # what it read is what the coupling before it moved
        if done is not None:
            done.release()
        if not needs_x:
            return None, None, *grads
        x_grad = recycled(x, *x.shape)
        for part, part_grad in zip(_parts(x_grad, chain, columns), part_grads, strict=True):
            part.copy_(part_grad)
        return x_grad, None, *grads


def plain_chain(x: Tensor, chain: Chain, params: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The same of operations that can be differentiated any number of times."""
    scalar_map = affine.plain_inverse if chain.inverse else affine.plain_forward
    now, logdet = [x[part] for part in chain.parts], x.new_zeros(x.shape[1])
    for link, these in zip(chain.links, _by_link(params, chain.links), strict=True):
        out = plain_perceptron(now[1 - link.moved], link.layers, these, link.residual)
        theta = out.unflatten(0, (len(out) // 2, 2)).transpose(0, 1)
        now[link.moved], log_slope = scalar_map(now[link.moved], theta, link.limit)
        logdet = logdet + log_slope.sum(0)
    row = torch.arange(len(x), device=x.device)
    return torch.cat(now)[torch.cat([row[part] for part in chain.parts]).argsort()], logdet
