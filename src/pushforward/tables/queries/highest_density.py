"""Regions of highest density: the smallest sets of values that hold a share of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import InputError
from ...models.train import Rows
from ..io.frames import from_frame
from ..model import TableModel
from ..schema.numbers import refuse_twice, require_columns
from .known import Known
from .predict import calibrated_level, column_of
from .probability import log_masses, weighted_draws
from .query import encode_partly, marginal, most_draws

FEWEST, MOST, POINTS = 99, 499, 15_000  # draws for each row, and for all together


@dataclass(frozen=True, eq=False)
class HighestDensityRegion:
    r"""The values y of some columns, given others v, at which their density is high: the smallest set of its
    probability.

    .. math:: R(v) = \{y : \log p(y \mid v) \ge t(v)\}

    Args:
        density: p(y | v), of as many rows as were given.
        level: The share of rows not seen that it holds.
        probability: Its probability by the model with which it does.
        threshold: t in nats, ``(n,)``; NaN given a category that no training row had.
        volume: :math:`\int_R dy` in the columns' own units, ``(n,)``; a category counts as 1.
        notes: What was decided.

    Reference:
        Hyndman (1996), Computing and graphing highest density regions, The American Statistician 50.
    """

    density: Conditional = field(repr=False)
    level: float
    probability: float
    threshold: NDArray[np.float64]
    volume: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    def holds(self, table: Any) -> NDArray[np.bool_]:
        """Which rows of a table have their values of the columns in the region, ``(n,)``; not where one is missing.

        Args:
            table: As many rows as were given, each beside its own region; or any number, if one was given.

        Raises:
            InputError: it lacks a column, or has another number of rows.
        """
        known, frame = self.density.known, from_frame(table)[0]
        require_columns(frame.columns, self.density.columns, "the table")
        if len(known) not in (1, frame.height):
            raise InputError(f"{frame.height} rows, but the region is given {len(known)}", "table")
        at = torch.arange(frame.height).clamp_max(len(known) - 1)
        given = known.cells.select(self.density.model.schema.given_names)
        rows = frame.drop(given.columns, strict=False)
        rows = rows.hstack(given[at.tolist()]) if given.width else rows
        x = encode_partly(self.density.model, rows, "table").x
        return (self.density.log_prob(x, at) >= torch.from_numpy(self.threshold)[at]).numpy()


@dataclass(frozen=True, eq=False)
class Conditional:
    """log p(some columns | what is known), of known rows."""

    model: TableModel
    columns: tuple[str, ...]
    known: Known
    seed: int

    def log_prob(self, x: Tensor, at: Tensor) -> Tensor:
        """Of encoded rows ``(m, features)``, each beside the known row of that place, ``(m,)``; -inf where a value of
        the columns is missing."""
        asked = self.model.schema.features_of(self.columns)
        gone = (self.model.schema.missingness.found(x) | x.isnan())[:, asked].any(1)
        given = self.known.rows[at]
        value = self._joint(Rows(x.where(asked, given.x), given.context), at) - self._log_known[at]
        return value.masked_fill(gone | value.isnan(), -math.inf)

    def drawn(self) -> tuple[Tensor, Tensor, Tensor]:
        """log p of draws of the columns, largest first, and their weights among those that have a value, ``(n, K)``
        each; and how many of these, by weight, are of one that lacks none missing at random, which p leaves out.

        The draws are those of the guide, weighted by the density."""
        n, schema = len(self.known), self.model.schema
        draws, regions = most_draws(n, FEWEST, MOST, POINTS), [self.known.where(row).region for row in range(n)]
        x, log_w = weighted_draws(self.model, self.known.rows, regions, draws, self.seed)
        x, log_w = schema.snap(x.flatten(0, 1)).view(x.shape).transpose(0, 1), log_w.T
        value = self.log_prob(x.flatten(0, 1), torch.arange(n).repeat_interleave(draws)).view(n, draws)
        at_random = [c.name for c in schema.fields if c.name in self.columns and c.holes.at_random]
        gone = (schema.missingness.found(x) | x.isnan())[..., schema.features_of(at_random)].any(2)
        there = log_w.masked_fill(~value.isfinite(), -math.inf)
        present = (there.logsumexp(1) - log_w.masked_fill(gone, -math.inf).logsumexp(1)).exp()
        value, order = value.sort(1, descending=True)
        return value, there.softmax(1).nan_to_num(0.0).gather(1, order), present

    @cached_property
    def _log_known(self) -> Tensor:
        if self.known.nothing:
            return torch.zeros(len(self.known), dtype=torch.float64)
        value = self._joint(self.known.rows, torch.arange(len(self.known)))
        return value.masked_fill(self.known.strange, math.nan)

    def _joint(self, rows: Rows, at: Tensor) -> Tensor:
        """log p(the entries that are not NaN, and that the others lie where it is known that they do)."""
        regions = [where.region for where in self.known.wheres]
        if not any(region.parts for region in regions):
            return marginal(self.model, rows, self.model.samples, self.seed).value
        return log_masses(self.model, rows, [[one] for one in regions], at % len(regions), self.seed).value


def highest_density_region(
    model: TableModel, columns: Sequence[str], known: Known, level: float, seed: int
) -> HighestDensityRegion:
    """The smallest set of values of some columns that holds a share of rows not seen, given what is known.

    Of held-out rows, each with the probability of the smallest such set that holds it given its own values of the
    given columns, it is the probability that the share of them, counting the new row as one more, does not exceed.

    Reference:
        Izbicki, Shimizu, Stern (2022), CD-split and HPD-split: efficient conformal regions in high dimensions, JMLR 23.
    """
    if not columns:
        raise InputError("names no column", "columns")
    refuse_twice(columns, "columns")
    for name in columns:
        if column_of(model, name, "columns").name in model.schema.follow_names:
            raise InputError(f"{name!r} follows from others, and so has no density", "columns")
        if name in known.cells.columns:
            raise InputError(f"{name!r} is given", "columns")
    known.refuse_counted()
    if known.bound.any():
        raise InputError("takes no value of a column that follows from missing ones", "given")
    density = Conditional(model, tuple(columns), known, seed)
    given = [model.schema.columns[j].name for where in known.wheres for j in where.region.parts]
    unseen = model.once(_unseen, tuple(columns), tuple(sorted({*known.cells.columns, *given})), seed)
    probability, notes = calibrated_level(unseen, level)
    value, weight, present = density.drawn()
    place = (weight.cumsum(1) <= probability + 1e-9).sum(1, keepdim=True)  # of the first that is left out
    ends = [value.gather(1, (place - away).clamp(0, value.shape[1] - 1))[:, 0] for away in (0, 1)]
    whole = (place == value.shape[1])[:, 0]
    threshold = (0.5 * (ends[0] + ends[1])).masked_fill(whole, -math.inf).masked_fill(known.strange, math.nan)
    inside = torch.where(value >= threshold[:, None], weight * (-value).exp(), 0.0)
    volume = (inside.sum(1) * present).masked_fill(whole, math.inf).masked_fill(known.strange, math.nan)
    return HighestDensityRegion(density, level, probability, threshold.numpy(), volume.numpy(), notes)


def _unseen(model: TableModel, columns: tuple[str, ...], given: Sequence[str], seed: int) -> Tensor:
    """The probability of the smallest region that holds each held-out row, in order."""
    known, x = Known.of_held_out(model, columns, [name for name in given if name not in columns])
    at = torch.arange(len(x))
    if known.nothing and known.rows.context is None:  # one region for all
        known, at = Known.of(model), torch.zeros_like(at)
    if not len(x):
        return torch.empty(0)
    density = Conditional(model, columns, known, seed)
    value, weight, _ = density.drawn()
    above = value[at] >= density.log_prob(x, at)[:, None]
    return (weight[at] * above).sum(1).sort().values
