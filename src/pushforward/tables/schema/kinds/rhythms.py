r"""Rhythms: how busy the parts of an hour, a day, a week and a year are, and which last digits are common.

Visits of a day have two peaks, and bookings none at night; incomes are told in thousands, and ages in fives. No smooth
density over months, or over all incomes, can show it. With the distribution function F of the rows over a period P,
linear in each of its parts, a number becomes

.. math:: a + P\,(k + u) \mapsto a + P\,(k + F(u)), \qquad 0 \le u < 1,

time in which all parts of the period are equally busy: the rest of the density is smooth again. It is the same in all
periods, and so goes on after the last row. Rhythms follow each other, from the hour to the year and from ten steps of a
grid to tenfold ones, each found in what the shorter ones leave.

The shares of the parts are mixed with even ones as far as rows that are left out are likelier for it. They are learnt
from half of the periods and judged by the other half, so that what happened once is no rhythm. Where rows become more
frequent, each counts as a part of those within half a period, or growth would seem to have a season.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ....transforms.columns import PeriodicHistogram
from ..saved import Saved
from .base import FARTHEST, Numbers, Partition

PERIODS = {  # in days, when one of them begins, in days since 1970, and in how many parts they may be divided
    "hour": (1 / 24, 0.0, (4, 12, 60)),
    "day": (1.0, 0.0, (8, 24, 48, 96)),
    "week": (7.0, -3.0, (7, 168)),
    "year": (365.2425, 0.0, (12, 52)),
}
TENTHS = (10, 20, 50, 100)  # parts of ten steps of a grid, and of each tenfold period
FEWEST_ROWS, FEWEST = 50, 6  # rows; periods that hold any
EVEN = np.array([0.001, 0.003, 0.01, 0.03, *(0.1 * np.arange(1, 11))])  # what is mixed in of even shares
GAIN = 0.02  # nats a row


@dataclass(frozen=True)
class Rhythm(Saved):
    """The shares of the rows in equal parts of a period, in the column's unit."""

    name: str  # one of ``PERIODS``, or its length
    start: float  # where one of them begins
    period: float
    shares: tuple[float, ...]

    def transform(self) -> PeriodicHistogram:
        """The map to time in which all parts are equally busy."""
        return PeriodicHistogram(self.start, self.period, self.shares)

    def __call__(self, x: Numbers) -> Numbers:
        """Numbers in this time."""
        return np.asarray(self.transform()(torch.from_numpy(x.clip(-FARTHEST, FARTHEST)))[0].numpy())

    def __str__(self) -> str:
        return f"rhythm of {'the ' if self.name in PERIODS else ''}{self.name}"


class Timed(Partition):
    """Values with their cells in the time of rhythms."""

    def __init__(self, cells: Partition, rhythms: Sequence[Rhythm]) -> None:
        self.cells, self.rhythms, self.step, self.atoms = cells, rhythms, cells.step, cells.atoms
        self.minimum, self.maximum, self.bounds = cells.minimum, cells.maximum, cells.bounds

    def time(self, x: Numbers) -> Numbers:
        """Numbers in the time of all rhythms."""
        for rhythm in self.rhythms:
            x = rhythm(x)
        return x

    def cells_of(self, x: Numbers) -> tuple[Numbers, Numbers]:
        low, width = self.cells.cells_of(x)
        start = self.time(low)
        return start, self.time(low + width) - start


def rhythms_of(
    cells: Partition, x: Numbers, weight: Numbers, day: float, like: Sequence[Rhythm] | None = None
) -> tuple[Rhythm, ...]:
    """The rhythms of numbers with weights: of moments if they have days, of such a length in their unit; or those that
    others have, with new shares. The parts of periods begin where cells do."""
    step, found = cells.step, list[Rhythm]()
    known = [(name, day * period, day * start, sizes) for name, (period, start, sizes) in PERIODS.items()]
    if like is not None:
        known = [(each.name, each.period, each.start, (len(each.shares),)) for each in like]
    elif not day:
        tens = [10.0**k * step for k in range(1, int(np.log10(np.ptp(x) / step + 1)) + 1)] if step else []
        known = [(f"{ten:g}", ten, 0.0, TENTHS) for ten in tens]
    if known:
        x = cells.spread(x, np.random.default_rng(0))
    for name, period, start, sizes in known:
        start += np.mod(cells.origin - start, step) - 0.5 * step if step else 0.0
        whole = x >= x.max() - max(np.ptp(x) // period, 1) * period  # periods, so that each part is there as often
        turns, u = np.divmod((x[whole] - start) / period, 1.0)
        if like is None and (len(u) < FEWEST_ROWS or len(np.unique(turns)) < FEWEST):
            continue
        able = [size for size in sizes if size * step <= period * (1 + 1e-9)]
        steady = weight[whole] / _beside(x[whole], period)
        size = _best(turns, u, weight[whole], steady, able) if like is None else sizes[0]
        if size:
            found.append(Rhythm(name, float(start), period, tuple(_shares(u, steady, size).tolist())))
            x = found[-1](x)
    return tuple(found)


def _beside(x: Numbers, period: float) -> Numbers:
    """How many moments lie within a period around each one, or within the first or last."""
    ordered, start = np.sort(x), np.clip(x - 0.5 * period, x.min(), x.max() - period)
    return np.subtract(np.searchsorted(ordered, start + period, "right"), np.searchsorted(ordered, start), dtype=float)


def _best(turns: Numbers, u: Numbers, weight: Numbers, steady: Numbers, sizes: Sequence[int]) -> int:
    """In how many parts the periods that are held out are likeliest; 0 if they are not likelier by that."""
    each, turn = np.unique(turns, return_inverse=True)
    half, best, most = np.random.default_rng(0).permutation(len(each))[turn] % 2, 0, 0.0
    for size in sizes:
        shares = np.stack([_shares(u[half != k], steady[half != k], size) for k in range(2)])
        nats = weight / weight.sum() * np.log(size * shares[half, _part(u, size)])
        mean = nats.sum()
        error = np.sqrt((np.bincount(turn, nats - mean * weight / weight.sum()) ** 2).sum())  # of whole periods
        if mean > most and mean - 2 * error > GAIN:
            best, most = size, mean
    return best


def _part(u: Numbers, size: int) -> np.ndarray:
    return (u * size).astype(np.int64).clip(max=size - 1)


def _shares(u: Numbers, weight: Numbers, size: int) -> Numbers:
    """The shares of parts of a period, with even ones mixed in as far as rows are likelier that are left out."""
    rows = np.bincount(_part(u, size), weight / weight.mean(), size)
    mixed = np.outer(1 - EVEN, np.maximum(rows - 1, 0) / max(len(u) - 1, 1)) + EVEN[:, None] / size
    even = EVEN[np.argmax(np.log(mixed) @ rows)]
    return (1 - even) * rows / len(u) + even / size
