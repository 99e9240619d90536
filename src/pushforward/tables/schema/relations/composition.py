"""Parts of a whole: columns that are never negative, and sum to a constant or to other columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ....transforms.relations import LogRatios
from ..columns import Column
from ..kinds.base import Numbers
from ..kinds.numeric import Numeric
from .base import FEWEST, Dependency, Relation, Rows, gained, mapped, scale_of
from .formula import Determined

MARGIN = 1.25  # room for the cells of zeros, in multiples of what they need
MOST_PARTS = 30


@dataclass(frozen=True, repr=False)
class Composition(Relation):
    """Parts of a whole, of which the last follows; draws are such parts."""

    parts: tuple[str, ...]  # the modelled parts
    last: str  # the one that follows from them and the whole
    total: float = 0.0  # the whole, or what is added to ``wholes``
    wholes: tuple[str, ...] = ()  # the columns that sum to it
    margins: tuple[float, ...] = ()  # the room for cells below 0 of each part, and of the last one
    ratios: bool = False  # whether the flow sees logarithms of their ratios to the last one

    def transform(self, columns: Sequence[Column]) -> LogRatios:
        """The log-ratios as a transform of encoded rows."""
        places = {column.name: j for j, column in enumerate(columns)}
        wholes = [places[name] for name in self.wholes]
        return LogRatios([places[name] for name in self.parts], self.total, wholes, self.margins)

    def fit_in(self, values: dict[str, Numbers]) -> None:
        """Takes what drawn parts have too much, as cells are rounded, from the largest of them."""
        parts = np.stack([values[name] for name in self.parts])
        whole = sum((values[name] for name in self.wholes), start=np.full(parts.shape[1], self.total))
        over = np.maximum(parts.sum(0) - whole, 0.0)
        largest = np.where(np.isnan(parts), -np.inf, parts).argmax(0)
        for i, name in enumerate(self.parts):
            values[name] = np.where((largest == i) & (over > 0), np.maximum(parts[i] - over, 0.0), parts[i])

    def __str__(self) -> str:
        whole = " + ".join([*map(repr, self.wholes), *([f"{self.total:g}"] if self.total else [])])
        learnt = ": the flow learns their ratios" if self.ratios else ""
        return f"{', '.join(map(repr, (*self.parts, self.last)))} are parts of {whole}, and drawn so{learnt}"


def compositions(columns: Sequence[Column], relations: Sequence[Dependency], values: Rows) -> tuple[Composition, ...]:
    """Sums whose parts are never negative; by their ratios, where none is missing (a guess at missing ones may be no
    parts of a whole) and held-out rows are likelier so."""
    holed = {column.name for column in columns if column.holes.share}
    kinds = {column.name: kind for column in columns if (kind := scale_of(column)) is not None}
    found, taken = list[Composition](), set[str]()
    for relation in relations:
        each = _composition(relation, kinds) if type(relation) is Determined else None
        if each is not None and not taken & {*each.parts, *each.wholes}:
            names = {*each.parts, *each.wholes}
            found.append(replace(each, ratios=not names & holed and _gains(each, kinds, values)))
            taken |= names
    return tuple(found)


def _composition(relation: Determined, kinds: Mapping[str, Numeric]) -> Composition | None:
    """A formula as parts of a whole, if it may be one: a sum."""
    signs = {name: weight for weight, ((name, power), *more) in relation.formula.terms if power == 1 and not more}
    parts = tuple(name for name, sign in signs.items() if sign == -1)
    wholes = tuple(name for name, sign in signs.items() if sign == 1)
    if (
        not 0 < len(parts) <= MOST_PARTS
        or len(signs) < len(relation.formula.terms)
        or not {*relation.inputs} == {*parts, *wholes} <= {*kinds}
    ):
        return None
    least = min(kind.ends[0] for kind in (relation.column.kind, *(kinds[name] for name in parts)))
    if least < 0 or relation.formula.offset < 0 or not (wholes or relation.formula.offset):
        return None
    margins = [-MARGIN * kinds[name].lowest_edge(0.0) for name in parts]
    rest = MARGIN * sum(map(_widest, (kinds[name] for name in signs)))
    return Composition(parts, relation.column.name, relation.formula.offset, wholes, (*margins, rest))


def _widest(kind: Numeric) -> float:
    """How far a point of a value's cell may be from the value."""
    atoms = [max(abs(low), abs(low + width)) for _, low, width in kind.atoms]
    return max([0.5 * kind.step, *atoms])


def _gains(composition: Composition, kinds: Mapping[str, Numeric], values: Rows) -> bool:
    """Whether held-out rows are likelier by log-ratios than by the columns' own maps."""
    names, k, random = [*composition.parts, *composition.wholes], len(composition.parts), np.random.default_rng(0)
    x = np.stack([values[name] for name in names])
    x = x[:, ~np.isnan(x).any(0)]
    if x.shape[1] < FEWEST:
        return False
    points = np.stack([kinds[name].spread(column, random) for name, column in zip(names, x, strict=True)], 1)
    seen = [mapped(kinds[name], column) for name, column in zip(names, points.T, strict=True)]
    own, slopes = np.array(seen).transpose(1, 2, 0)
    chart = LogRatios(range(k), composition.total, range(k, len(names)), composition.margins)
    z, logdet = (each.numpy() for each in chart(torch.from_numpy(points)))
    if not (np.isfinite(z).all() and np.isfinite(logdet).all()):
        return False  # a part of a row is all of the whole, or none of it, which no cell of a value says
    new = np.column_stack([z[:, :k], own[:, k:]]), logdet + slopes[:, k:].sum(1)
    return gained(new, (own, slopes.sum(1))) > 0
