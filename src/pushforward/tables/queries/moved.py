"""What is compared of two tables: every column by itself, pairs of columns, and what a model says of whole rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ...diagnostics.two_samples import (
    category_features,
    compared,
    divisions,
    kernel_features,
    middle_ranks,
    odd_features,
    rank_features,
    surprises,
)
from ...models.train import Rows
from ..model import TableModel
from ..schema.columns import Column
from ..schema.kinds.few_values import is_unseen
from ..schema.schema import Schema
from .explain import log_tails

LEVEL = 0.05
PAIRS, CATEGORIES = 2_000, 500  # at most, the most dependent pairs and the commonest categories
COMMON, FEWEST = 3, 5  # categories of a column in pairs; rows of a category that is looked at by itself
WIDTHS = (0.5, 1.5)  # of the kernels, in units of the distance that rows of independent columns have
UNSEEN = -1.0  # the code of a value that no training row had


@dataclass(frozen=True)
class Values:
    """A column of both tables: numbers, or codes of categories, ``(n,)``; NaN where a value is missing."""

    column: Column
    numbers: Tensor

    @property
    def named(self) -> bool:
        return self.column.kind.classes > 0

    @property
    def new(self) -> Tensor:
        """Which are names that no training row had."""
        return (self.numbers == UNSEEN) & self.named

    def shown(self, value: float) -> str:
        return "(new)" if self.named and value == UNSEEN else self.column.shown(value)

    def features(self) -> Tensor:
        """Those that show a change of the column by itself."""
        return category_features(self.numbers) if self.named else rank_features(self.numbers)

    def scores(self) -> Tensor:
        """A few numbers of mean 0 and variance 1 for every value, ``(n, k)``; 0 where it is missing."""
        there = ~self.numbers.isnan()
        if not self.named:
            z = torch.special.ndtri(middle_ranks(self.numbers))[:, None]
        else:
            codes, counts = self.numbers[there].unique(return_counts=True)
            z = (self.numbers[:, None] == codes[counts.argsort(descending=True)[:COMMON]]).double()
        z = (z - z[there].mean(0)) * there[:, None]
        return z / z.square().mean(0).sqrt().clamp_min(1e-6)


@dataclass(frozen=True)
class Pooled:
    """Rows that a model did not see, and new ones, in random order, so that nothing but ``second`` tells them apart."""

    model: TableModel
    rows: Rows  # the rows, encoded
    columns: list[Values]  # what they hold
    log_density: Tensor  # those of the rows; NaN where there is none
    # log tail probabilities of every column's cells given the others, with a guide; NaN likewise
    tails: dict[str, Tensor]
    broken: dict[str, Tensor]  # which rows break a relation that all rows kept, by the relation
    second: Tensor  # which rows are new

    def __len__(self) -> int:
        return len(self.second)

    def __getitem__(self, rows: Tensor) -> Pooled:
        return Pooled(
            self.model,
            self.rows[rows],
            [replace(each, numbers=each.numbers[rows]) for each in self.columns],
            self.log_density[rows],
            {name: tail[rows] for name, tail in self.tails.items()},
            {name: broken[rows] for name, broken in self.broken.items()},
            self.second[rows],
        )

    @cached_property
    def divisions(self) -> Tensor:
        """The rows as they are divided, and at random."""
        return divisions(self.second, self.model.seed)

    @cached_property
    def scores(self) -> dict[str, Tensor]:
        """Those of every column's values."""
        return {each.column.name: each.scores() for each in self.columns}

    @cached_property
    def surprises(self) -> dict[str, dict[Hashable, Tensor]]:
        """Those of all statistics, in groups: by column, pair of columns, column and category, or relation."""
        groups: dict[str, dict[Hashable, Tensor]] = {
            "columns": {each.column.name: each.features() for each in self.columns},
            "categories": self._categories(),
            "missing": {each.column.name: each.numbers.isnan()[:, None].double() for each in self.columns},
            "new names": {each.column.name: each.new[:, None].double() for each in self.columns if each.new.any()},
            "relations": {name: broken[:, None].double() for name, broken in self.broken.items()},
            "pairs": dict(_products(self.scores)),
            "given others": {name: odd_features(tail) for name, tail in self.tails.items()},
            "rows": {"log_density": odd_features(self.log_density), **_kernels(self.scores, self.model.seed)},
        }
        return surprises(groups, self.divisions)

    def changed_without(self, name: str) -> bool:
        """Whether the rows have changed as if a column were not there, without what the model says of whole rows."""
        own = {  # by keys that are other columns, pairs of such, or one of them and a category
            group: {k: z for k, z in self.surprises[group].items() if name not in (k if isinstance(k, tuple) else (k,))}
            for group in ("columns", "categories", "missing", "new names", "pairs")
        }
        if compared(own).p_value <= LEVEL / 3:  # with two groups more, it is three times as large at most
            return True
        tails = tails_of(self.model, self.rows, ~self.log_density.isnan(), [name])
        scores = {other: each for other, each in self.scores.items() if other != name}
        others: dict[str, dict[Hashable, Tensor]] = {
            "given others": {other: odd_features(tail) for other, tail in tails.items()},
            "rows": _kernels(scores, self.model.seed),
        }
        return compared(own | surprises(others, self.divisions)).p_value <= LEVEL

    def _categories(self) -> dict[Hashable, Tensor]:
        found = {}
        for each in self.columns:
            for code, count in zip(*each.numbers.unique(return_counts=True), strict=True) if each.named else ():
                if count >= FEWEST and not code.isnan():
                    found[each.column.name, float(code)] = (each.numbers == code)[:, None].double()
        return dict(sorted(found.items(), key=lambda one: -float(one[1].sum()))[:CATEGORIES])

    def shares(self, where: Tensor) -> tuple[float, float]:
        """The shares of old and of new rows that are marked."""
        return float(where[~self.second].double().mean()), float(where[self.second].double().mean())

    def divergence(self, *columns: Tensor) -> float:
        r"""The Kullback-Leibler divergence of new from old values, in cells of one column or of several:
        :math:`\sum_c q_c \log \frac{q_c}{p_c}` in nats, less what it is by chance.

        Reference:
            Mann, Wald (1942), On the choice of the number of class intervals in the application of the chi square test.
        """
        bins = int((2 * len(self) ** 0.4) ** (1 / len(columns)))
        cells = torch.stack([_cells(each, bins) for each in columns], 1).unique(dim=0, return_inverse=True)[1]
        count = int(cells.max()) + 1
        p, q = (torch.bincount(cells[rows], minlength=count) + 0.5 for rows in (~self.second, self.second))
        chance = (count - 1) / 2 * (1 / p.sum() + 1 / q.sum())
        p, q = p / p.sum(), q / q.sum()
        return max(float((q * (q / p).log()).sum() - chance), 0.0)


