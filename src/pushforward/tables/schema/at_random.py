r"""Whether it tells anything that a value is missing: a test of independence from all that is seen beside it.

Where holes fall independently of the rest of the row, as though cells had been deleted by drawing lots, that a value is
there or not says nothing of the row, and log-densities are given which values are there:

.. math:: \log p(\mathrm{seen} \mid r) = \log p(\mathrm{seen}, r) - \sum_j \log p(r_j)

with r_j whether value j is missing. So a complete row has the density that it would have in a table without holes.
Where holes go with other values, or with each other, they are part of the row's probability.

Reference:
    Rubin (1976), Inference and missing data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import torch

from .columns import Column

LEVEL = 0.01  # of all tests of a table together
BINS = 5  # of numbers


def random_holes(columns: Sequence[Column], values: Mapping[str, np.ndarray]) -> set[str]:
    """The columns whose holes nothing in the table tells of.

    Args:
        columns: The modelled columns.
        values: What each holds, encoded.
    """
    missing = {c.name: c.missing(values[c.name]) for c in columns if c.holes}
    seen = {c.name: _codes(c, values[c.name]) for c in columns}
    pairs = [(name, other) for name, other in product(missing, seen) if name != other]
    level = LEVEL / max(2 * len(pairs), 1)
    tied = {
        name
        for name, other in pairs
        if _independence(missing[name], seen[other]) < level
        or (other in missing and _independence(missing[name], missing[other].astype(np.int64)) < level)
    }
    return set(missing) - tied


def _codes(column: Column, values: np.ndarray) -> np.ndarray:
    """Categories, or numbers by the fifth of the rows that they are in; -1 where there is none."""
    there = ~column.missing(values)
    if column.categories:
        return np.where(there, values, -1).astype(np.int64)
    edges = np.unique(np.quantile(values[there], np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.where(there, np.searchsorted(edges, values, side="right"), -1).astype(np.int64)


def _independence(missing: np.ndarray, codes: np.ndarray) -> float:
    """The p-value of Pearson's test that the two are independent, over the rows that have a code."""
    rows = codes >= 0
    kinds = int(codes.max(initial=0)) + 1
    table = np.bincount(2 * codes[rows] + missing[rows], minlength=2 * kinds).reshape(kinds, 2).astype(float)
    table = table[table.sum(1) > 0]
    expected = table.sum(1, keepdims=True) * table.sum(0) / max(table.sum(), 1)
    usual = expected.min(1) >= 1  # the distribution of the statistic is known where counts are not tiny
    table, expected = table[usual], expected[usual]
    if len(table) < 2:
        return 1.0
    statistic = float(((table - expected) ** 2 / expected).sum())
    half = torch.tensor([(len(table) - 1) / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))
