"""The rows of an average, and small flows of one shape, each on its own rows, trained in one loop.

Each is kept at its best step. Small networks on few rows are mostly operator-launch overhead, so a step of all members
at once (``torch.func``'s ``vmap``) takes little longer than a step of one.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils import vector_to_parameters

from ...distributions.base import Density
from ...numerics.kernel import smoothing
from ...training.adam import Adam
from ...training.batches import mix
from ...transforms.compose import Compose
from ...transforms.marginals import Marginals
from ...transforms.normalization import Whiten

WARM_UP, CLIP = 30, 5.0

F = TypeVar("F", bound=Density)


@dataclass(frozen=True, eq=False)
class Points:
    """Rows ``(copies, n, features)``, the same ones at several points of their cells; their contexts ``(n, context
    features)`` or None; the weight of each row, ``(n,)``; and what each cell stands for, and its ends, ``(3, n,
    features)``, float64: NaN where there is none, or None if nothing is known of cells."""

    x: Tensor
    context: Tensor | None
    weight: Tensor
    cells: Tensor | None = None

    @classmethod
    def of(cls, x: Tensor, context: Tensor | None = None, weight: Tensor | None = None) -> Points:
        """Rows ``(n, features)`` or ``(copies, n, features)``; of equal weight if none is given."""
        x = x[None] if x.dim() == 2 else x
        return cls(x, context, torch.ones(x.shape[1]).to(x) if weight is None else torch.as_tensor(weight).to(x))

    def __len__(self) -> int:
        return self.x.shape[1]

    def __getitem__(self, rows: Tensor) -> Points:
        cells = None if self.cells is None else self.cells[:, rows]
        return Points(self.x[:, rows], None if self.context is None else self.context[rows], self.weight[rows], cells)

    @property
    def features(self) -> int:
        return self.x.shape[-1]

    @property
    def given(self) -> int:
        """Number of context features."""
        return 0 if self.context is None else self.context.shape[-1]

    @functools.cached_property
    def copula(self) -> Compose:
        """A Gaussian copula of the rows: maps every column to a standard normal, then removes the correlations.

        The correlations are shrunk slightly towards 0, the more so the fewer rows there are per column.

        Reference:
            Nelsen (2006), An Introduction to Copulas.
        """
        rows, features = self.x.shape[-2:]
        marginals = Marginals(features, linear=True).to(self.x)
        z = marginals.initialize(self.x).reshape(-1, features).double()
        covariance = torch.cov(z.T, correction=0).reshape(features, features)
        diagonal, share = covariance.diagonal().diag(), features / (rows + features)
        factor = torch.linalg.cholesky((1 - share) * covariance + share * diagonal + 1e-6 * torch.eye(features).to(z))
        return Compose([marginals, Whiten(z.mean(0).to(self.x), factor.to(self.x))])

    @torch.no_grad()
    def behind(self, first: Compose) -> Points:
        """The rows after a map."""
        return Points(first(self.x)[0], self.context, self.weight)


def folds(rows: int, members: int, seed: int) -> list[Tensor]:
    """Row indices in as many random folds of nearly equal size."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(mix(seed, members, 3)))
    return [part.sort().values for part in order.tensor_split(members)]


def others(parts: Sequence[Tensor], k: int) -> Tensor:
    """The rows of all folds but one."""
    return torch.cat([part for place, part in enumerate(parts) if place != k]).sort().values


@dataclass(frozen=True)
class MemberOptions:
    """How members are trained."""

    steps: int = 600  # maximum number of steps of each
    lr: float = 3e-3  # the peak learning rate, which decays by half a cosine
    decay: float = 0.1  # weight decay (as in AdamW), which pulls a flow back to the identity, its start
    batch_size: int = 256  # maximum number of rows in a batch of one member
    every: int = 20  # steps between evaluations on the held-out rows
    patience: int = 8  # evaluations without improvement of any member after which training ends
    # time, by :func:`time.monotonic`, at which training ends; the result then depends on the machine's speed
    ends: float = math.inf
    # whether all take the step that is best on average, with columns that were better at the start as they were
    # there; for :class:`~pushforward.distributions.Categories`. The first has seen all rows, and has no say
    together: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "lr", "batch_size", "every", "patience"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {name}={getattr(self, name)}")


