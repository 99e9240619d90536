"""The intervals that numbers stand for: a whole number for one of width 1, a value that stands out for its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import Atom, Bounds, Numbers

MOST_ATOMS = 100  # in a column that also has other values


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """The cells of numbers on a scale, and the interval that all of them lie in.

    Args:
        step: Width of every cell, 0 if values have none.
        origin: One of the values that are multiples of the step apart.
        atoms: The cells of values that stand out.
        bounds: The open interval of the values; None for no upper end.
        minimum, maximum: Range of the training rows.
    """

    step: float
    origin: float
    atoms: tuple[Atom, ...]
    bounds: Bounds | None
    minimum: float
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

    def of(self, x: Numbers) -> tuple[Numbers, Numbers]:
        """The lower end and the width of each value's cell."""
        low, width = np.full(len(x), -0.5 * self.step), np.full(len(x), self.step)
        for value, below, wide in self.atoms:
            low, width = np.where(x == value, below, low), np.where(x == value, wide, width)
        return x + low, width

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
