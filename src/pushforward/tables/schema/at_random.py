r"""Whether missingness is informative: a test of independence from everything observed in the same row.

If holes fall independently of the rest of the row, as though cells had been deleted at random, the presence or absence
of a value says nothing about the row, and log-densities are conditioned on which values are present:

.. math:: \log p(\mathrm{seen} \mid r) = \log p(\mathrm{seen}, r) - \sum_j \log p(r_j)

where r_j says whether value j is missing. A complete row then has the density that it would have in a table without
holes. If holes depend on other values, or on each other, they are part of the row's probability.

Reference:
    Rubin (1976), Inference and missing data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import torch

from .columns import Column

LEVEL = 0.01  # of all tests on a table together
BINS = 5  # of numbers


def random_holes(columns: Sequence[Column], values: Mapping[str, np.ndarray]) -> set[str]:
    """The columns whose holes are independent of everything else in the table.

    Args:
        columns: The modelled columns.
        values: Their encoded values.
    """
    missing = {c.name: c.missing(values[c.name]) for c in columns if c.holes.share}
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
    """Categories, or the quintiles of numbers; -1 for missing values."""
    there = ~(column.missing(values) | np.isnan(values))
    if column.kind.classes:
        return np.where(there, values, -1).astype(np.int64)
    if not there.any():
        return np.full(len(values), -1)
    edges = np.unique(np.quantile(values[there], np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.where(there, np.searchsorted(edges, values, side="right"), -1).astype(np.int64)


def _independence(missing: np.ndarray, codes: np.ndarray) -> float:
    """The p-value of Pearson's test that the two are independent, over the rows that have a code."""
    rows = codes >= 0
    kinds = int(codes.max(initial=0)) + 1
    table = np.bincount(2 * codes[rows] + missing[rows], minlength=2 * kinds).reshape(kinds, 2).astype(float)
    table = table[table.sum(1) > 0]
    expected = table.sum(1, keepdims=True) * table.sum(0) / max(table.sum(), 1)
    usual = expected.min(1) >= 1  # the null distribution of the statistic is known unless counts are tiny
    table, expected = table[usual], expected[usual]
    if len(table) < 2:
        return 1.0
    statistic = float(((table - expected) ** 2 / expected).sum())
    half = torch.tensor([(len(table) - 1) / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))
