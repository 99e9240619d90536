"""Numbers that stand for cells: on a grid, as whole and rounded ones and ends of months, or since they stand out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import polars as pl

from ....errors import listed
from .base import MOST_ATOMS, Atom, Description, Hints, Numbers
from .numeric import Numeric, end_atom, never_negative, present

REMARK = "integer, rounded and inflated values are cells: their density is the average over the cell"
FEWEST = 3  # different dates that tell
HALF = 15.5  # days of a month
FARTHEST = 2.9e6  # days from 1970: the year 9909
ATOM, HEAP = 0.02, 0.003  # shares of rows that make a value an atom: always, and if it has room
LEAST, ROOM, CLOSEST = 10, 1e-5, 1e-9  # rows of such a value; standard deviations to the next one, and of any atom
HEAPED = 1 / 3  # share of the other rows that repeat each other, beyond chance, where every value is an atom
LISTED = 2000  # distinct values that may be atoms together
FEW, EMPTY = 60, 20  # values that are no scale of their last decimal, if it has more than so many places for each
HALVES = 0.02  # share of rows, at most, with a half among whole numbers: half a day that stands for none


@dataclass(frozen=True, kw_only=True)
class Grid(Numeric):
    """Numbers that are multiples of a step apart; most occur more than once, or all are whole but a few halves."""

    step: float = 1.0  # spacing of the grid
    origin: float = 0.0  # one of its values

    remark: ClassVar[str] = REMARK

    @classmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        x = present(values)
        found = cls.found(x, hints)
        return None if found is None or (not hints.day and _empty(x, found.step)) else found.mapped(values, hints)

    @classmethod
    def found(cls, x: Numbers, hints: Hints) -> Self | None:
        """The grid on which numbers lie, without a first map."""
        unique = np.unique(x)
        if len(unique) > 0.5 * len(x) and ((2 * x % 1).any() or (x % 1 > 0).mean() > HALVES):
            return None
        step, decimals = grid_of(unique, hints.float32)
        return cls.of(x, step=step, origin=float(unique[0]), decimals=decimals) if step else None


def grid_of(unique: Numbers, float32: bool) -> tuple[float, int | None]:
    """The largest step that explains every value, and the decimals to write; (0, 0) if there is none."""
    gaps = unique - unique[0]
    blur = (6e-8 if float32 else 1e-15) * np.abs(unique).max() * 4
    exact = np.abs(unique).max() < (2**24 if float32 else 2**53)  # whole numbers are
    for decimals in range(7):
        scaled = gaps * 10.0**decimals
        off, slack = np.abs(scaled - np.round(scaled)).max(), max(blur * 10.0**decimals, 1e-9)
        if off <= slack < 0.1 or (exact and off == decimals == 0):
            step = int(np.gcd.reduce(np.round(scaled).astype(np.int64))) / 10.0**decimals
            return step, _decimals(unique[0], decimals, float32)
    return 0.0, 0


def _empty(x: Numbers, step: float) -> bool:
    """Whether few values, which rows repeat, leave nearly all of a grid empty: what passed through single precision, as
    98.000002 beside 109, or an average among whole numbers."""
    unique, counts = np.unique(x, return_counts=True)
    far = bool(np.ptp(unique) > EMPTY * step * len(unique))
    return len(unique) <= FEW and far and _heaped(unique, counts, step)


def _decimals(origin: float, decimals: int, float32: bool) -> int | None:
    """The number of decimals that can represent both the step and the grid's origin; None if there are many."""
    blur = (1e-6 if float32 else 1e-12) * max(abs(origin), 1.0)
    return next((more for more in range(decimals, 10) if abs(round(origin, more) - origin) <= blur), None)


@dataclass(frozen=True, kw_only=True)
class Months(Grid):
    """Days of which the first, or the last, of each month occur: what is drawn is the nearest such."""

    last: bool = False  # whether they are the last days

    @classmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        x = present(values)
        if not hints.day or len(np.unique(x)) < FEWEST:
            return None
        ends = [last for last in (False, True) if np.array_equal(_nearest(x, hints.day, last), x)]
        found = super().fits(values, hints) if ends else None
        return None if found is None else replace(found, last=ends[0])

    def snap(self, numbers: Numbers) -> Numbers:
        there = np.isfinite(numbers)
        return np.where(there, _nearest(np.where(there, numbers, 0.0), self.day, self.last), np.nan)


