r"""P(region | what is known), with standard errors: by draws of the guide that stay inside, weighted by the joint.

Each entry of a draw comes from the guide's conditional given that it lies in the region, so no draw is wasted however
small the region is. With :math:`q_R` their density, the mass of the region is the mean of p / q_R; and with that of its
complement, cut into disjoint regions,

.. math:: P(R \mid v) = \frac{p(R, v)}{p(R, v) + p(\bar R, v)},

which lies between 0 and 1, and whose relative error goes to 0 with either of the two. If nothing is known, the sum of
the two is 1, and their estimates are averaged by their precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...distributions.guided import Answer
from ...distributions.guided.holes import EVERY
from ...distributions.guided.weights import REPLICATES
from ...models.train import Rows
from ..model import TableModel
from .known import Known
from .one_column import OneColumn, has_one_column
from .query import most_draws, spread_for
from .region import Region, stacked
from .where import Where

FIRST, MOST = EVERY * REPLICATES, 8192  # draws from the guide for each region
FEWEST, POINTS = 64, 250_000  # if asked of many rows: for each, and for all together
COUNTED = 20_000  # draws among which other conditions are counted
PRECISE, CLOSE = (0.05, 0.005), 0.0015  # relative errors, and the absolute one from which the first is small enough
SMALL = 0.05
COMBINATIONS = 64  # of codes that are added up, if each has a closed form
BOUND = 3.0  # if none of n draws has any weight, 3 / n bounds the share of those that would, at 95 %


class Share(NamedTuple):
    """Probabilities and their standard errors, ``(n,)`` each, float64."""

    value: Tensor
    error: Tensor

    def of(self, whole: Share) -> Share:
        """This share as one of another: :math:`a / b`."""
        value = self.value / whole.value
        return Share(value, value * self._relative().hypot(whole._relative()))

    def times(self, other: Share) -> Share:
        """Both after one another: :math:`a\\, b`."""
        error = (self.value * other.error).hypot(other.value * self.error)
        return Share(self.value * other.value, error)

    def _relative(self) -> Tensor:
        return torch.where(self.value > 0, self.error / self.value, 0.0)


def probability(model: TableModel, where: Where, known: Known, seed: int) -> Share:
    """P(where | what is known), of every row; NaN given a category that no training row had.

    Raises:
        InputError: the question needs a guide, and the model has none.
    """
    some = ~known.strange
    rows, wheres = known.rows[some], [known.where(row) for row in some.nonzero()[:, 0].tolist()]
    if len(known.wheres) == 1:
        wheres = wheres[:1]
    found = Share(*(torch.full((len(known),), math.nan, dtype=torch.float64) for _ in "ve"))
    if len(rows):
        for whole, part in zip(found, _probability(model, where, rows, wheres, seed), strict=True):
            whole[some] = part
    return found


def _probability(model: TableModel, where: Where, rows: Rows, wheres: Sequence[Where], seed: int) -> Share:
    asked, given = [w & where for w in wheres], [w.region for w in wheres]
    if _is_exact(model, rows, asked, given):
        value = _of_one_column(OneColumn.at(model, rows.context), where.region)
        return Share(value, torch.zeros_like(value))
    if model.guided is None and all(not region.parts for region in given) and bool(rows.x.isnan().all()):
        return _counted(model, rows, asked, seed, inside=False)
    found = Share(torch.ones(len(rows), dtype=torch.float64), torch.zeros(len(rows), dtype=torch.float64))
    if where.region.parts:
        found = _in_region(model, where.region, rows, given, seed).times(_present(model, where.region, rows, given))
    if any(w.rest for w in asked):
        found = found.times(_counted(model, rows, asked, seed))
    if any(w.rest for w in wheres):
        found = found.of(_counted(model, rows, wheres, seed))
    return found


def _is_exact(model: TableModel, rows: Rows, asked: Sequence[Where], given: Sequence[Region]) -> bool:
    """Whether a question is one about a model's only column, of which nothing else is known."""
    alone = has_one_column(model) and len(model.schema.columns) == 1 and bool(rows.x.isnan().all())
    known = any(w.rest for w in asked) or any(region.parts for region in given)
    return alone and not known and not model.schema.columns[0].holes.share


