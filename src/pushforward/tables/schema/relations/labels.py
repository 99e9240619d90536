"""Labels that follow from numbers: the largest or smallest of some columns, the interval of a scale, the first of some
columns that is above a threshold or true, the larger of two."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ....errors import listed
from ..columns import Column
from ..kinds.base import Numbers
from .base import FEWEST, Columns, Dependency, Rows, amounts_of, on_scales, shortest

MOST = 60  # columns among which a label is sought
EVIDENCE = 30.0  # nats, beyond those of looking at many columns
FEWEST_EACH = 5  # rows of each of the labels that are told by several columns
EDGE = 0.01  # of a gap, at either end of which only the label there is possible
EQUAL = 1e-12  # of a number: how far another may be that is the same but for rounding errors
BEYOND = 0.1  # share of the rows without a label that may lie beyond those of the label that follows


@dataclass(frozen=True, repr=False)
class Largest(Dependency):
    """A label that tells which of several columns is the largest, or the smallest."""

    codes: tuple[float, ...] = ()  # the encoded label for each input
    sign: int = 1  # 1 for the largest, -1 for the smallest

    def computed(self, values: Rows, columns: Columns) -> Numbers:
        amounts = self.sign * self.amounts(values, columns)
        there = ~np.isnan(amounts).any(0)
        return np.where(there, np.array(self.codes)[np.where(there, amounts, 0).argmax(0)], np.nan)

    def broken(self, found: Numbers, values: Rows, columns: Columns) -> np.ndarray:
        """Of equal columns, either may be told."""
        amounts = self.sign * self.amounts(values, columns)
        told = np.array(self.codes)[:, None] == found
        own = np.where(told, amounts, -np.inf).max(0)
        return ~self.column.missing(found) & ~np.isnan(amounts).any(0) & (own < amounts.max(0))

    def __str__(self) -> str:
        names = ", ".join(map(repr, self.inputs))
        return f"{self.column.name!r} tells the {'largest' if self.sign > 0 else 'smallest'} of {names}"


@dataclass(frozen=True, repr=False)
class Threshold(Dependency):
    """A label that the last of several cuts that are passed tells: the interval of a scale in which a number lies, or
    the first of several columns that is above its threshold.
    """

    # where labels meet: the shortest number between the nearest training rows. Each is one of the input's own, or all
    # of them of the only input
    cuts: tuple[float, ...] = ()
    # these rows, in between which either label is possible: those below each cut, then those above
    gaps: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    codes: tuple[float, ...] = ()  # the encoded label where no cut is passed, and where each is the last
    words: tuple[str, ...] = ()  # of several inputs, the value of each that is above its cut, if it is a flag; else ""

    @property
    def scales(self) -> tuple[tuple[str, ...], ...]:
        """The columns by which each of the amounts that are cut is told."""
        return tuple((name,) for name in self.inputs)

    def seen_beside(self, columns: Columns) -> bool:
        """Whether a density of the label and these columns can keep it."""
        return {*self.inputs} <= columns.keys()

    def computed(self, values: Rows, columns: Columns) -> Numbers:
        amounts, steps = self.amounts(values, columns), np.arange(1, len(self.codes))[:, None]
        last = np.max(steps * (amounts > np.array(self.cuts)[:, None]), 0)
        return np.where(np.isnan(amounts).any(0), np.nan, np.array(self.codes)[last])

    def sure(self, values: Rows, columns: Columns) -> np.ndarray:
        """Which rows lie where training rows were, not beyond them nor in a gap, and have the label that these have."""
        amounts, (below, above) = self.amounts(values, columns), np.array(self.gaps)[..., None]
        inputs, ends = super().amounts(values, columns), np.array([columns[name].kind.ends for name in self.inputs])
        low, high = ends.T[..., None]
        there = ((low <= inputs) & (inputs <= high)).all(0) & ((amounts <= below) | (above <= amounts)).all(0)
        own, found = self.computed(values, columns), values[self.column.name]
        return np.isnan(own) | (there & (self.column.missing(found) | (own == found)))

    def limits(self, classes: int) -> dict[tuple[str, ...], np.ndarray]:
        """The least and the largest amount on each scale for each code of the label, ``(2, classes)``; in the gaps more
        than one is possible."""
        scales, codes = self.scales * (len(self.cuts) // len(self.scales)), np.array(self.codes, int)
        ends = {scale: np.repeat([[-np.inf], [np.inf]], classes, 1) for scale in self.scales}
        for step, (scale, below, above) in enumerate(zip(scales, *self.gaps, strict=True), 1):
            edge, (low, high) = EDGE * (above - below), ends[scale]
            low[codes[step]] = below + edge
            high[codes[:step]] = np.minimum(high[codes[:step]], above - edge)
        return ends

    def broken(self, found: Numbers, values: Rows, columns: Columns) -> np.ndarray:
        known, ends = np.isin(found, self.codes), self.limits(self.column.classes)
        code, other = np.where(known, found, 0).astype(int), found != self.computed(values, columns)
        each = zip(self.amounts(values, columns), (ends[scale][:, code] for scale in self.scales), strict=True)
        beyond = np.any([(x < low) | (x > high) for x, (low, high) in each], 0)
        return ~self.column.missing(found) & (~known | (beyond & other))  # a cut may lie at the edge of a gap

    def __str__(self) -> str:
        cuts = [f"{cut:.6g}" for cut in self.cuts]
        if len(self.inputs) == 1:
            return f"{self.column.name!r} tells on which side of {listed(cuts)} {self.inputs[0]!r} lies"
        told = zip(self.inputs, cuts, self.words or [""] * len(cuts), strict=True)
        tests = [f"{name!r} = {word}" if word else f"{name!r} > {cut}" for name, cut, word in told]
        return f"{self.column.name!r} tells the first that holds of {', '.join(tests[::-1])}"


@dataclass(frozen=True, repr=False)
class Comparison(Threshold):
    """A label that tells which of two columns is larger: cuts of the sign of their difference. Of equal columns it
    tells what it did in all rows where they were, or either."""

    @property
    def scales(self) -> tuple[tuple[str, ...], ...]:
        return (self.inputs,)

    def seen_beside(self, columns: Columns) -> bool:
        """In the cell of a value that stands out, new values of the one may be on either side of the other."""
        return super().seen_beside(columns) and not any(columns[name].kind.atoms for name in self.inputs)

    def amounts(self, values: Rows, columns: Columns) -> Numbers:
        x, y = super().amounts(values, columns)
        return _sign(x, y)[None]

    def __str__(self) -> str:
        x, y = self.inputs
        equal = ", or that they are equal" if len(self.codes) > 2 else ""
        return f"{self.column.name!r} tells which of {x!r} and {y!r} is larger{equal}"


def labels(columns: Sequence[Column], values: Rows, free: Collection[str]) -> list[Dependency]:
    """Labels, but for the free ones, that follow from numbers and flags in every row that has one."""
    scales = [*on_scales([column for column in columns if not column.classes], values)][:MOST]
    flags = [column.name for column in columns if column.classes == 2 and not column.holes.share]
    known, names = {column.name: column for column in columns}, [*scales, *flags][:MOST]
    words, found = {name: known[name].shown(1.0) for name in flags}, list[Dependency]()
    numbers = on_scales([column for column in columns if column.classes != 2], values)
    amounts = [amounts_of(known[name], values[name]) for name in names]
    least = EVIDENCE + np.log(len(columns) * max(len(names), 1))
    for column in columns:
        there = ~column.missing(values[column.name])
        if column.classes < 2 or column.name in free or there.sum() < FEWEST:
            continue
        x = values[column.name][there]
        told_by = np.reshape([amount[there] for amount in amounts], (len(names), len(x)))
        if _nats(x) < least:
            continue
        groups = [[j] for j in range(len(scales))]
        if column.classes > 2 and np.unique(x, return_counts=True)[1].min() >= FEWEST_EACH:
            groups.append([*range(len(names))])
        label = _largest(column, x, scales, told_by[: len(scales)])
        label = label or _threshold(column, x, names, told_by, groups, words)
        label = label or _comparison(column, x, {name: y[there] for name, y in [*numbers.items()][:MOST]})
        if label is not None and _may_be_filled(label, values, known):
            found.append(label)
    return found


def _may_be_filled(label: Dependency, values: Rows, known: Columns) -> bool:
    """Whether nearly all rows without a label lie among those of the label that follows: no interval is left out."""
    found, told = values[label.column.name], label.computed(values, known)
    gone, amounts = label.column.missing(found) & ~np.isnan(told), label.amounts(values, known)
    codes, place = np.unique(told[gone], return_inverse=True)
    own = [amounts[:, found == code] for code in codes]
    ends = np.reshape([of(x, 1) for of in (np.min, np.max) for x in own], (2, -1, len(amounts)))
    low, high = ends[:, place].swapaxes(1, 2)
    apart = (amounts[:, gone] < low) | (amounts[:, gone] > high)
    return bool(apart.any(0).sum() <= BEYOND * gone.sum())


def _largest(column: Column, x: Numbers, names: Sequence[str], amounts: np.ndarray) -> Dependency | None:
    """For every label the column that stands out in its rows; all of them must be in every row as the label says."""
    codes = np.unique(x)
    whole = [j for j in range(len(names)) if not np.isnan(amounts[j]).any() and amounts[j].std() > 0]
    if not 2 < len(codes) <= len(whole):
        return None
    z = (amounts[whole] - amounts[whole].mean(1, keepdims=True)) / amounts[whole].std(1, keepdims=True)
    for sign in (1, -1):
        means = np.stack([sign * z[:, x == code].mean(1) for code in codes])  # (labels, columns)
        chosen = means.argmax(1)
        if len(set(chosen.tolist())) < len(codes):
            continue
        own = sign * amounts[[whole[j] for j in chosen]]
        if (own.max(0) == own[np.searchsorted(codes, x), np.arange(len(x))]).all():
            return Largest(column, tuple(names[whole[j]] for j in chosen), tuple(codes.tolist()), sign)
    return None


def _threshold(
    column: Column, x: Numbers, names: list[str], amounts: np.ndarray, groups: list[list[int]], words: dict[str, str]
) -> Dependency | None:
    """The label by cuts of a group's only column, or of several of a group's; unless it tells these in turn, but for
    the first of several."""
    codes = np.unique(x)
    low, high = (np.array([of(amounts[:, x == code], 1) for code in codes]) for of in (np.min, np.max))
    for group in groups:
        steps = _cuts(low[:, group], high[:, group])
        if not steps:
            continue
        told, places, below, above = zip(*steps, strict=True)
        labels = [*({*range(len(codes))} - {*told}), *told]
        inputs = tuple(names[group[j]] for j in places) if len(group) > 1 else (names[group[0]],)
        fixed = sum(bool((low[:, group[j]] == high[:, group[j]]).all()) for j in {*places})
        several = len({*places}) > 1
        if fixed <= several == (len(group) > 1):
            cuts = tuple(map(shortest, below, above))
            said = tuple(words.get(name, "") for name in inputs)
            return Threshold(column, inputs, cuts, (below, above), tuple(codes[labels].tolist()), said)
    return None


def _comparison(column: Column, x: Numbers, numbers: Mapping[str, Numbers]) -> Dependency | None:
    """The label by the sign of the difference of two columns of numbers, neither of which tells it alone."""
    codes, names = np.unique(x), [name for name in numbers if name != column.name]
    if len(codes) > 3 or len(names) < 2 or _nats(x) < EVIDENCE + 2 * np.log(len(numbers)):
        return None
    amounts = np.stack([numbers[name] for name in names])
    first, second = np.array([*itertools.combinations(range(len(names)), 2)]).T
    few = np.concatenate([np.flatnonzero(x == code)[:FEWEST] for code in codes])  # which refute most pairs
    for rows in (few, np.arange(len(x))):
        signs, own = _sign(amounts[first][:, rows], amounts[second][:, rows]), x[rows]
        low, high = (np.stack([of(signs[:, own == code], 1) for code in codes]) for of in (np.min, np.max))
        below, above = np.sort(high, 0)[:-1], np.sort(low, 0)[1:]  # (labels - 1, pairs)
        first, second = first[apart := (below < above).all(0)], second[apart]
    for i, j, least, *gaps in zip(first, second, low.T[apart], below.T[apart], above.T[apart], strict=True):
        if not _alone(amounts[i], x) and not _alone(amounts[j], x):
            told, ends = tuple(codes[least.argsort()].tolist()), (tuple(gaps[0].tolist()), tuple(gaps[1].tolist()))
            return Comparison(column, (names[i], names[j]), tuple(map(shortest, *ends)), ends, told)
    return None


def _alone(amounts: Numbers, x: Numbers) -> bool:
    """Whether repeated values tell a label, or are no more than two."""
    values, place = np.unique(amounts, return_inverse=True)
    return len(values) <= 2 or (2 * len(values) < len(x) and len(np.unique(place + 1j * x)) == len(values))


def _sign(x: Numbers, y: Numbers) -> Numbers:
    """The sign of x - y; 0 where only rounding errors lie between them."""
    return np.where(np.isclose(x, y, rtol=EQUAL, atol=0), 0.0, np.sign(x - y))


def _cuts(low: np.ndarray, high: np.ndarray) -> list[tuple[int, int, float, float]]:
    """The cuts that tell the labels, from the least and the largest value of each in each column: the label, the
    column, and between which values it is cut; none if there are no such cuts.

    Again and again, a label all of whose rows are above those of all others in one column is taken out. Where a list of
    such decisions exists, this finds one.

    Reference:
        Rivest (1987), Learning decision lists, Machine Learning 2.
    """
    steps: list[tuple[int, int, float, float]] = []
    left = np.arange(len(low))
    while len(left) > 1:
        top = np.sort(high[left], 0)
        below = np.where(high[left] < top[-1], top[-1], top[-2])  # the largest value of the other labels
        apart = np.argwhere(low[left] > below)
        if not len(apart):
            return []
        place, j = apart[0]
        steps.insert(0, (int(left[place]), int(j), float(below[place, j]), float(low[left[place], j])))
        left = np.delete(left, place)
    return steps


def _nats(x: Numbers) -> float:
    """How unlikely it is that rows with labels are sorted by these, in any order of them: the logarithm of the number
    of arrangements of so many rows of each, for one of these orders."""
    counts = np.unique(x, return_counts=True)[1]
    ways = torch.tensor([len(x), *counts, len(counts)], dtype=torch.float64).add(1).lgamma()
    return float(ways[0] - ways[1:].sum())
