r"""Columns that follow from others and are known where some of these are not: totals of which parts are missing.

Holes h are drawn so that they agree with what is known: of the parts of a total, one follows from the others. Whichever
is left to the end has no choice, so draws take turns t in what they leave. With q the guide and :math:`C_t` the cell
that what was left then follows in, draws of all turns together have the density

.. math:: \frac1T \sum_t q(h_{-t} \mid \mathrm{seen}) / |C_t|

by which those of the joint are resampled; so it does not matter that some turns hardly meet certain values, such as 0.

Reference:
    Veach, Guibas (1995), Optimally combining sampling techniques for Monte Carlo rendering: the balance heuristic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...models.train import Rows
from ...numerics.partly_known import unknown
from ...numerics.sequential import effective, picked, resampled
from ..model import TableModel
from ..schema.kinds.base import Numbers
from ..schema.relations.base import Dependency
from ..schema.relations.formula import Determined
from ..schema.schema import Schema


def among(log_w: Tensor, allowed: Tensor) -> Tensor:
    """The log-weights of draws ``(K, n)``, -inf for those that are not allowed, unless a row has no others."""
    kept = log_w.masked_fill(~allowed, -math.inf)
    return torch.where(kept.isneginf().all(0), log_w, kept)


@dataclass(frozen=True)
class Told:
    """What n rows say of columns that follow from others."""

    schema: Schema
    follow: Mapping[str, Numbers]  # those that follow, encoded, by name
    empty: bool = True  # whether what rows lack may be missing, rather than not known

    def __getitem__(self, rows: Tensor) -> Told:
        return replace(self, follow={name: values[rows.numpy()] for name, values in self.follow.items()})

    def bears_on(self, x: Tensor) -> Tensor:
        """Which encoded rows know something that follows from what they lack, ``(n,)``."""
        return self._holes(x).any(-1).any(0)

    def denied(self, x: Tensor, filled: Tensor) -> Tensor:
        """The holes of rows, ``(n, features)``, not drawn or against what is known: it may say that one is empty."""
        values = self.schema.dated(self.schema.snap(filled.flatten(0, 1)))
        follow = {name: np.tile(each, len(filled)) for name, each in self.follow.items()}
        broken, denied = self.schema.dependencies.broken(values, follow, len(filled) * len(x)), filled.isnan().any(0)
        for relation, rows in zip(self.schema.dependencies, torch.from_numpy(broken), strict=True):
            if not isinstance(relation, Determined):  # a sum may count a missing part as nothing, whatever it is
                denied |= rows.view(filled.shape[:2]).any(0)[:, None] & self._behind(relation)
        return unknown(x) & denied

    @torch.no_grad()
    def drawn(
        self,
        model: TableModel,
        rows: Rows,
        draws: int,
        seed: int,
        candidates: int,
        allowed: Callable[[Tensor, Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """The rows with their holes drawn, ``(draws, n, features)``, all NaN where no draw agrees with what is known;
        and how many of the weighted candidates from which they are resampled are effective, ``(n,)``.

        Where any are ``allowed``, told from filled rows and which entries these lacked, the others are not drawn.
        """
        found, log_w = self.weighted(model, rows, candidates, seed)
        allow = allowed(found.to(model.device), rows.x.isnan().to(model.device)).cpu()
        log_w = among(log_w, allow)  # some columns may hardly have a value in such rows
        none = log_w.isneginf().all(0)
        generator = torch.Generator().manual_seed(seed ^ 1)  # other numbers than those of the draws
        taken = resampled(log_w, torch.rand(len(rows), dtype=log_w.dtype, generator=generator), draws)
        return picked(found, taken).masked_fill(none[:, None], math.nan), effective(log_w)

    @torch.no_grad()
    def weighted(
        self, model: TableModel, rows: Rows, candidates: int, seed: int, alike: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Draws of what rows lack, ``(candidates, n, features)``, on the CPU, and their log-weights: -inf where they do
        not agree with what is known. Of the same random numbers, if ``alike``: whatever the place of a row is."""
        guided, here, turns = model.guide_for("cannot draw missing cells"), rows.to(model.device), self._turns(rows.x)
        left = turns.repeat(-(-candidates // len(turns)), 1, 1)[:candidates]
        generator = torch.Generator().manual_seed(seed)
        shape = 3, len(left), 1 if alike else left.shape[1], left.shape[2]
        u, v, z = torch.rand(shape, dtype=torch.float64, generator=generator).expand(3, *left.shape)
        points = model.cells.spread(self.schema.seen(here.x).expand(left.shape), u.to(here.x))
        z, known = torch.special.ndtri(z.clamp(1e-15, 1 - 1e-15)).to(guided.guide.loc), ~here.x.isnan()
        drawn = guided.guide.fill(points, z, here.context, leave=left.to(z.device))[0]
        found, log_width, agrees = self._completed(drawn.double().cpu(), rows.x, v)
        filled, context = found.to(here.x), None if here.context is None else here.context.expand(len(left), -1, -1)
        log_q, holes = [], (~known).any(0).nonzero()[:, 0].tolist()
        for last in turns:
            some = filled.masked_fill(last.to(z.device), math.nan)
            log_p = guided.guide.log_prob(some, here.context, given=known, order=holes)
            log_q.append(log_p.cpu() - torch.where(last, log_width, 0.0).sum(-1))
        log_w = guided.joint.log_prob(filled, context).double().cpu() - torch.stack(log_q).logsumexp(0)
        return torch.where(rows.x.isnan(), found, rows.x), log_w.masked_fill(~agrees | log_w.isnan(), -math.inf)

    @property
    def _solved(self) -> list[Determined]:
        """What tells an input if it has all others."""
        found = (one for one in self.schema.dependencies if isinstance(one, Determined) and one.solvable)
        return [one for one in found if {*one.inputs} <= {*self.schema.names}]

    def _holes(self, x: Tensor) -> Tensor:
        """The holes of rows from which something follows that is known, ``(dependencies, n, features)``."""
        holes, found = unknown(x), [torch.zeros(0, *x.shape, dtype=torch.bool)]
        values = self.schema.dependencies.computed({**self.schema.dated(x), **self.follow})
        for relation in self.schema.dependencies:
            own = self.follow.get(relation.column.name, np.full(len(x), np.nan))
            told = torch.from_numpy(relation.tells(own, values, self.schema.dependencies.known, self.empty))
            found.append((holes & told[:, None] & self._behind(relation))[None])
        return torch.cat(found)

    def _behind(self, relation: Dependency) -> Tensor:
        """The features of the columns that the inputs are, or follow from, as those of a total do, ``(features,)``."""
        sources = self.schema.dependencies.sources
        return self.schema.features_of({each for name in relation.inputs for each in sources[name]})

    def _turns(self, x: Tensor) -> Tensor:
        """What is left to the end in each turn, one hole of every sum, ``(turns, n, features)``."""
        solved, dependencies = self._solved, self.schema.dependencies
        sums = [holes for holes, one in zip(self._holes(x), dependencies, strict=True) if one in solved]
        left = torch.zeros(max([1, *(int(holes.sum(1).max()) for holes in sums)]), *x.shape, dtype=torch.bool)
        for turn, chosen in enumerate(left):
            for holes in sums:
                free = holes & ~chosen
                chosen |= free & (free.cumsum(1) - 1 == turn % free.sum(1, keepdim=True).clamp_min(1))
        return left

    def _completed(self, drawn: Tensor, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Drawn rows ``(K, n, features)`` with what was left, at the points u of its cells; for each entry the
        log-width of the cell that it would follow in; and which rows agree with what is known, ``(K, n)``."""
        schema, found, u = self.schema, drawn.flatten(0, 1), u.flatten(0, 1)
        told = {name: np.tile(values, len(drawn)) for name, values in self.follow.items()}
        values = schema.dated(schema.snap(found))
        for _ in told:  # what one of them tells, another one may need
            values = schema.dependencies.completed(values, told, drawn=True)
        broken = torch.from_numpy(schema.dependencies.broken(values, told, len(found)))
        agrees = ~(broken & self._holes(x).any(-1).tile(1, len(drawn))).any(0)
        log_width = torch.zeros_like(found)
        for relation in self._solved:
            y = relation.column.kind.amounts(told.get(relation.column.name, np.full(len(found), np.nan)))
            amounts = {name: schema.dependencies.known[name].kind.amounts(values[name]) for name in relation.inputs}
            for name in relation.solvable:
                j, value = schema.names.index(name), torch.from_numpy(values[name])
                kind, left = schema.columns[j].kind, found[:, j].isnan()
                if not kind.classes:
                    low, width = map(torch.from_numpy, kind.cells_of(values[name]))
                    ends = [relation.solved(name, end, amounts) for end in (y, y + relation.slack)]
                    least = torch.from_numpy(np.abs(ends[1] - ends[0]))
                    first, wide = map(torch.from_numpy, relation.wide(name, y, amounts, kind))
                    low, width = torch.where(wide > 0, first, low), torch.where(wide > 0, wide, width)
                    value, log_width[:, j] = low + width * u[:, j], torch.where(width > 0, width, least).log()
                agrees &= ~(left & value.isnan())
                found[left, j] = value.nan_to_num(kind.typical[0])[left]
        return found.view(drawn.shape), log_width.view(drawn.shape), agrees.view(drawn.shape[:2])
