"""Summary statistics of many scores, gathered from pieces of them: means, extremes, counts, and the exact median."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import polars as pl

SHOWN = 5  # least likely rows
BINS = 4096
ENOUGH = 1_000_000  # numbers sorted at once


class Tally:
    """Running statistics of scores that come in pieces, in the order of the rows."""

    def __init__(self) -> None:
        self.rows = self.scored = self.finite = self.impossible = self.below = 0
        self.mean, self.squares = 0.0, 0.0  # of the finite scores; squares are about the mean
        self.worst = pl.DataFrame()

    def add(self, scores: pl.DataFrame) -> None:
        """Adds a piece: ``log_density`` and ``percentile`` of every row, null if it was not scored."""
        values = scores["log_density"].drop_nulls().to_numpy()
        finite = values[np.isfinite(values)]
        before, n = self.finite, len(finite)
        if n:  # Chan, Golub, LeVeque (1983): combines the means and squares of two parts
            gap = float(finite.mean()) - self.mean
            self.mean += gap * n / (before + n)
            self.squares += float(finite.var()) * n + gap**2 * before * n / (before + n)
        self.finite += n
        self.impossible += int(np.isneginf(values).sum())
        self.below += int((scores["percentile"].drop_nulls() < 1).sum())
        worst = scores.with_row_index("row", offset=self.rows + 1).with_columns(pl.col("row").cast(pl.Int64))
        worst = worst.drop_nulls("log_density").bottom_k(SHOWN, by="log_density")
        self.worst = pl.concat([self.worst, worst], how="diagonal").sort("log_density", maintain_order=True).head(SHOWN)
        self.rows += scores.height
        self.scored += len(values)

    def summary(self, median: float, samples: int | None) -> dict[str, Any]:
        """The figures of ``pushforward score``; the mean is -inf as soon as one row is impossible."""
        possible = self.finite == self.scored
        error = math.sqrt(self.squares / (self.scored - 1) / self.scored) if possible and self.scored > 1 else math.nan
        mean = self.mean if possible else -math.inf if self.impossible else math.inf
        return {
            "rows": self.rows,
            "scored": self.scored,
            "log_likelihood": mean,
            "standard_error": error,
            "median": median,
            "below_1_percent": self.below / self.scored,
            "impossible": self.impossible,
            "cell_samples": samples,
        }


def median_of(pieces: Callable[[], Iterable[np.ndarray]]) -> float:
    """The median of numbers that come in pieces, repeatable any number of times, in constant memory.

    The interval that holds it is divided into bins, and the bin that holds it becomes the next interval, until its
    numbers are few enough to be sorted.
    """
    count = sum(len(piece) for piece in pieces())
    lower, upper = _ranked(pieces, (count - 1) // 2), _ranked(pieces, count // 2)
    return lower if lower == upper else 0.5 * (lower + upper)


def _ranked(pieces: Callable[[], Iterable[np.ndarray]], rank: int) -> float:
    """The number of a given rank, from 0."""
    low, high, below, inside = math.inf, -math.inf, 0, 0
    for piece in pieces():
        finite = piece[np.isfinite(piece)]
        below += int(np.isneginf(piece).sum())
        inside += len(finite)
        if len(finite):
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if rank < below or not inside:
        return -math.inf
    while inside > ENOUGH and low < high:
        edges = np.unique(np.linspace(low, high, BINS + 1))
        counts = np.zeros(len(edges) - 1, dtype=np.int64)
        for piece in pieces():
            counts += np.histogram(piece[(piece >= low) & (piece <= high)], edges)[0]
        place = int(np.searchsorted(below + np.cumsum(counts), rank, side="right"))
        below += int(counts[:place].sum())
        if len(counts) == 1:
            break
        low, high, inside = float(edges[place]), float(edges[place + 1]), int(counts[place])
        if place + 1 < len(counts):  # all bins but the last are open above
            high = float(np.nextafter(high, low))
    if low == high:
        return low
    chosen = [piece[(piece >= low) & (piece <= high)] for piece in pieces()]
    return float(np.partition(np.concatenate(chosen), rank - below)[rank - below])
