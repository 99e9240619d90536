"""What a joint density knows of groups of rows, as a second source of draws for rows with holes.

A guide is smooth, and hardly ever draws just the values that a group has. So where some of what is equal within groups
is missing, half of the draws take it from groups that have all the rest, and the guide draws only what is still missing
then. Each filled row has one source: those in the cells of a known group are left to the draws from groups.

Reference:
    Owen (2013), Monte Carlo theory, methods and examples, chapter 8: stratification.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ...numerics.indicators import indicators
from ...numerics.partly_known import partly_known
from ...transforms.base import Transform
from ..base import Density
from ..flow import Flow
from ..grouped import Grouped
from .holes import RowsWithHoles
from .region import Region

GROUP, CELL = 41, 42  # streams of random numbers
TOLD = 0.95  # share of a group's rows that have one category, from which the group tells it


@dataclass(frozen=True)
class Recall:
    """The groups that a joint density knows, and the map of its numbers to where these have their cells."""

    groups: Grouped
    first: Transform
    classes: Sequence[int]  # of each entry; 0 for a number

    @classmethod
    def of(cls, joint: Density, classes: Sequence[int]) -> Recall | None:
        """That of a joint density, if what a flow in it starts from knows groups."""
        for part in joint.modules():
            if isinstance(part, Flow):
                for member in part.base.modules():
                    if isinstance(member, Grouped):
                        return cls(member, part.transform, classes)
        return None

    @cached_property
    def numbers(self) -> list[int]:
        """The entries that are numbers."""
        return [j for j, size in enumerate(self.classes) if not size]

    @cached_property
    def inside(self) -> list[int]:
        """The entries that are equal within a group."""
        return [self.numbers[k] for k in self.groups.inside]

    @cached_property
    def named(self) -> list[int]:
        """The entries that are categories."""
        return [j for j, size in enumerate(self.classes) if size]

    @property
    def tells(self) -> Tensor:
        """Which groups tell which categories, ``(groups, categories)``."""
        sizes = [self.classes[j] for j in self.named]
        own = self.groups.log_share[:, self.groups.context - sum(sizes) :]
        told = [part.amax(1, keepdim=True) > math.log(TOLD) for part in own.split(sizes, 1)]
        return torch.cat([own[:, :0] > 0, *told], 1)

    def known(self, x: Tensor) -> Tensor:
        """Which rows ``(*batch, features)`` without holes lie in the cells of a group, ``(*batch,)``."""
        z = self.first(x[..., self.numbers].flatten(0, -2))[0]
        return self.groups.group_of(z[:, self.groups.inside])[1].view(x.shape[:-1])

    def log_shares(self, rows: RowsWithHoles) -> Tensor:
        """The logarithms of the shares in which groups fill rows, ``(n, groups)``: those that have all that is seen,
        and may lie in the rows' regions. NaN if there is none, or if nothing is missing that they tell."""
        seen, values = rows.x[:, self.inside], self.groups.values.to(rows.x)
        logits = self.groups.log_weights(self._context(rows), len(rows)).to(rows.x)
        for own, each in zip(seen.t(), values.t(), strict=True):
            logits = logits.masked_fill(~((own[:, None] == each) | own[:, None].isnan()), -math.inf)
        if rows.region is not None:
            logits = logits.masked_fill(~self._meets(rows.region, *self._ends(rows)), -math.inf)
            for j in rows.region.codes:
                allowed = self._log_classes(rows, j).logsumexp(2).t()
                logits = logits + torch.where(rows.x[:, j, None].isnan(), allowed, 0.0)
        open_told = rows.x[:, self.named].isnan() & (logits.isfinite().float() @ self.tells.float() > 0)
        asked = (seen.isnan().any(1) | open_told.any(1)) & ~partly_known(seen).any(1)
        return logits.log_softmax(1).masked_fill(~asked[:, None], math.nan)

    def filled(self, rows: RowsWithHoles, count: int, log_shares: Tensor) -> tuple[RowsWithHoles, Tensor, Tensor]:
        """Rows filled ``count`` times from groups: what is equal within these, and the categories that they tell.

        Returns:
            These as ``count · n`` rows, with holes where there still are any; points of their cells, ``(1, count · n,
            features)``; and the log-density of what fills them, ``(count, n)``, infinite outside of the rows' regions.
        """
        u, n = rows.uniform(count, stream=GROUP), torch.arange(len(rows), device=rows.x.device)
        group = _drawn(u[..., 0].t(), log_shares).t()
        x, holes, values = rows.x.repeat(count, 1, 1), rows.x.isnan(), self.groups.values.to(rows.x)[group]
        x[..., self.inside] = torch.where(holes[:, self.inside], values, x[..., self.inside])
        low, high = self._ends(rows)
        width = torch.where(holes[:, self.inside], (high - low)[group], 1.0)
        log_q = log_shares[n, group] - width.log().sum(-1)
        for j, tells in zip(self.named, self.tells[group].unbind(-1), strict=True):
            if (told := tells & holes[:, j]).any():
                log_p = self._log_classes(rows, j)[group, n].log_softmax(-1)
                code = _drawn(u[..., j, None], log_p)[..., 0]
                x[..., j] = torch.where(told, code.to(x), x[..., j])
                log_q = log_q + torch.where(told, log_p.gather(-1, code[..., None])[..., 0], 0.0)
        every = replace(rows[n.repeat(count)], x=x.flatten(0, 1), allowed=None)
        points = every.points(rows.uniform(count, stream=CELL).flatten(0, 1)[None])
        if every.region is not None:
            at = points[0, :, None, self.inside]
            log_q = log_q.masked_fill(~self._meets(every.region, at, at).view(log_q.shape), math.inf)
        return every, points, log_q

    def _meets(self, region: Region, low: Tensor, high: Tensor) -> Tensor:
        """Whether cells, or points, of which ends ``(places, |S|)`` or those for each row are given, reach into each
        row's region, ``(n, places)``; their edges alone do not."""
        meets = torch.ones_like(low[..., 0], dtype=torch.bool)
        for k, j in enumerate(self.inside):
            if j in region.numbers:
                first, last = region.numbers[j].to(low)[..., None]  # (intervals, n, 1)
                meets = meets & (((first < high[..., k]) & (last > low[..., k])).any(0) | first[0].isnan())
        return meets

    def _ends(self, rows: RowsWithHoles) -> tuple[Tensor, Tensor]:
        """The ends of the groups' cells in the rows' units, ``(groups, |S|)`` each."""
        x = rows.x.new_full((self.groups.groups, len(self.classes)), math.nan)
        x[:, self.inside] = self.groups.values.to(x)
        assert rows.spread is not None  # what has groups has cells
        low, high = (rows.spread(x, torch.full_like(x, u))[:, self.inside] for u in (0.0, 1.0))
        return low, high

    def _log_classes(self, rows: RowsWithHoles, j: int) -> Tensor:
        """The log-shares of the classes of entry j in each group, for each row's region, ``(groups, n, classes)``."""
        start = self.groups.context - sum(self.classes[j:])
        found = self.groups.log_share[:, None, start : start + self.classes[j]].to(rows.x)
        if rows.region is None or j not in rows.region.codes:
            return found.expand(-1, len(rows), -1)
        allowed = rows.region.codes[j].to(rows.x.device).t()
        return found.masked_fill(~allowed & allowed.any(1, keepdim=True), -math.inf)

    def _context(self, rows: RowsWithHoles) -> Tensor:
        """The context of the numbers: that of the rows, and the categories that are seen."""
        seen = indicators(rows.x[:, self.named], [self.classes[j] for j in self.named], torch.float32)
        return seen if rows.context is None else torch.cat([rows.context.float(), seen], 1)


def _drawn(u: Tensor, log_p: Tensor) -> Tensor:
    """Places drawn by uniform numbers ``(*batch, draws)`` with the log-probabilities ``(*batch, places)``."""
    below = log_p.exp().cumsum(-1)
    place = torch.searchsorted(below, (u * below[..., -1:]).contiguous(), right=True)
    return place.clamp_max(log_p.shape[-1] - 1)
