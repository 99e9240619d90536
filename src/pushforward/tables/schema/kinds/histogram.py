r"""Finds columns with spikes: whole, rounded or listed numbers, some of which are far commoner than their neighbours.

Twelve years of school, round carats, heights reported in multiples of five: no smooth map makes such a column normal,
and the flow would have to learn every spike. The first transform is then a histogram of the training rows,

.. math:: p_v = (1 - \lambda)\, n_v / n + \lambda\, f_v

with f flat over groups of neighbouring values, so that unseen values keep some probability. :math:`\lambda` maximises
the leave-one-out likelihood of the rows, so draws repeat training rows as often as other rows do; the histogram is used
if it gains ``GAIN`` nats a row over f with a :math:`\lambda` of at most ``SPIKED``.

For other columns, the bins have the masses of equal-width bins under a normal distribution. Each half of the rows
chooses the number of bins that is likeliest on the other half. If this gains ``GAIN`` nats over few bins, and over a
normal after the column's own map, the column is too jagged for a flow, like customer numbers issued in blocks. Values
that stand out have their own bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from .base import MOST_ATOMS, Numbers, Partition
from .column_maps import FirstMap

MOST_VALUES, ATOMS = 2000, 0.95  # and of these, the share that are atoms: the others are too near to each other
FEWEST_ROWS = 50
DISTINCT = 0.5  # of the rows: so many values of a grid are bins of many each
GROUPS = 32  # at most; each holds at least four values
FLAT = np.array([0.001, 0.003, 0.01, 0.03, *(0.1 * np.arange(1, 10))])  # λ
SPIKED = 0.35  # the largest λ with which a column is one of spikes, rather than one of a smooth map
GAIN = 0.02  # nats a row
BINS = (24, 48, 96, 192, 384)
ROWS_OF_BIN = 8  # at least, on average
GAP = 0.6  # of a bin's width
FAR = 3.0  # times the range of the lowest square root of n rows: a bound so far below is never reached


def histogram_of(cells: Partition, x: Numbers, weight: Numbers, first: FirstMap | None) -> FirstMap | None:
    """The histogram that makes a column normal, from encoded training rows with weights; None if these do not call for
    one, in place of another first map, if there is one."""
    there = ~np.isnan(x)
    x, weight = x[there], weight[there]
    if len(x) < FEWEST_ROWS:
        return None
    weight = weight / weight.mean()
    values = np.unique(x)
    listed = len(values) <= MOST_VALUES and (cells.step > 0 or np.isin(values, cells.atom_cells[0]).mean() >= ATOMS)
    found = _few_values(cells, x, weight) if listed else None
    if found is None and (not listed or len(values) > DISTINCT * len(x)):
        found = _many_values(cells, x, weight, first)
    if found is None or not (np.diff(found[0]) > 0).all():  # float64 is too coarse for such cells
        return None
    knots = tuple(zip(found[0].tolist(), found[1].tolist(), strict=True))
    return FirstMap("histogram", knots=knots)


@dataclass(frozen=True)
class _Counts:
    """Rows per value: the cells of the values, and the groups over whose widths the flat part is spread."""

    start: np.ndarray
    stop: np.ndarray
    rows: np.ndarray
    group: np.ndarray  # of each value
    width: np.ndarray  # from the first value of each group to that of the next one

    @property
    def in_group(self) -> np.ndarray:
        return np.bincount(self.group, self.rows)

    def left_out(self) -> np.ndarray:
        """Leave-one-out log-likelihood in nats a row, at every λ and for the flat distribution."""
        total = self.rows.sum()
        own = np.maximum(self.rows - 1, 0)
        flat = (np.maximum(self.in_group - 1, 1e-3) / self.width)[self.group] * (self.stop - self.start)
        share = np.outer(1 - FLAT, own) + np.outer(FLAT, flat)
        return np.log(np.vstack([share, flat]) / (total - 1)) @ self.rows / total


def _few_values(cells: Partition, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Edges, and the distribution function there, of a column with one bin per value; None if it is smooth."""
    values, where = np.unique(x, return_inverse=True)
    if len(values) < 3:
        return None
    most = GROUPS if cells.step else round(len(x) ** 0.5)
    rows, one = np.bincount(where, weight), np.bincount(where) == 1
    atom = (cells.step > 0) | np.isin(values, cells.atom_cells[0])
    counts = _counted(*cells.cells_of(values[atom]), rows[atom], most)
    if not cells.step:  # others lie between, as often as rows hold a value that no other row does, or that is no atom
        return _bins(cells, counts, float(rows[one | ~atom].sum() / rows.sum()))
    nats = counts.left_out()
    best = int(nats[:-1].argmax())
    if nats[:-1][FLAT <= SPIKED].max() - nats[-1] < GAIN:
        return None
    return _bins(cells, counts, float(FLAT[best]))


