"""Rows that come in groups: what is equal within a group is found, and a kind of density that knows the groups.

A table of pupils tells of each pupil's school, and one of visits of each visit's patient. What it tells of these is
equal in all rows of a group, and comes again, as a whole, in rows that are not seen yet; a flow only knows numbers that
are near it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...distributions.average import Average
from ...distributions.base import Density
from ...distributions.grouped import Grouped
from ...transforms.compose import Compose
from ..schema.cells import Cells
from ..schema.schema import Schema
from .kinds import MemberKind, Share
from .members import Points

if TYPE_CHECKING:
    from .cross_fitting import CrossFitted

DRAWS = 4000  # of the rows' Gaussian copula, to see how often values come together by chance
OFTEN, RARELY = 0.3, 0.5  # share of the rows of which others have the same values; and of it, that of such draws
MIXED = 0.8  # and of it, that of numbers of different rows
KEPT = 0.95  # share of these that a further feature may leave
KNOWN = 0.5  # share of the rows that have a cell


@dataclass(frozen=True)
class GroupMember(MemberKind):
    """A density of the rows of known groups."""

    inside: Sequence[int]  # the features that are equal within a group
    inner: CrossFitted | None  # the average of densities of the other features given these, if there are others
    name: str = "groups"  # type: ignore[misc]

    @classmethod
    def of(cls, rows: Points, inside: Sequence[int], cross_fitted: Callable[[Points], CrossFitted]) -> GroupMember:
        """That of rows, with what is cross-fitted to the other features."""
        rest, seen = [j for j in range(rows.features) if j not in inside], rows.x[0][:, inside]
        context = seen if rows.context is None else torch.cat([rows.context, seen], 1)
        return cls(inside, cross_fitted(Points(rows.x[..., rest], context, rows.weight)) if rest else None)

    @property
    def steps(self) -> Sequence[int]:  # type: ignore[override]
        return self.inner.steps if self.inner else ()

    def cross_fit(self, shares: Sequence[Share], seed: int) -> list[Density]:
        inner = self.inner.without if self.inner else [None] * len(shares)
        return [self._known(train, density) for (train, _), density in zip(shares, inner, strict=True)]

    def kept(self, rows: Points, fits: list[Density], seed: int) -> list[Density]:
        return [self._known(rows, self.inner.density if self.inner else None)]

    def _known(self, rows: Points, inner: Density | None) -> Grouped:
        """The groups of some rows."""
        assert rows.cells is not None
        have = ~rows.cells[..., self.inside].isnan().any(-1).any(0)
        some, context = rows.cells[:, have][..., self.inside], None if rows.context is None else rows.context[have]
        low, group = torch.unique(some[1], dim=0, return_inverse=True)
        one = torch.zeros(len(low), dtype=torch.long).scatter_(0, group, torch.arange(len(group)))  # row of each
        found = Grouped(rows.features, self.inside, len(low), inner, context=rows.given)
        found.learn(some[1:, one], some[0, one], group, rows.weight[have], context)
        return found


@torch.no_grad()
def with_cells(points: Points, x: Tensor, schema: Schema, first: Compose) -> Points:
    """Rows behind the first transforms of their numbers, with the cells of those that are no remainders or shares.

    Args:
        x: The encoded rows, ``(n, features)``.
    """
    tied = {each.name for each in schema.near}.union(*((*each.parts, *each.wholes) for each in schema.compositions))
    odd = torch.tensor([schema.columns[j].name in tied or j in schema.circles for j in schema.numbers])
    low, high = _ends(x, schema, first)
    values = torch.stack([x[:, schema.numbers], low, high])
    values = values.masked_fill(odd | ~(low < high) | x[:, schema.numbers].isnan(), torch.nan)
    return replace(points, cells=values)


def _ends(x: Tensor, schema: Schema, first: Compose) -> tuple[Tensor, Tensor]:
    """The ends of the cells of numbers behind their first transforms, ``(n, numbers)`` each."""
    middle = first.inverse(torch.zeros(1, len(schema.numbers)))[0]  # in place of what is missing
    edges = (Cells(schema).spread(x, torch.full_like(x, u))[:, schema.numbers] for u in (0.0, 1.0))
    low, high = (first(torch.where(each.isnan(), middle.to(each), each))[0].double() for each in edges)
    return low, high


@torch.no_grad()
def move_cells(average: Average, schema: Schema, first: Compose) -> None:
    """Moves the cells of the groups that an average knows to where other first transforms take them."""
    for member in average.members:
        if isinstance(member, Grouped):
            at = [schema.numbers[j] for j in member.inside]
            x = member.values.new_full((member.groups, len(schema.columns)), torch.nan)
            x[:, at] = member.values
            member.cells.copy_(torch.stack(_ends(x, schema, first))[..., member.inside])


def recurring(rows: Points, seed: int) -> list[int]:
    """The features that are equal within groups of rows; none if rows share values hardly more often than by chance.

    Begun by the two features, or the one beside features of the context, whose values come again together in many rows,
    seldom among draws from the rows' Gaussian copula, and less often among numbers of different rows, which keep values
    that many rows have; continued by those that leave nearly all of these.
    """
    if rows.cells is None:
        return []
    found, most, inside = Recurrence.of(rows, seed), 0.0, list[int]()
    told = {j: found.told(j) for j in found.features}
    alone = [([j], told[j]) for j in found.features if told[j].any()]
    for some, beside in [*(([*pair], None) for pair in combinations(found.features, 2)), *alone]:
        again, drawn, mixed = found.shares(some, beside)
        if again > OFTEN and drawn < RARELY * again and mixed < MIXED * again and again - drawn > most:
            most, inside = again - drawn, some
    now = found.shares(inside)[0] if inside else 0.0
    while inside and (left := [j for j in found.features if j not in inside]):
        again, j = max((found.shares([*inside, j])[0], j) for j in left)
        if again < KEPT * now:
            break
        inside, now = [*inside, j], again
    return sorted(inside)


@dataclass(frozen=True)
class Recurrence:
    """How often rows have the same values as others, beside how often others have the values of rows by chance."""

    codes: np.ndarray  # the cell of each number of each row, ``(n, features)``; -1 if it has none
    drawn: np.ndarray  # those of draws from the Gaussian copula of the rows, ``(draws, features)``
    mixed: np.ndarray  # those of as many rows, each number from another one
    context: np.ndarray  # the features of the context that are 0 or 1, ``(n, context features)``
    row: np.ndarray  # the row whose context each draw has, ``(draws,)``

    @classmethod
    def of(cls, rows: Points, seed: int) -> Recurrence:
        assert rows.cells is not None
        generator = torch.Generator().manual_seed(seed)
        _, low, high = rows.cells.numpy()
        draws = rows.copula.inverse(torch.randn(DRAWS, rows.features, generator=generator))[0].double().numpy()
        codes, drawn = np.full(low.shape, -1), np.full(draws.shape, -1)
        for j, x in enumerate(draws.T):
            have = np.flatnonzero(~np.isnan(low[:, j]))
            if len(have) > KNOWN * len(low):
                ends, one, codes[have, j] = np.unique(low[have, j], return_index=True, return_inverse=True)
                at = (np.searchsorted(ends, x, side="right") - 1).clip(0)
                drawn[:, j] = np.where((x >= ends[at]) & (x <= high[have[one], j][at]), at, -1)
        context = torch.zeros(len(low), 0) if rows.context is None else rows.context
        binary = context[:, ((context == 0) | (context == 1)).all(0)].numpy()
        row, *others = torch.randint(len(rows), (1 + rows.features, DRAWS), generator=generator).numpy()
        mixed = np.take_along_axis(codes, np.stack(others, 1), 0)
        return cls(codes, drawn, mixed, binary, row)

    @property
    def features(self) -> list[int]:
        """Those that have cells."""
        return np.flatnonzero((self.codes >= 0).any(0)).tolist()

    def told(self, j: int) -> np.ndarray:
        """What the features of the context tell that are nearly equal in all rows of the same number: codes ``(n,)``,
        all 0 if they tell nothing."""
        group = self.codes[:, j] + 1
        count = np.maximum(np.bincount(group), 1)
        sums = np.zeros((len(count), self.context.shape[1]))
        np.add.at(sums, group, self.context)
        mean = (sums / count[:, None])[group]
        within = (mean * (1 - mean) * (count / np.maximum(count - 1, 1))[group, None]).mean(0)
        equal = within <= (1 - KEPT) * self.context.var(0)
        return np.unique(self.context[:, equal], axis=0, return_inverse=True)[1].ravel()

    def shares(self, some: Sequence[int], told: np.ndarray | None = None) -> tuple[float, float, float]:
        """The share of the rows of which others have the same values of some features, and those of the draws, and of
        the numbers of different rows, that have those of a row; with what is told beside these."""
        every = [codes[:, some] for codes in (self.codes, self.drawn, self.mixed)]
        if told is not None:
            beside = (told, told[self.row], told[self.row])
            every = [np.column_stack(pair) for pair in zip(every, beside, strict=True)]
        every = [codes[(codes >= 0).all(1)] for codes in every]
        _, place = np.unique(np.concatenate(every), axis=0, return_inverse=True)
        mine, *others = np.split(place.ravel(), np.cumsum([len(codes) for codes in every[:-1]]))
        rows = np.bincount(mine, minlength=place.max(initial=0) + 1)
        drawn, mixed = (float((rows[its] > 0).sum() / DRAWS) for its in others)
        return float((rows[mine] > 1).sum() / len(self.codes)), drawn, mixed