def _of_one_column(one: OneColumn, region: Region) -> Tensor:
    """The probability of a part of a model's only column in each row."""
    part = torch.from_numpy(region.parts[0])
    if part.dtype == torch.bool:
        return one.probabilities.double()[:, part].sum(1)
    low, high = (one.cdf(ends.expand(len(one), -1)) for ends in part)
    return (high - low).sum(1).clamp(0, 1)


def _in_region(model: TableModel, region: Region, rows: Rows, given: Sequence[Region], seed: int) -> Share:
    """P(region | the values of rows, the regions that are given), with more draws if few leave too large an error."""
    for precise in PRECISE:
        found = _precisely(model, region, rows, given, seed, precise)
        if bool((found.error <= CLOSE).all()):
            break
    return found


def _precisely(
    model: TableModel, region: Region, rows: Rows, given: Sequence[Region], seed: int, precise: float
) -> Share:
    alone = bool(rows.x.isnan().all()) and not any(some.parts for some in given)
    inside = log_masses(model, rows, [region & some for some in given], seed, precise)
    value = inside.value.exp()
    if alone and bool((value <= SMALL).all()):  # the complement would add nothing
        return Share(value, value * inside.error)
    outside = [log_masses(model, rows, [part & some for some in given], seed, precise) for part in region.complement()]
    logs, errors = (torch.stack(part) for part in zip(*[(one.value, one.error) for one in outside], strict=True))
    log_rest = logs.logsumexp(0)
    error = ((logs - log_rest).exp().nan_to_num(0.0) * errors).square().sum(0).sqrt()
    if not alone:
        value = (inside.value - log_rest).sigmoid()
        return Share(value, value * (1 - value) * inside.error.hypot(error))
    rest = log_rest.exp()
    one, other = (value * inside.error).square(), (rest * error).square()
    weight = torch.where(one + other > 0, other / (one + other), 0.5)
    value = (weight * value + (1 - weight) * (1 - rest)).clamp(0, 1)
    return Share(value, (weight * one.sqrt()).hypot((1 - weight) * other.sqrt()))


def log_masses(
    model: TableModel, rows: Rows, regions: Sequence[Region], seed: int, precise: float = PRECISE[0]
) -> Answer:
    """log p(what is known, and that the rest lies in its region) of every row: one region for each, or one for all."""
    owner = torch.zeros(len(rows), dtype=torch.long) if len(regions) == 1 else torch.arange(len(rows))
    parts: list[tuple[Tensor, Region]] = []  # rows, and one of the regions that make up theirs
    for place, region in enumerate(regions):
        own = (owner == place).nonzero()[:, 0]
        most = COMBINATIONS if _closed(model, rows[own], region) else 1
        parts += [] if region.empty else [(own, part) for part in region.of_codes(most)]
    value = torch.full((len(rows),), -math.inf, dtype=torch.float64)
    answer = Answer(value, torch.zeros_like(value), torch.full_like(value, math.inf))
    if not parts:
        return answer
    each, at = _log_mass(model, rows, parts, seed, precise), torch.cat([own for own, _ in parts])
    total = torch.zeros(len(rows), dtype=torch.float64)
    highest = torch.full_like(value, -math.inf).scatter_reduce(0, at, each.value, "amax")
    base = highest.clamp_min(-1e300)
    share = (each.value - base[at]).exp()
    total.index_add_(0, at, share)
    error = torch.zeros_like(total).index_add_(0, at, (share * each.error).square()).sqrt() / total.clamp_min(1e-300)
    effective = torch.full_like(value, math.inf).scatter_reduce(0, at, each.effective, "amin")
    return Answer(torch.where(total > 0, base + total.log(), -math.inf), error, effective)