def train_members(
    members: Sequence[F], train: Sequence[Points], held_out: Sequence[Points], options: MemberOptions, seed: int = 0
) -> list[int]:
    """Trains members in place and leaves each at the step with the lowest held-out loss, step 0 (the start) included.

    Args:
        members: Untrained members of the same shape.
        train, held_out: The training rows of each, and the rows that determine its best step.
        options, seed: How they are trained, and the seed of the batches.

    Returns:
        The best step of each.
    """
    params, buffers = stack_module_state(list(members))  # type: ignore[arg-type]
    losses = _losses(members[0], params, buffers, {"by_column": True} if options.together else {})
    flat = torch.cat([p.detach().flatten(1) for p in params.values()], 1).requires_grad_()
    best, found = flat.detach().clone(), torch.full((len(members),), math.inf)
    optimizer, steps = Adam([flat], options.lr, options.decay), [0] * len(members)
    judged = _side_by_side(held_out, smoothing(sum(map(len, held_out))))
    generator, stale, start = torch.Generator().manual_seed(mix(seed, 5)), 0, torch.empty(0)
    for step in range(options.steps + 1):
        if step % options.every == 0:
            with torch.no_grad():
                now = losses(flat, *judged).view(len(members), -1)  # (members, columns)
            start = now[1:].mean(0) if step == 0 else start
            now = now[1:].mean(0).minimum(start).sum().expand(len(now)) if options.together else now.sum(1)
            better = now < found - 1e-4
            found, stale = torch.where(better, now, found), 0 if bool(better.any()) else stale + 1
            best[better] = flat.detach()[better]
            steps = [step if b else old for b, old in zip(better.tolist(), steps, strict=True)]
            if stale >= options.patience or time.monotonic() > options.ends:
                break
        optimizer.rate = (
            options.lr * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / options.steps))
        )
        _update(optimizer, flat, losses(flat, *_batch(train, options.batch_size, generator)))
    for member, row in zip(members, best, strict=True):
        vector_to_parameters(row, member.parameters())
        member.eval()
    return steps


def _losses(like: Density, params: dict[str, Tensor], own: dict[str, Tensor], asked: Any) -> Callable[..., Tensor]:
    """The mean loss of each member over its own rows: maps all parameters side by side ``(members, parameters)``, x
    ``(members, n, m)``, contexts, weights to ``(members,)``, in nats; that of each column, if asked for."""
    sizes = [p[0].numel() for p in params.values()]

    def one(flat: Tensor, own: dict[str, Tensor], x: Tensor, context: Tensor | None, weight: Tensor) -> Tensor:
        parts = zip(params.items(), flat.split(sizes), strict=True)
        state = {name: part.view(p.shape[1:]) for (name, p), part in parts}
        given = (x,) if context is None else (x, context)
        log_prob = functional_call(like, (state, own), given, asked, tie_weights=False)
        return -(weight @ log_prob) / weight.sum()

    def losses(flat: Tensor, x: Tensor, context: Tensor | None, weight: Tensor) -> Tensor:
        return vmap(one, in_dims=(0, 0, 0, None if context is None else 0, 0))(flat, own, x, context, weight)

    return losses


def _update(optimizer: Adam, flat: Tensor, losses: Tensor) -> None:
    """One step of all members; those whose loss or gradient is not finite are left unchanged."""
    (grad,) = torch.autograd.grad(losses.nan_to_num(0.0, 0.0, 0.0).sum(), flat)
    scale = (CLIP / grad.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp_max(1.0)
    flat.grad = grad.mul_(scale).nan_to_num_(0.0, 0.0, 0.0)
    optimizer.step()


def _batch(train: Sequence[Points], size: int, generator: torch.Generator) -> tuple[Tensor, Tensor | None, Tensor]:
    """Rows of each member, each at one point of its cell, side by side."""
    size = min(size, *map(len, train))
    rows = torch.stack([torch.randperm(len(each), generator=generator)[:size] for each in train])
    copy = torch.randint(len(train[0].x), rows.shape, generator=generator)
    x = torch.stack([each.x[c, r] for each, c, r in zip(train, copy, rows, strict=True)])
    weight = torch.stack([each.weight[r] for each, r in zip(train, rows, strict=True)])
    contexts = [each.context[r] for each, r in zip(train, rows, strict=True) if each.context is not None]
    return x, torch.stack(contexts) if contexts else None, weight


def _side_by_side(held_out: Sequence[Points], copies: int) -> tuple[Tensor, Tensor | None, Tensor]:
    """All held-out rows of each member at some points of their cells; shorter ones are padded with weight 0."""
    most, copies = max(map(len, held_out)), min(copies, len(held_out[0].x))
    xs, contexts, weights = [], [], []
    for each in held_out:
        rows = torch.arange(most).clamp_max(len(each) - 1)
        xs.append(each.x[:copies, rows].flatten(0, 1))
        weights.append((each.weight[rows] * (torch.arange(most) < len(each))).repeat(copies))
        if each.context is not None:
            contexts.append(each.context[rows].repeat(copies, 1))
    return torch.stack(xs), torch.stack(contexts) if contexts else None, torch.stack(weights)
