r"""Missing values of encoded rows: which there are, what their absence says, and rows without them.

A number without a value is NaN, and a further column, its *flag*, is 1 where it is; a category's missing value is the
code after its last. A column that follows from others has a flag if it lacks values that these tell, and not at random.

If holes fall independently of the rest of the row, as though cells had been deleted at random, the presence or absence
of a value says nothing about the row, and log-densities are conditioned on which values are present:

.. math:: \log p(\mathrm{seen} \mid r) = \log p(\mathrm{seen}, r) - \sum_j \log p(r_j)

where r_j says whether value j is missing. A complete row then has the density that it would have in a table without
holes, and the flags may be left out altogether (*ignored*): such values are NaN, and integrated out. If holes depend on
other values, or on each other, they are part of the row's probability.

Reference:
    Rubin (1976), Inference and missing data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ...numerics.partly_known import unknown
from .columns import Column
from .kinds.base import Description, Hints, Kind, Numbers

LEVEL = 0.01  # of all tests on a table together
BINS = 5  # of numbers
USUAL, MANY = 0.5, 20  # rows expected with and without a value, from which so many codes tell; of fewer, one each
FEWEST = 10  # rows of a test
TINY = 1e-300


@dataclass(frozen=True, kw_only=True)
class Flag(Kind):
    """1 in rows where a column of numbers has no value, else 0; no column of the table itself."""

    flags: str  # that column

    is_number: ClassVar[bool] = False

    @classmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        return None  # it is no column of the table

    @property
    def labels(self) -> tuple[str, ...]:  # type: ignore[override]
        return "no", "yes"

    def read(self, values: pl.Series) -> Numbers:
        return values.is_null().to_numpy().astype(np.float64)

    def write(self, numbers: Numbers) -> pl.Series:
        return pl.Series(["no", "yes"]).gather(pl.Series(numbers > 0.5).cast(pl.Int64))

    def describe(self) -> Description:
        return Description("missing")


def flags_of(columns: Sequence[Column]) -> list[Column]:
    """A flag for every column of numbers whose missing values are recorded."""
    holed = [column for column in columns if column.holes.recorded and not column.kind.classes]
    return [Column(f"{column.name} is missing", Flag(flags=column.name)) for column in holed]


class Missingness:
    """What the columns of a schema know of missing values.

    Args:
        columns: The schema's columns, with those that flag missing numbers.

    Attributes:
        occurs: Whether training rows have missing numbers, or some that are known in part.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        places = {column.name: j for j, column in enumerate(columns)}
        self.flag_of = {column.kind.flags: j for j, column in enumerate(columns) if column.kind.flags}  # by name
        self.flags = {places[name]: j for name, j in self.flag_of.items() if name in places}  # of modelled columns
        self.ignored = {j: column.holes.share for j, column in enumerate(columns) if column.holes.ignored}
        holes = {j: column.holes for j, column in enumerate(columns)}
        self.in_part = any(some.in_part for some in holes.values())
        self.occurs = bool(self.flag_of or self.ignored or self.in_part)
        self.at_random = {j: some.share for j, some in holes.items() if some.at_random and some.recorded}

    @property
    def remarks(self) -> list[str]:
        """What a reader should know about missing values."""
        told = {
            True: "missing at random: nothing else tells which values are missing, and log-densities leave it out",
            False: "whether a value is missing is part of a row's probability (`drop_missing=True` drops such rows)",
        }
        return [told[at_random] for at_random in (True, False)
                if any(c.holes.share and c.holes.at_random == at_random for c in self.columns)]  # fmt: skip

    def found(self, x: Tensor) -> Tensor:
        """Which entries of rows ``(*batch, features)`` hold no value; those of flags, where they say so."""
        return unknown(x) | (
            x >= torch.tensor([1 if c.kind.flags else c.kind.classes or math.inf for c in self.columns]).to(x)
        )

    def unknown(self, x: Tensor) -> Tensor:
        """Of which entries nothing is known: those without a value, unless a flag says that it is missing, which is
        part of the row like any other value."""
        return self.hidden(x) & unknown(x)

    def hidden(self, x: Tensor) -> Tensor:
        """Which entries are to be integrated out: unknown ones, and those that are known in part."""
        holes = x.isnan()
        for column, flag in self.flags.items():
            holes[..., column] &= x[..., flag] != 1
        return holes

    def forgotten(self, x: Tensor, flag: float) -> Tensor:
        """The rows with NaN for every missing value, even if it has its own code.

        Args:
            x: Encoded rows ``(*batch, features)``.
            flag: The new value of flags that are 1 or NaN: NaN if they are to be drawn too, 0 if values will be there.
        """
        gone, flags = self.found(x), list(self.flag_of.values())
        x = x.masked_fill(gone, math.nan)
        x[..., flags] = x[..., flags].masked_fill(gone[..., flags], flag)
        return x

    def emptied(self, x: Tensor) -> Tensor:
        """Drawn rows ``(*batch, features)`` with NaN for numbers that their flags say are missing."""
        x = x.clone() if self.flags else x
        for column, flag in self.flags.items():
            x[..., column].masked_fill_(x[..., flag] > 0.5, math.nan)
        return x

    def drawn(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Drawn rows with values removed at random, as often as ignored ones are missing in training."""
        if not self.ignored:
            return x
        share = x.new_tensor([self.ignored.get(j, 0.0) for j in range(len(self.columns))])
        lots = torch.rand(x.shape, generator=generator, device=generator.device, dtype=x.dtype)
        return x.masked_fill(lots.to(x.device) < share, math.nan)

    def log_prob(self, x: Tensor) -> Tensor | float:
        """The log-probability of which values are missing, over the columns where they are at random; in nats."""
        total: Tensor | float = 0.0
        if not self.at_random:
            return total
        gone = self.found(x)
        for j, share in self.at_random.items():
            at = self.flags.get(j, j)
            hole = gone[..., at].double()
            log_p = hole * math.log(share) + (1 - hole) * math.log1p(-share)
            total = total + log_p.masked_fill(x[..., at].isnan(), 0.0)
        return total


def random_holes(columns: Sequence[Column], values: Mapping[str, np.ndarray]) -> set[str]:
    """The modelled columns whose holes are independent of everything else in the table's encoded rows."""
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
    """The p-value of Pearson's test that the two are independent, over the rows that have a code, by a gamma
    distribution with the moments that permuted rows have; or a bound of it that holds for rare codes as well.

    Reference:
        Dawson (1954), A simplified expression for the variance of the chi-squared function on a contingency table.
        Hoeffding (1963), Probability inequalities for sums of bounded random variables, JASA 58.
    """
    rows = codes >= 0
    kinds = int(codes.max(initial=0)) + 1
    table = np.bincount(2 * codes[rows] + missing[rows], minlength=2 * kinds).reshape(kinds, 2).astype(float)
    table = table[table.sum(1) > 0]
    expected = table.sum(1, keepdims=True) * table.sum(0) / max(table.sum(), 1)
    usual = expected.min(1) >= (USUAL if (expected.min(1) >= USUAL).sum() >= MANY else 1)
    nats = (table * np.log(np.maximum(table, TINY) / np.maximum(expected, TINY))).sum(1)[~usual]
    rare = min(2 * len(nats) * math.exp(-nats.max(initial=0.0)), 1.0) if len(nats) else 1.0
    table, n = table[usual], table[usual].sum()
    if len(table) < 2 or n < FEWEST or not table.sum(0).all():
        return rare
    margins = table.sum(1), table.sum(0)
    statistic = n * float((table**2 / np.outer(*margins)).sum() - 1)
    v = [(n - len(m)) * (len(m) - 1) / (n - 1) for m in margins]
    w = [((n / m).sum() - len(m) ** 2) / (n - 2) for m in margins]
    mean = n * (len(table) - 1) / (n - 1)
    variance = 2 * n / (n - 3) * np.prod(np.subtract(v, w)) + n**2 / (n - 1) * np.prod(w)
    gamma = torch.tensor([mean**2 / variance, statistic * mean / variance], dtype=torch.float64)
    return min(rare, float(torch.special.gammaincc(gamma[0], gamma[1])))
