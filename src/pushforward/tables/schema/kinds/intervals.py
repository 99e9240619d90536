"""The intervals that numbers stand for: a whole number for one of width 1, a value that stands out for its own."""

from __future__ import annotations

import numpy as np

from .base import Bounds, Kind, Numbers

SLACK = 1e-9  # steps: the rounding of a value on a grid
FAR = 1e300
MOST_ATOMS = 100  # in a column that also has other values


class Intervals(Kind):
    """Numbers on a scale, their cells, and the interval that all of them lie in."""

    bounds: Bounds | None  # the open interval of the values
    minimum: float  # of the training rows
    maximum: float

    @property
    def tiled(self) -> bool:
        """Whether atoms are the only possible values: none lies beyond, and their cells leave no gaps."""
        if len(self.atoms) < 2:
            return False
        value, low, width = np.array(sorted(self.atoms)).T
        if self.minimum < value[0] or self.maximum > value[-1]:
            return False
        return bool(np.allclose((value + low)[1:], (value + low + width)[:-1], rtol=0, atol=1e-6 * width.min()))

    def cells_of(self, x: Numbers) -> tuple[Numbers, Numbers]:
        """The lower end and the width of each value's cell."""
        low, width = np.full(len(x), -0.5 * self.step), np.full(len(x), self.step)
        for value, below, wide in self.atoms:
            low, width = np.where(x == value, below, low), np.where(x == value, wide, width)
        return x + low, width

    def spread(self, x: Numbers, random: np.random.Generator) -> Numbers:
        """A point in each value's cell, as a density sees it."""
        low, width = self.cells_of(x)
        return np.asarray(low + width * random.random(len(x)))

    def between(self, low: float, high: float) -> Numbers:
        """The cells of the values from ``low`` to ``high``, together, ``(2, intervals)``: disjoint, in increasing
        order, and infinite where nothing lies beyond."""
        resolution = self.resolution
        if resolution:
            first, last = (np.array([low, high]) - self.origin) / resolution
            blur = np.spacing(np.abs([low, high]).clip(abs(self.origin), FAR))
            before, after = SLACK + 4 * blur / resolution  # ends are rounded as numbers, too
            low, high = self.origin + resolution * np.array([np.ceil(first - before), np.floor(last + after)])
        ends = np.array([low - 0.5 * resolution, high + 0.5 * resolution])
        value, below, width = np.array(sorted(self.atoms)).reshape(-1, 3).T
        start, stop = value + below, value + below + width
        if self.tiled:
            start, stop = np.append(-np.inf, stop[:-1]), np.append(stop[:-1], np.inf)
        edges = np.unique(np.concatenate([ends, start, stop]))
        middle = 0.5 * (edges[:-1].clip(-FAR, FAR) + edges[1:].clip(-FAR, FAR))
        inside = (middle > ends[0]) & (middle < ends[1])
        if len(value):
            at = (np.searchsorted(start, middle, side="right") - 1).clip(0)
            held = (middle >= start[at]) & (middle < stop[at])
            inside = np.where(held, (value[at] >= low) & (value[at] <= high), inside)
        turns = np.flatnonzero(np.diff(np.r_[False, inside, False]))
        return self._within_bounds(edges[turns].reshape(-1, 2).T)

    def _within_bounds(self, ends: Numbers) -> Numbers:
        """Intervals without what lies beyond the bounds; infinite where they begin or end there."""
        low, high = self.bounds or (-np.inf, None)
        lowest = self.lowest_edge(low)
        highest = np.inf if high is None else self.highest_edge(high)
        some = ends[:, (ends[1] > lowest) & (ends[0] < highest) & (ends[0] < ends[1])]
        return np.stack([np.where(some[0] <= lowest, -np.inf, some[0]), np.where(some[1] >= highest, np.inf, some[1])])

    def middles(self, x: Numbers) -> Numbers:
        """The middle of each value's cell."""
        for value, below, wide in self.atoms:
            x = np.where(x == value, value + below + 0.5 * wide, x)
        return x

    def lowest_edge(self, low: float) -> float:
        """The lower end of the cells of values down to ``low``."""
        low = min([low, *(value + below for value, below, _ in self.atoms if value <= max(low, self.minimum))])
        return low - 0.5 * self.step

    def highest_edge(self, high: float) -> float:
        """The upper end of the cells of values up to ``high``."""
        ends = [value + below + width for value, below, width in self.atoms if value >= min(high, self.maximum)]
        return max([high, *ends]) + 0.5 * self.step