def _nearest(x: Numbers, day: float, last: bool) -> Numbers:
    """The nearest first or last day of a month, in days or seconds since 1970."""
    middle = np.floor((x / day).clip(-FARTHEST, FARTHEST) + HALF).astype("datetime64[D]")
    return day * (middle.astype("datetime64[M]").astype("datetime64[D]").astype(float) - last)


@dataclass(frozen=True, kw_only=True)
class Spikes(Numeric):
    """Numbers some or all of which are *atoms*, values that many rows hold: rows of one are spread over its cell.

    Where rows repeat each other's values, as wages, averages of grades and logarithms of whole numbers, all values are.
    """

    atoms: tuple[Atom, ...] = ()  # (value, low, width) of each: its rows lie in value + low + [0, width)

    remark: ClassVar[str] = REMARK

    @classmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        x = present(values)
        unique, counts = np.unique(x, return_counts=True)
        spread, gaps = float(x.std()), np.pad(np.diff(unique), 1, constant_values=np.inf)
        often = _often(unique, counts, spread) if len(unique) > 2 else np.zeros(0, int)
        if hints.bounds is None and x.min() == 0 and never_negative(x, hints):
            often = np.union1d([0], often).astype(int)  # which a map that starts at 0 could not reach
        atoms = tuple(end_atom(unique, place, spread) for place in often.tolist())
        apart = np.minimum(gaps[1:], gaps[:-1]) > CLOSEST * np.ptp(x)  # or cells would be points
        rest = np.setdiff1d(np.flatnonzero(apart), often)
        if counts[rest].max(initial=1) > 1 and _heaped(unique[rest], counts[rest], cls.of(x).resolution):
            atoms = (*atoms, *_among(unique, rest, spread))
        return cls.of(x, atoms=atoms).mapped(values, hints) if atoms else None

    def snap(self, numbers: Numbers) -> Numbers:
        return self._held(numbers, self._held(rounded := super().snap(numbers), rounded))  # into a cell, at times

    def _held(self, numbers: Numbers, others: Numbers) -> Numbers:
        """The value of the cell in which each number lies, or the other number."""
        value, low, width = self.atom_cells
        place = (np.searchsorted(value + low, numbers, side="right") - 1).clip(0)
        inside = (numbers >= (value + low)[place]) & (numbers < (value + low + width)[place])
        return np.where(inside | (numbers == value[place]), value[place], others)

    def describe(self) -> Description:
        return replace(super().describe(), kind=f"inflated at {listed((f'{v:g}' for v, _, _ in self.atoms), 3)}")


def _often(unique: Numbers, counts: np.ndarray, spread: float) -> np.ndarray:
    """Indices of the values that stand out, at most the ``MOST_ATOMS`` commonest."""
    rows, gaps = counts.sum(), np.diff(unique)
    nearest = np.minimum(np.append(gaps, np.inf), np.append(np.inf, gaps))
    always = (counts >= ATOM * rows) & (counts >= 5) & (nearest >= CLOSEST * spread)
    heaps = (counts >= HEAP * rows) & (counts >= LEAST) & (nearest >= ROOM * spread)
    places = np.flatnonzero(always | heaps)
    return np.sort(places[np.argsort(-counts[places], kind="stable")[:MOST_ATOMS]])


def _heaped(values: Numbers, counts: np.ndarray, resolution: float) -> bool:
    """Whether rows repeat each other's values, more often than by chance at the resolution that they are written with;
    of so many distinct ones that all may be atoms."""
    x, near = np.repeat(values, counts), round(counts.sum() ** 0.5)
    spacing = (x[near:] - x[:-near]) / near  # of rows in the same region
    alone = np.exp(-resolution / np.maximum(spacing, 1e-300)).mean()  # by chance
    return bool(len(values) <= LISTED and (counts == 1).sum() < (1 - HEAPED) * alone * len(x))


def _among(unique: Numbers, places: np.ndarray, spread: float) -> list[Atom]:
    """Cells of values around them and apart, so that others may lie between."""
    gaps = np.pad(np.diff(unique), 1, constant_values=np.inf)
    width = np.minimum(0.5 * np.minimum(gaps[1:], gaps[:-1]), 0.02 * spread)[places]
    return list(zip(unique[places].tolist(), (-0.5 * width).tolist(), width.tolist(), strict=True))
