"""Networks that turn a context of any shape into features: sets, series, images, table rows.

An encoder maps ``(n, *context)`` to ``(n, features)``. Set items and series steps that are NaN are padding and ignored,
so that contexts of different lengths fit into one tensor (:func:`padded`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import at_least_one
from ..saving.config import Configurable


class Encoder(Configurable):
    """Maps contexts ``(n, *context)`` to ``(n, features)``; subclass it so that your own encoder can be saved.

    Attributes:
        features: Number of output features.
        context_dim: Dimensions of one context: 1 for a row, 2 for a set or a series, 3 for an image.
        takes_missing: Whether NaN in a context stands for a missing value.
    """

    features: int
    context_dim: int
    takes_missing: bool = False


def context_features(context: int, encoder: nn.Module | None) -> int:
    """The number of context features of a recipe with an encoder: the encoder's ``features``, if it has this attribute.

    Raises:
        ValueError: neither the encoder nor ``context`` gives the number of features, or they differ.
    """
    if encoder is None:
        return context
    own = getattr(encoder, "features", None)
    if not context and not isinstance(own, int):
        raise ValueError(f"context must be the number of features that the encoder {type(encoder).__name__} gives")
    if context and isinstance(own, int) and own != context:
        raise ValueError(f"context={context}, but the encoder gives {own} features")
    return context or int(own)  # type: ignore[arg-type]


def encoded(encoder: nn.Module, context: Tensor, features: int) -> Tensor:
    """Contexts ``(*batch, *context)`` as features ``(*batch, features)``.

    The number of dimensions of a context is the encoder's ``context_dim``; for a module without one, the first
    dimension is the batch.

    Raises:
        ValueError: the context has too few dimensions, or the encoder's output has the wrong shape.
    """
    dims = getattr(encoder, "context_dim", context.dim() - 1)
    if context.dim() < max(dims, 1):
        raise ValueError(
            f"context has shape {tuple(context.shape)}, but the encoder takes contexts of {dims} dimensions"
        )
    batch, shape = context.shape[: context.dim() - dims], context.shape[context.dim() - dims :]
    given = context.reshape(batch.numel(), *shape)
    found = encoder(given)
    if not isinstance(found, Tensor) or found.shape != (len(given), features):
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"the encoder turns contexts of shape {tuple(given.shape)} into {got}, but the flow was built with "
            f"context={features}: expected {(len(given), features)}"
        )
    return found.reshape(*batch, features)


def padded(items: Sequence[Tensor], length: int | None = None) -> Tensor:
    """Sets or series of different lengths ``(n_i, inputs)`` as one tensor ``(len(items), length, inputs)``.

    The end is padded with NaN, which the encoders here ignore.

    Args:
        items: At least one tensor of floating-point numbers.
        length: Length of the result; by default that of the longest item.

    Raises:
        ValueError: there are no items, or one is longer than ``length``.
    """
    longest = max((len(item) for item in items), default=0)
    length = longest if length is None else length
    if not items or longest > length:
        raise ValueError(f"items holds {len(items)} tensors, the longest of {longest} rows, but length is {length}")
    rows = items[0].new_full((len(items), length, *items[0].shape[1:]), torch.nan)
    for row, item in zip(rows, items, strict=True):
        row[: len(item)] = item
    return rows


class Scaled(Encoder):
    """A vector, standardised by untrained constants: networks learn best from inputs of about unit scale.

    Args:
        loc: The mean, ``(features,)``.
        scale: The standard deviation, positive, ``(features,)``.
    """

    context_dim = 1
    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor | Sequence[float], scale: Tensor | Sequence[float]) -> None:
        super().__init__()
        loc, scale = (torch.as_tensor(v, dtype=torch.get_default_dtype()) for v in (loc, scale))
        if loc.dim() != 1 or loc.shape != scale.shape or not bool((scale > 0).all()):
            raise ValueError(f"loc and a positive scale must have one shape (features,), got {loc} and {scale}")
        self.features = len(loc)
        self.register_buffer("loc", loc.clone())
        self.register_buffer("scale", scale.clone())

    def forward(self, context: Tensor) -> Tensor:
        return (context - self.loc) / self.scale


class DeepSet(Encoder):
    r"""A set of any size as features, invariant to the order of its items: a network of the mean of encoded items.

    .. math:: h(c) = \rho\Bigl(\frac{1}{n} \sum_i \phi(c_i),\ \log(1 + n)\Bigr)

    Args:
        inputs: Numbers per item; a context is ``(items, inputs)``. Items containing NaN are padding.
        features: Output features.
        hidden: Widths of the hidden layers of each of the two networks.

    Reference:
        Zaheer et al. (2017), Deep sets, arXiv:1703.06114.
    """

    context_dim, takes_missing = 2, True

    def __init__(self, inputs: int, features: int, *, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        at_least_one(inputs=inputs, features=features)
        self.features = features
        self.item, self.whole = dense([inputs, *hidden]), dense([hidden[-1] + 1, *hidden, features])

    def forward(self, context: Tensor) -> Tensor:
        items, there = present(context)
        count = there.sum(-2)  # (n, 1)
        total = (self.item(items) * there).sum(-2)
        return self.whole(torch.cat([total / count.clamp_min(1), count.log1p()], -1))  # type: ignore[no-any-return]


class SetAttention(Encoder):
    """A set of any size as features, invariant to the order of its items: self-attention, then pooling by one query.

    Args:
        inputs: Numbers per item; a context is ``(items, inputs)``. Items containing NaN are padding.
        features: Output features.
        width: Hidden units per item; a multiple of ``heads``.
        heads: Heads of each attention layer.
        layers: Blocks of self-attention.

    Raises:
        ValueError: a size is not positive, or ``heads`` does not divide ``width``.

    Reference:
        Lee et al. (2019), Set transformer, arXiv:1810.00825.
    """

    context_dim, takes_missing = 2, True

    def __init__(self, inputs: int, features: int, *, width: int = 64, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        at_least_one(inputs=inputs, features=features, width=width, heads=heads, layers=layers)
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got width={width} and heads={heads}")
        self.features = features
        self.enter = nn.Linear(inputs, width)
        self.blocks: Any = nn.ModuleList(AttentionBlock(width, heads) for _ in range(layers))
        self.query = nn.Parameter(torch.randn(1, 1, width) / width**0.5)
        self.pool, self.leave = AttentionBlock(width, heads), nn.Linear(width, features)

    def forward(self, context: Tensor) -> Tensor:
        items, there = present(context)
        h = self.enter(items)
        for block in self.blocks:
            h = block(h, h, there)
        return self.leave(self.pool(self.query.expand(len(h), -1, -1), h, there)[:, 0])  # type: ignore[no-any-return]


class AttentionBlock(Configurable):
    """Attention of queries to the items of a set, then a dense layer, each with a residual connection.

    Args:
        width: Units of queries and items.
        heads: Attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms: Any = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.dense = dense([width, 2 * width, width])

    def forward(self, queries: Tensor, items: Tensor, there: Tensor) -> Tensor:
        """``(n, queries, width)``, from items ``(n, items, width)`` and their presence ``(n, items, 1)``."""
        q = self.q(self.norms[0](queries)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        kv = self.kv(self.norms[1](items)).unflatten(-1, (2, self.heads, -1))
        k, v = (part.transpose(1, 2) for part in kv.unbind(2))  # (n, heads, items, width / heads)
        scores = q @ k.mT / q.shape[-1] ** 0.5
        absent = (there == 0)[:, None, None, :, 0]
        share = scores.masked_fill(absent, torch.finfo(scores.dtype).min).softmax(-1)  # uniform for an empty set
        seen = (share.masked_fill(absent, 0.0) @ v).transpose(1, 2).flatten(2)
        h = queries + self.out(seen)
        return h + self.dense(self.norms[2](h))  # type: ignore[no-any-return]


def present(context: Tensor) -> tuple[Tensor, Tensor]:
    """Items with zeros for padding, and 1 or 0 for their presence: ``(n, items, inputs)``, ``(n, items, 1)``."""
    absent = context.isnan().any(-1, keepdim=True)
    return context.masked_fill(absent, 0.0), (~absent).to(context.dtype)


def dense(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with SiLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    return nn.Sequential(*layers[:-1])