def _cells(numbers: Tensor, bins: int) -> Tensor:
    """Values as they are where they are few, else bins of equally many rows, ``(n,)``; missing values are one more."""
    few = len(numbers[~numbers.isnan()].unique()) <= bins
    return torch.where(numbers.isnan(), math.inf, numbers if few else (middle_ranks(numbers) * bins).floor())


def _kernels(scores: dict[str, Tensor], seed: int) -> dict[Hashable, Tensor]:
    """Features of whole rows."""
    whole = torch.cat(list(scores.values()), 1)
    far = whole.square().sum(1).mean().sqrt().clamp_min(1e-6).item()
    return {width: kernel_features(whole, seed, width * far) for width in WIDTHS}


def _products(scores: dict[str, Tensor]) -> list[tuple[Hashable, Tensor]]:
    """Products of two columns' scores, ``(n, k)``: of the pairs that depend on each other most, over both tables."""
    pairs = list(itertools.combinations(scores, 2))
    if len(pairs) > PAIRS:
        first = torch.stack([each[:, 0] for each in scores.values()], 1)
        dependence, places = (first.T @ first).abs(), {name: place for place, name in enumerate(scores)}
        pairs.sort(key=lambda pair: -float(dependence[places[pair[0]], places[pair[1]]]))
    return [
        ((one, other), (scores[one][:, :, None] * scores[other][:, None, :]).flatten(1)) for one, other in pairs[:PAIRS]
    ]


def tails_of(model: TableModel, rows: Rows, scored: Tensor, without: Sequence[str] = ()) -> dict[str, Tensor]:
    """Log tail probabilities of the cells of every column given the others, with a guide; NaN in rows not scored."""
    if model.guided is None:
        return {}
    columns = model.schema.columns
    found = torch.full((len(rows), len(columns)), math.nan, dtype=torch.float64)
    found[scored] = log_tails(model, rows[scored], model.schema.features_of(without)[None])[0].double()
    return {column.name: tail for column, tail in zip(columns, found.T, strict=True) if column.name not in without}


def values_of(schema: Schema, rows: Rows) -> list[Values]:
    """The columns of encoded rows, those that are conditioned on as well."""
    gone, found = schema.missingness.found(rows.x), []
    for j, column in enumerate(schema.columns):
        if not column.kind.flags:
            x = rows.x[:, j]
            x = torch.where(torch.as_tensor(is_unseen(x)), UNSEEN, x) if column.kind.classes else x
            found.append(Values(column, x.double().masked_fill(gone[:, j], np.nan)))
    return found + [Values(*given) for given in schema.values_of(rows.context)]
