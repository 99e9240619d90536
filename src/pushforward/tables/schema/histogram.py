r"""Finds columns of spikes: whole, rounded or listed numbers of which some are far commoner than those beside them.

Twelve years of school, round carats, heights that people give in fives: a smooth map cannot make such a column normal,
and the flow would have to learn every spike. Their first transform is then a histogram of the training rows,

.. math:: p_v = (1 - \lambda)\, n_v / n + \lambda\, f_v

with f flat over groups of neighbouring values, so that values which no row had keep a chance. :math:`\lambda` is what
the rows, each left out once, are likeliest under; the histogram is taken where it gains ``GAIN`` nats a row over f.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .columns import Column
from .first import highest_edge, lowest_edge
from .schema import Schema

MOST_VALUES = 1000
FEWEST_ROWS = 50
GROUPS = 32  # at most, and a group holds four values or more
FLAT = np.array([0.001, 0.003, 0.01, 0.03, 0.1, 0.3])  # λ
GAIN = 0.02  # nats a row
OUTER = 0.025  # share of the rows that tells how a tail goes on


def with_histograms(schema: Schema, x: Tensor, weights: Tensor | None = None) -> Schema:
    """The schema in which columns of spikes have histograms as their first transforms.

    Args:
        schema: The columns.
        x: Encoded training rows ``(n, columns)``; NaN where a value is missing.
        weights: How much each counts, ``(n,)``.
    """
    weight = np.ones(len(x)) if weights is None else weights.double().numpy()
    columns = [_described(column, values, weight) for column, values in zip(schema.columns, x.T.numpy(), strict=True)]
    return dataclasses.replace(schema, columns=tuple(columns))


@dataclass(frozen=True)
class _Counts:
    """Rows of each value: the values as multiples of the grid's step, and what flat groups give each of them."""

    place: np.ndarray
    rows: np.ndarray
    group: np.ndarray  # that each value belongs to
    cells: np.ndarray  # from the first value of each group to that of the next one

    @property
    def in_group(self) -> np.ndarray:
        return np.bincount(self.group, self.rows)

    def left_out(self) -> np.ndarray:
        """Nats a row at every λ, and with all flat, each row left out of its own counts."""
        total = self.rows.sum()
        own = np.maximum(self.rows - 1, 0)
        flat = np.maximum(self.in_group - 1, 1e-3)[self.group] / self.cells[self.group]
        share = np.outer(1 - FLAT, own) + np.outer(FLAT, flat)
        return np.log(np.vstack([share, flat]) / (total - 1)) @ self.rows / total


def _described(column: Column, x: np.ndarray, weight: np.ndarray) -> Column:
    there = ~np.isnan(x)
    x, weight = x[there], weight[there]
    if not (column.step or column.tiled) or column.categories or column.period is not None or len(x) < FEWEST_ROWS:
        return column
    if column.step:
        place = np.round((x - column.origin) / column.step)
    else:
        place = np.searchsorted([value for value, _, _ in sorted(column.atoms)], x).astype(float)
    counts = _counted(place, weight / weight.mean())
    if not 3 <= len(counts.place) <= MOST_VALUES:
        return column
    nats = counts.left_out()
    best = int(nats[:-1].argmax())
    if nats[best] - nats[-1] < GAIN and not column.tiled:  # whose cells differ in width
        return column
    edges, cumulative = _bins(column, counts, float(FLAT[best]))
    knots = tuple(zip(edges.tolist(), cumulative.tolist(), strict=True))
    return dataclasses.replace(column, first="histogram", loc=0.0, scale=_tail(column, x), knots=knots)


def _counted(place: np.ndarray, weight: np.ndarray) -> _Counts:
    place, where = np.unique(place, return_inverse=True)
    rows = np.bincount(where, weight)
    groups = int(np.clip(len(place) // 4, 1, GROUPS))
    group = np.arange(len(place)) * groups // len(place)
    first = np.searchsorted(group, np.arange(groups))
    return _Counts(place, rows, group, np.diff([*place[first], place[-1] + 1]))


def _bins(column: Column, counts: _Counts, flat: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges in the column's units, and the distribution function there."""
    total = counts.rows.sum()
    level = flat * (counts.in_group / counts.cells)[counts.group] / total  # of a cell that no row is in
    gaps = np.diff(counts.place) - 1
    shares = np.stack([(1 - flat) * counts.rows / total + level, level * np.append(gaps, 0)], 1).ravel()
    edges = np.stack([counts.place - 0.5, counts.place + 0.5], 1).ravel()
    none = 2 * np.flatnonzero(gaps == 0) + 1  # gaps without a cell
    edges, shares = np.delete(edges, none), np.delete(shares[:-1], none)
    edges, beyond = _in_units(column, edges), 0.5 / (total + 1)
    near = 1e-6 * np.diff(edges).min()
    low, high = column.bounds or (None, None)
    if low is not None and (end := lowest_edge(column, low)) < edges[0] - near:
        edges, shares = np.insert(edges, 0, end), np.insert(shares, 0, beyond)
    if high is not None and (end := highest_edge(column, high)) > edges[-1] + near:
        edges, shares = np.append(edges, end), np.append(shares, beyond)
    start, stop = beyond * (low is None), 1 - beyond * (high is None)
    inner = start + (stop - start) * shares.cumsum()[:-1] / shares.sum()
    return edges, np.array([start, *inner, stop])


def _in_units(column: Column, edges: np.ndarray) -> np.ndarray:
    """Edges that are counted in places of the values, half-way between two of them."""
    if column.step:
        return np.asarray(column.origin + column.step * edges)
    atoms = sorted(column.atoms)
    ends = np.array([value + low for value, low, _ in atoms] + [sum(atoms[-1])])
    return ends[np.round(edges + 0.5).astype(int)]


def _tail(column: Column, x: np.ndarray) -> float:
    """By how much the outermost rows lie beyond the others, on the sides that have no bound."""
    low, high = column.bounds or (None, None)
    ends = np.quantile(x, [OUTER, 1 - OUTER])
    beyond = [(ends[0] - x)[x < ends[0]]] * (low is None) + [(x - ends[1])[x > ends[1]]] * (high is None)
    found = np.concatenate([np.zeros(0), *beyond])
    return float(max(found.mean() if len(found) else 0.0, column.step, 1e-6 * x.std()))