def _log_mass(
    model: TableModel, rows: Rows, parts: Sequence[tuple[Tensor, Region]], seed: int, precise: float
) -> Answer:
    """The same for some rows, each with a region."""
    x, widths, impossible, rest = [], [], [], []
    for own, region in parts:
        row, log_width, other = region.filled(rows.x[own], model.schema)
        impossible.append(~region.holds(rows.x[own]))
        x.append(row)
        widths += [log_width] * len(own)
        rest += [other] * len(own)
    at, found = torch.cat([own for own, _ in parts]), torch.cat(x)
    most = most_draws(len(found), FEWEST, MOST, POINTS)
    most -= most % FIRST if most > FIRST else 0
    context = rows.to(model.device).context
    answer = model.guide_for("answers no such question").marginal(
        found.to(model.device),
        None if context is None else context[at.to(context.device)],
        draws=min(FIRST, most),
        most=most,
        precise=precise,
        replicates=REPLICATES if most >= FIRST else 1,
        path=False,
        seed=seed,
        spread=spread_for(model),
        region=stacked(rest, model.schema) if any(one.parts for one in rest) else None,
    )
    value = answer.value + torch.tensor(widths, dtype=torch.float64)
    return answer._replace(value=value.masked_fill(torch.cat(impossible), -math.inf))


def _closed(model: TableModel, rows: Rows, region: Region) -> bool:
    """Whether the density of what is known, and of the codes that a region names, is known without draws."""
    if any(part.dtype != bool for part in region.parts.values()) or not region.parts:
        return False
    x = rows.x.clone()
    x[:, list(region.parts)] = 0.0
    return bool((model.density.exact(x.to(model.device)).cpu() | ~x.isnan().any(1)).all())


def _present(model: TableModel, region: Region, rows: Rows, given: Sequence[Region]) -> Share:
    """The probability that the cells a region speaks of are there, of columns whose missing values are ignored; 1 for
    cells that are known."""
    value = torch.ones(len(rows), dtype=torch.float64)
    for j, share in model.schema.missingness.ignored.items():
        if j in region.parts and not all(j in some.parts for some in given):
            value = torch.where(rows.x[:, j].isnan(), value * (1 - share), value)
    return Share(value, torch.zeros_like(value))


def _counted(model: TableModel, rows: Rows, wheres: Sequence[Where], seed: int, inside: bool = True) -> Share:
    """The share of rows for which the rest of a condition holds, among those in its region, by weighted draws; if not
    ``inside``, the share of those in the region as well, by draws of the density itself."""
    values, errors = [], []
    draws = most_draws(len(rows), FEWEST, COUNTED, POINTS)
    for place in range(len(rows)):  # one at a time: conditions differ, and are decided on cells as they are written
        where, one = wheres[min(place, len(wheres) - 1)], rows[place : place + 1]
        region = where.region if inside else Region({})
        x, weight = weighted_rows(model, one, region, draws, seed)
        x = _with_gaps(model, x, one, region, seed)
        held = torch.from_numpy(where.counts(model.schema.decode(x))).double() * where.region.holds(x)
        value = (weight * held).sum()
        values.append(value)
        errors.append((weight * (held - value)).square().sum().sqrt())
        if not (held * weight > 0).any() or not ((1 - held) * weight > 0).any():
            errors[-1] = torch.tensor(BOUND / float(1 / weight.square().sum()))
    return Share(torch.stack(values), torch.stack(errors))


def weighted_rows(model: TableModel, row: Rows, region: Region, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draws of what one row lacks, ``(draws, features)``, on the CPU, and their weights, which sum to 1."""
    if bool(row.x.isnan().all()) and not region.parts:
        generator = torch.Generator(model.device).manual_seed(seed)
        context = row.to(model.device).context
        x = model.density.sample((draws,), context, generator=generator).reshape(draws, -1)
        return x.cpu(), torch.full((draws,), 1 / draws, dtype=torch.float64)
    x, _, other = region.filled(row.x, model.schema)
    filled, log_w = model.guide_for("answers no such question").weighted(
        x.to(model.device),
        row.to(model.device).context,
        draws=draws,
        seed=seed,
        spread=spread_for(model),
        region=stacked([other], model.schema) if other.parts else None,
    )
    return filled[:, 0].cpu(), log_w[:, 0].softmax(0).cpu()


def _with_gaps(model: TableModel, x: Tensor, row: Rows, region: Region, seed: int) -> Tensor:
    """Drawn rows with values removed as often as ignored ones are missing, but not where a value is known to be."""
    gapped = model.schema.missingness.drawn(x.double(), torch.Generator().manual_seed(seed))
    there = ~row.x[0].isnan()
    there[list(region.parts)] = True
    return torch.where(there, x.double(), gapped)
