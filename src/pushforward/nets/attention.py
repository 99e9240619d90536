"""A causal transformer over positions: the parameters of each position from the positions before it, with a cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import at_least_one
from ..numerics.torch_internals import transformed
from .made import MADE
from .mlp import has_context, needed, zero_
from .positions import PositionNet


class CausalTransformer(PositionNet):
    r"""Pre-norm transformer whose output at position j sees the positions before j and the context; starts at zero.

    .. math:: h_j = E x_{j-1} + p_j,\quad h \leftarrow h + \mathrm{Attention}(\mathrm{LN}_c(h)),\quad
              h \leftarrow h + W_2\,\mathrm{gelu}(W_1 \mathrm{LN}_c(h)),\quad \theta_j = W\,\mathrm{LN}(h_j)

    with learned positions p_j, x before the first position 0, and a context c that scales and shifts the normalised
    units of every layer (adaptive norm). Keys and values of earlier positions are cached: :meth:`extend` costs only the
    arithmetic of the new positions and stores O(positions · width) numbers per layer. Under ``torch.autocast`` it
    computes in the lower precision and returns the parameters in the dtype of x.

    Second derivatives outside ``torch.func`` need ``torch.nn.attention.sdpa_kernel(SDPBackend.MATH)``, as PyTorch's
    fused attention kernels do not support them.

    Args:
        positions: Positions per event, in their natural order.
        num_params: Parameters per number.
        size: Numbers per position.
        inner: Hidden units of a :class:`MADE` over the numbers of a position, with the transformer's output as its
            context; 0 for numbers that do not see each other, as in the paper.
        context: Features of the context.
        layers: Attention layers, each followed by a perceptron.
        width: Units per position.
        heads: Heads of each attention layer.

    Raises:
        ValueError: a size is below 1, or ``heads`` does not divide ``width``.

    Reference:
        Vaswani et al. (2017), arXiv:1706.03762; Zhai et al. (2024), Normalizing flows are capable generative models,
        arXiv:2412.06329; Peebles, Xie (2023), arXiv:2212.09748 (adaptive norm).
    """

    def __init__(
        self,
        positions: int,
        num_params: int,
        *,
        size: int = 1,
        inner: int = 0,
        context: int = 0,
        layers: int = 2,
        width: int = 64,
        heads: int = 4,
    ) -> None:
        super().__init__()
        sizes = {"positions": positions, "num_params": num_params, "size": size}
        sizes |= {"layers": layers, "width": width, "heads": heads}
        at_least_one(**{name: index(value) for name, value in sizes.items()})
        if width % heads:
            raise ValueError(f"heads must divide width, got heads={heads} and width={width}")
        self.positions, self.num_params, self.size, self.width, self.inner = positions, num_params, size, width, inner
        self.enter = nn.Linear(size, width)
        self.places = nn.Parameter(0.1 * torch.randn(positions, width))
        self.blocks: Any = nn.ModuleList(CausalBlock(width, heads, context) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        within: dict[str, Any] = {"context": width, "hidden": (inner,)}
        self.exit: Any = MADE(size, num_params, **within) if inner else zero_(nn.Linear(width, size * num_params))
        nn.init.normal_(self.enter.weight, std=size**-0.5)

    def begin(self, batch: int, context: Tensor | None, *, cached: bool) -> list[tuple[Any, KeyValueCache | None]]:
        """The modulation of each layer's norms by the context, and its cache."""
        blocks = self.blocks
        return [(block.modulation(context), KeyValueCache(self.positions) if cached else None) for block in blocks]

    def extend(self, state: Any, previous: Tensor, start: int) -> Tensor:
        h = self.enter(previous) + self.places[start : start + previous.shape[1]]
        for block, (modulation, cache) in zip(self.blocks, state, strict=True):
            h = block(h, modulation, cache, start)
        return self.norm(h)  # type: ignore[no-any-return]

    def params(self, units: Tensor, x: Tensor) -> Tensor:
        if self.inner:
            return self.exit(x, units).to(x.dtype)  # type: ignore[no-any-return]
        return self.exit(units).to(x.dtype).unflatten(-1, (self.num_params, self.size)).movedim(-2, 0)  # type: ignore[no-any-return]

    def params_of(self, number: int, units: Tensor, x: Tensor) -> Tensor:
        (enter, start), (leave, end) = self.exit.layers()
        h = F.relu(F.linear(x, enter, start) + F.linear(units, self.exit.context_weight))
        own = slice(number * self.num_params, (number + 1) * self.num_params)
        return F.linear(h, leave[own], end[own]).to(x.dtype).movedim(-1, 0)


class KeyValueCache:
    """Keys and values of one layer, ``(2, n, heads, positions, d)``, so that sampling computes each position once:
    written in place, or concatenated anew if gradients or ``torch.func`` must pass through them."""

    def __init__(self, positions: int) -> None:
        self.positions = positions
        self.known: Tensor | None = None

    def put(self, new: Tensor, start: int) -> Tensor:
        """Stores those of the positions from ``start`` on, and returns those of all positions so far."""
        if torch.is_grad_enabled() or transformed():
            self.known = new if self.known is None or not start else torch.cat([self.known[..., :start, :], new], -2)
            return self.known
        if self.known is None:
            self.known = new.new_empty(*new.shape[:-2], self.positions, new.shape[-1])
        end = start + new.shape[-2]
        self.known[..., start:end, :] = new
        return self.known[..., :end, :]


class CausalBlock(nn.Module):
    """Attention, then a perceptron, each on normalised units and with a residual connection."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.read = nn.Linear(width, 3 * width)
        self.write = nn.Linear(width, width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.adapt = zero_(nn.Linear(context, 4 * width)) if has_context(context) else None

    def modulation(self, context: Tensor | None) -> Sequence[Tensor] | None:
        """Scales and shifts of both norms, ``(n, 1, width)`` each."""
        if self.adapt is None:
            return None
        return self.adapt(needed(context, self.adapt.weight)).unsqueeze(-2).chunk(4, -1)  # type: ignore[arg-type,no-any-return]

    def forward(
        self, h: Tensor, modulation: Sequence[Tensor] | None, cache: KeyValueCache | None, start: int
    ) -> Tensor:
        read = self.read(self._normed(0, h, modulation)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = read.unbind()  # one pass over memory in backward, where slices would take four
        if cache is not None:
            k, v = cache.put(read[1:], start)
        h = h + self.write(attention(q, k, v, start).transpose(1, 2).flatten(-2))
        return h + self.narrow(F.gelu(self.widen(self._normed(1, h, modulation))))

    def _normed(self, which: int, h: Tensor, modulation: Sequence[Tensor] | None) -> Tensor:
        h = self.norms[which](h)
        return h if modulation is None else h * (1 + modulation[2 * which]) + modulation[2 * which + 1]


def attention(q: Tensor, k: Tensor, v: Tensor, start: int) -> Tensor:
    r""":math:`\mathrm{softmax}(q k^\top / \sqrt d)\, v` over the positions up to and including each query's.

    Args:
        q: Queries of the positions from ``start`` on, ``(n, heads, m, d)``.
        k, v: Keys and values of all positions up to the last query's, ``(n, heads, start + m, d)``.
        start: Position of the first query.
    """
    m, seen = q.shape[-2], k.shape[-2]
    mask = None
    if m > 1 and start:
        mask = torch.ones(m, seen, dtype=torch.bool, device=q.device).tril(start)
    if not transformed():
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=m > 1 and not start)
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    hidden = torch.ones(m, seen, dtype=torch.bool, device=q.device).triu(start + 1)
    return scores.masked_fill(hidden, -math.inf).softmax(-1) @ v