def _many_values(
    cells: Partition, x: np.ndarray, weight: np.ndarray, first: FirstMap | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """The same with bins of many values each, except for values that stand out."""
    if len(cells.atoms) > MOST_ATOMS:
        return None
    halves = np.random.default_rng(0).permutation(len(x)) % 2
    sizes = [size for size in BINS if size * ROWS_OF_BIN <= len(x)]
    nats = [
        np.mean([_nats(cells, size, (x[halves == k], weight[halves == k]), x[halves != k]) for k in range(2)])
        for size in sizes
    ]
    best = int(np.argmax(nats)) if sizes else 0
    if not sizes or (nats[best] - max(float(nats[0]), _smooth(first, cells, x)) < GAIN and not cells.atoms):
        return None
    edges, shares = _even_bins(cells, sizes[best], x, weight)
    return _with_ends(cells, edges, shares, len(x))


def _smooth(first: FirstMap | None, cells: Partition, x: np.ndarray) -> float:
    """The mean log-density of rows that their column's own map makes normal; -inf if it has none, or a histogram."""
    if first is None or first.knots:
        return -np.inf
    return float(first.nats(cells.middles(x)) - 0.5 * np.log(2 * np.pi * np.e))


def _nats(cells: Partition, size: int, known: tuple[np.ndarray, np.ndarray], judged: np.ndarray) -> float:
    """The mean log-density of some rows under the bins of others; rows beyond these are moved to their ends."""
    edges, shares = _even_bins(cells, size, *known)
    return float(np.log(shares / shares.sum() / np.diff(edges))[_bin_of(cells, judged, edges)].mean())


def _even_bins(cells: Partition, size: int, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges, and the number of rows per bin, plus half a row."""
    values = cells.atom_cells[0]
    rest, (starts, widths) = np.sort(x[~np.isin(x, values)]), cells.cells_of(values)
    stops, inner = starts + widths, np.zeros(0)
    if len(rest):
        last = NormalDist().inv_cdf(1 - 0.5 / (len(rest) + 1))
        levels = [NormalDist().cdf(z) for z in np.linspace(-last, last, size + 1)]
        inner = np.quantile(rest, [0.0, *levels[1:-1], 1.0], method="lower")
        inner = np.sort(np.concatenate([inner, _ends_of_gaps(cells, rest, np.unique(inner))]))
        start, width = cells.cells_of(inner)
        inner = np.append(start[:-1], start[-1] + width[-1])  # up to the end of the cell of the largest value
    inside = ((inner[:, None] > starts) & (inner[:, None] < stops)).any(1)
    edges = np.unique(np.concatenate([inner[~inside], starts, stops]))
    edges = edges[np.append(np.diff(edges) > 1e-9 * np.ptp(edges), True)]
    return edges, 0.5 + np.bincount(_bin_of(cells, x, edges), weight, minlength=len(edges) - 1)


def _ends_of_gaps(cells: Partition, rest: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The beginnings and ends of gaps that take up most of a bin, given sorted rows."""
    place = np.searchsorted(inner, rest[:-1], side="right") - 1
    width = np.diff(inner, append=np.inf)[place]
    wide = np.diff(rest) > GAP * width
    begin = rest[:-1][wide] + (cells.step or 0.02 * np.diff(rest)[wide])
    return np.concatenate([begin, rest[1:][wide]])


def _bin_of(cells: Partition, x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each row, taken at the middle of its cell."""
    return (np.searchsorted(edges, cells.middles(x), side="right") - 1).clip(0, len(edges) - 2)


def _counted(start: np.ndarray, width: np.ndarray, rows: np.ndarray, most: int) -> _Counts:
    groups = int(np.clip(len(start) // 4, 1, most))
    group = np.arange(len(start)) * groups // len(start)
    first, stop = np.searchsorted(group, np.arange(groups)), start + width
    return _Counts(start, stop, rows, group, np.diff([*start[first], stop[-1]]))


def _bins(cells: Partition, counts: _Counts, flat: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges in the column's units, and the distribution function there."""
    start, stop = counts.start, counts.stop
    gaps = (np.append(start[1:], stop[-1]) - stop).clip(0)
    own = (stop - start) * (cells.step > 0)
    level = flat * counts.in_group / np.bincount(counts.group, own + gaps).clip(1e-200)  # 0 if all cells meet
    shares = np.stack([(1 - flat) * counts.rows + level[counts.group] * own, level[counts.group] * gaps], 1).ravel()
    edges = np.stack([start, stop], 1).ravel()
    none = 2 * np.flatnonzero(gaps[:-1] < 1e-6 * (stop - start)[:-1]) + 1  # gaps without a value
    edges, shares = np.delete(edges, none), np.delete(shares[:-1], none)
    return _with_ends(cells, edges, shares, counts.rows.sum())


def _with_ends(cells: Partition, edges: np.ndarray, shares: np.ndarray, rows: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges, and the distribution function there: up to the column's bounds, and below 1 if there is none, or none that
    is near: draws below the lightest of some mothers would lie evenly down to 0."""
    beyond, near = 0.5 / (rows + 1), 1e-6 * np.diff(edges).min()
    shares = np.maximum(shares / shares.sum(), 1e-12)
    low, high = cells.bounds or (None, None)
    reach = float(np.interp(rows**-0.5, shares.cumsum() / shares.sum(), edges[1:])) - edges[0]
    if low is not None and edges[0] - cells.lowest_edge(low) > FAR * reach:
        low = None
    if low is not None and (end := cells.lowest_edge(low)) < edges[0] - near:
        edges, shares = np.insert(edges, 0, end), np.insert(shares, 0, beyond)
    elif low is not None:
        edges = np.array([min(edges[0], end), *edges[1:]])
    if high is not None and (end := cells.highest_edge(high)) > edges[-1] + near:
        edges, shares = np.append(edges, end), np.append(shares, beyond)
    elif high is not None:
        edges = np.array([*edges[:-1], max(edges[-1], end)])
    start, stop = beyond * (low is None), 1 - beyond * (high is None)
    inner = start + (stop - start) * shares.cumsum()[:-1] / shares.sum()
    return edges, np.array([start, *inner, stop])
