"""Labels that follow from numbers: the largest or smallest of some columns, the interval of a scale."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..columns import Column
from ..kinds.base import Numbers
from .base import Columns, Dependency, Rows, on_scales
from .look_up import EVIDENCE

FEWEST = 50  # rows
MOST = 60  # columns among which a label is sought


@dataclass(frozen=True, repr=False)
class Largest(Dependency):
    """A label that tells which of several columns is the largest, or the smallest.

    Args:
        codes: The encoded label for each input.
        sign: 1 for the largest, -1 for the smallest.
    """

    codes: tuple[float, ...] = ()
    sign: int = 1

    def computed(self, values: Rows, columns: Columns) -> Numbers:
        amounts = self.sign * self.amounts(values, columns)
        there = ~np.isnan(amounts).any(0)
        return np.where(there, np.array(self.codes)[np.where(there, amounts, 0).argmax(0)], np.nan)

    def broken(self, found: Numbers, values: Rows, columns: Columns) -> np.ndarray:
        """Of equal columns, either may be told."""
        amounts = self.sign * self.amounts(values, columns)
        told = np.array(self.codes)[:, None] == found
        own = np.where(told, amounts, -np.inf).max(0)
        return ~np.isnan(found) & ~np.isnan(amounts).any(0) & (own < amounts.max(0))

    def __str__(self) -> str:
        names = ", ".join(map(repr, self.inputs))
        return f"{self.column.name!r} tells the {'largest' if self.sign > 0 else 'smallest'} of {names}"


@dataclass(frozen=True, repr=False)
class Threshold(Dependency):
    """A label that tells the interval of a scale in which a number lies.

    Args:
        cuts: Where intervals meet: the shortest number between the nearest training rows.
        gaps: These rows, in between which either label is possible: those below each cut, then those above.
        codes: The encoded label of each interval, from the lowest to the highest.
    """

    cuts: tuple[float, ...] = ()
    gaps: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    codes: tuple[float, ...] = ()

    def computed(self, values: Rows, columns: Columns) -> Numbers:
        (amounts,) = self.amounts(values, columns)
        return np.where(np.isnan(amounts), np.nan, np.array(self.codes)[np.searchsorted(self.cuts, amounts)])

    def broken(self, found: Numbers, values: Rows, columns: Columns) -> np.ndarray:
        """Whether the number lies outside of the label's interval, with the gaps beside it."""
        (amounts,) = self.amounts(values, columns)
        low, high = np.array([-np.inf, *self.gaps[0]]), np.array([*self.gaps[1], np.inf])
        inside = (amounts > low[:, None]) & (amounts < high[:, None]) & (np.array(self.codes)[:, None] == found)
        return ~np.isnan(found) & ~np.isnan(amounts) & ~inside.any(0)

    def __str__(self) -> str:
        cuts = ", ".join(f"{cut:.6g}" for cut in self.cuts)
        return f"{self.column.name!r} tells on which side of {cuts} {self.inputs[0]!r} lies"


def labels(columns: Sequence[Column], values: Rows, free: Collection[str]) -> list[Dependency]:
    """Labels, but for the free ones, that follow from numbers in every row."""
    scales = on_scales([column for column in columns if not column.classes], values)
    names, amounts, found = [*scales][:MOST], np.array([*scales.values()][:MOST]), []
    for column in columns:
        x = values[column.name]
        if column.classes < 2 or column.name in free or len(x) < FEWEST or np.isnan(x).any() or not _is_told(x):
            continue
        found.append(_largest(column, x, names, amounts) or _threshold(column, x, names, amounts))
    return [label for label in found if label is not None]


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
        inputs = tuple(names[whole[j]] for j in chosen)
        relation = Largest(column, inputs, tuple(codes.tolist()), sign)
        own = sign * amounts[[whole[j] for j in chosen]]
        if (own.max(0) == own[np.searchsorted(codes, x), np.arange(len(x))]).all():
            return relation
    return None


def _threshold(column: Column, x: Numbers, names: Sequence[str], amounts: np.ndarray) -> Dependency | None:
    classes = len(np.unique(x))
    for name, y in zip(names, amounts, strict=True):
        if np.isnan(y).any():
            continue
        order = np.argsort(y, kind="stable")
        label, number = x[order], y[order]
        at = np.flatnonzero(np.diff(label))
        if len(at) != classes - 1 or (number[at] == number[at + 1]).any():
            continue
        if classes > 2 and len(set(np.sign(np.diff(label[[*at, -1]])).tolist())) > 1:
            continue
        gaps = tuple(number[at].tolist()), tuple(number[at + 1].tolist())
        cuts = tuple(_shortest(*gap) for gap in zip(*gaps, strict=True))
        return Threshold(column, (name,), cuts, gaps, tuple(label[[*at, -1]].tolist()))
    return None


def _shortest(low: float, high: float) -> float:
    """The number with the fewest digits that is not below one, and below the other."""
    middle = 0.5 * (low + high)
    return next((short for k in range(1, 17) if low <= (short := float(f"{middle:.{k}g}")) < high), low)


def _is_told(x: Numbers) -> bool:
    """Whether so many rows of a label would hardly follow from others by chance."""
    shares = np.unique(x, return_counts=True)[1] / len(x)
    return len(x) * -float(np.log((shares**2).sum())) >= EVIDENCE
