r"""P(region | what is known), with standard errors: by draws of the guide that stay inside, weighted by the joint.

Each entry of a draw comes from the guide's conditional given that it lies in the region, so no draw is wasted however
small the region is. With :math:`q_R` their density, the mass of the region is the mean of p / q_R; and with that of its
complement, cut into disjoint regions,

.. math:: P(R \mid v) = \frac{p(R, v)}{p(R, v) + p(\bar R, v)},

which lies between 0 and 1, and whose relative error goes to 0 with either of the two. Where the answer is not rare,
draws of the joint itself are counted, beside those of the guide if numbers are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from ...distributions.guided import Answer
from ...distributions.guided.holes import EVERY, REPLICATES
from ...models.console import Console
from ...models.train import Rows
from ...numerics.partly_known import partly_known, unknown
from ..model import TableModel
from ..schema.schema import Schema
from .column_distribution import error_of_share, has_one_column, only_column
from .known import Known
from .query import most_draws, near
from .region import Region, fewer, narrowed, reached, stacked
from .told import Told, among
from .where import Where

A = TypeVar("A")
UNANSWERED = "no draw of the model is as given, so there is no answer"
FIRST, MOST = EVERY * REPLICATES, 8192  # draws from the guide for each region
FEWEST, POINTS = 64, 500_000  # if asked of many rows: for each, and for all together
COUNTED, DRAWN = 20_000, 50_000  # draws among which other conditions are counted; draws of the density itself
MORE, WIDE = 4, 200  # times as many, if all questions share them and the error is not close; columns, for memory
PRECISE, CLOSE = (0.04, 0.005), 0.0012  # relative errors, and the absolute one from which the first is small enough
FAIR = 0.005  # likewise, of draws of the density
COMBINATIONS = 64  # of codes that are added up, if each has a closed form
ROUNDS, TRIED = 20, 4096  # of redrawing; draws that tell how many are far
BOUND = 3.0  # if none of n draws has any weight, 3 / n bounds the share of those that would, at 95 %
ROUNDING = 1e-9  # the relative error from which an answer is not exact
NOTHING = Rows(torch.empty(1, 0))  # one row, of which nothing is known


class Share(NamedTuple):
    """Probabilities, or their logarithms, and the standard errors, ``(n,)`` each, float64."""

    value: Tensor
    error: Tensor

    def of(self, whole: Share) -> Share:
        """This share as one of another: :math:`a / b`; NaN of none."""
        total = whole.value.masked_fill(whole.value == 0, math.nan)
        value = (self.value / total).clamp_max(1.0)  # each was told by draws of its own
        return Share(value, (self.error / total).hypot(value * whole.error / total))

    def times(self, other: Share) -> Share:
        """Both after one another: :math:`a\\, b`."""
        error = (self.value * other.error).hypot(other.value * self.error)
        return Share(self.value * other.value, error)

    def or_better(self, other: Share) -> Share:
        """Of two answers the one with the smaller error of its log-odds."""
        better = other.of_odds() < self.of_odds()
        return Share(*(torch.where(better, *each) for each in zip(other, self, strict=True)))

    def beside(self, other: Share) -> Share:
        """The mean of two answers, each by draws of its own, weighted by the errors of their log-odds; if only one is
        there, that."""
        one, two = (each.of_odds().square() for each in (self, other))
        share, told = one / (one + two), self.or_better(other)
        mean = torch.lerp(self.value, other.value, share)
        error = ((1 - share) * self.error).hypot(share * other.error)
        return Share(*(torch.where(mean.isnan(), *each) for each in zip(told, (mean, error), strict=True)))

    def of_odds(self) -> Tensor:
        """The errors of the logarithms of the odds; 1 and the error itself where no draw told these, infinite where
        there is no answer."""
        spread = self.value * (1 - self.value)
        return torch.where(spread > 0, self.error / spread, 1.0 + self.error).masked_fill(self.value.isnan(), math.inf)


class Asked(NamedTuple):
    """One question: what is asked, and what is known beside the values of rows."""

    where: Where
    given: Where

    def known(self, region: Region, schema: Schema) -> Region:
        """What of a region is given, and its other numbers near the training rows."""
        others = [j for j in region.parts if j not in self.given.region.parts]
        return region & self.given.region & reached(schema, others)


def probability(model: TableModel, wheres: Sequence[Where], known: Known, seed: int) -> Share:
    """P(where | what is known) of every row, with a condition for all or one for each; NaN given a category that no
    training row had."""
    each, n = (wheres, known.wheres), max(len(wheres), len(known.wheres))
    asked = [Asked(*(part[place % len(part)] for part in each)) for place in range(n)]
    found = Share(*(torch.full((len(known),), math.nan, dtype=torch.float64) for _ in "ve"))
    which = torch.arange(len(known)) % n
    plain = no_numbers(model, known.rows)
    codes = torch.tensor([_code_asked(model.schema, each) for each in asked])[which]
    kinds = torch.stack([known.bound, partly_known(known.rows.x).any(1), plain, codes], 1)
    for kind in kinds[~known.strange].unique(dim=0):
        some = ~known.strange & (kinds == kind).all(1)
        own, code = known[some], int(kind[-1])
        by_draws = partial(_of_draws, told=own.told if kind[0] else None)
        by_value = _probability if code < 0 else partial(_of_code, feature=code)
        answer = by_draws if kind[:2].any() else by_value
        for whole, part in zip(found, answer(model, own.rows, asked, which[some], seed), strict=True):
            whole[some] = part
    return found


def said_of(found: Share, wheres: Sequence[Where], asked: Any, known: Known) -> tuple[str, ...]:
    """What is to be said beside probabilities."""
    said = [*known.notes, *(note for where in wheres for note in where.notes)]
    if len(found.value) and not found.value.any():
        said.append(f"{asked}: no draw of the model lies there")
    if (found.value.isnan() & ~known.strange).any():
        said.append(UNANSWERED)
    return tuple(said)


def _probability(model: TableModel, rows: Rows, asked: Sequence[Asked], which: Tensor, seed: int) -> Share:
    """The same for some rows, of all or none of which numbers are known, with which of the questions each has."""
    alone = bool(unknown(rows.x).all())
    one = has_one_column(model) and len(model.schema.columns) == 1 and not model.schema.columns[0].holes.share
    if alone and one and not any(each.where.rest or each.given.rest or each.given.region.parts for each in asked):
        return _of_one_column(model, rows, asked, which)
    quick, rough, sure = (partial(_by_guide, precise=precise) for precise in (math.inf, *PRECISE))
    plain = bool(no_numbers(model, rows).all())
    first: Callable[..., Share] = quick if plain else rough
    draws = DRAWN if plain else most_draws(len(rows), FEWEST, MOST, POINTS)
    common = rows.context is None and rows.x.shape[1] <= WIDE
    shared = [(partial(_of_draws, more=MORE), lambda _: CLOSE)] if common else []
    stages: Sequence[tuple[Callable[..., Share], Callable[[Tensor], Any]]]  # each with the error that is small enough
    if alone and model.guided is None:
        first, stages = _of_draws, shared
    elif plain:  # what is not rare is told sooner by draws of the density
        stages = [
            (_of_draws, lambda spread: (spread / draws).sqrt().clamp_max(CLOSE).minimum(spread / 2)),
            (rough, lambda spread: PRECISE[0] * spread),
            (sure, lambda _: FAIR),
            *shared,
        ]
    else:
        stages = [
            (sure, lambda _: CLOSE),
            (_of_draws, lambda spread: (spread / draws).sqrt().clamp_min(FAIR).minimum(spread / 2)),
        ]
    found = first(model, rows, asked, which, seed)
    for answer, least in stages:
        some = (~(found.error <= least(found.value * (1 - found.value)))).nonzero()[:, 0]  # and those without an answer
        if not len(some):
            continue
        other = answer(model, rows[some], asked, which[some], seed)
        join = Share.beside if answer is _of_draws and not plain else Share.or_better
        for whole, part in zip(found, join(Share(*(part[some] for part in found)), other), strict=True):
            whole[some] = part
    return found


def _code_asked(schema: Schema, asked: Asked) -> int:
    """The only feature that a question is about, or -1: it has a probability for each value, and nothing is counted."""
    feature, *more = [*asked.where.region.parts] or [-1]
    counted = asked.where.rest or asked.given.rest
    return feature if feature >= 0 and schema.classes[feature] and not more and not counted else -1


def _of_code(model: TableModel, rows: Rows, asked: Sequence[Asked], which: Tensor, seed: int, feature: int) -> Share:
    """The probability of some values of a feature as a sum over the same distribution whichever are asked for, so that
    those of disjoint values add up: that of each, whose sum is 1 in truth, as a share of their sum."""
    own, which = which.unique(return_inverse=True)
    asked = [asked[place] for place in own.tolist()]
    given, schema = [each.given.region for each in asked], model.schema
    classes = schema.classes[feature]
    if no_numbers(model, rows).all() and all(schema.classes[j] for region in given for j in region.parts):
        each = [
            Asked(Where(Region({feature: code})), one.given) for code in np.eye(classes, dtype=bool) for one in asked
        ]
        at, code = torch.arange(len(rows)).repeat(classes), torch.arange(classes).repeat_interleave(len(rows))
        found = _probability(model, rows[at], each, code * len(asked) + which[at], seed)
        weights, errors = (part.view(classes, -1) for part in found)
        whole = weights.sum(0).where(errors.any(0), weights.new_tensor(1.0))  # of exact ones it is 1 up to rounding
        weights, errors = weights / whole, errors / whole
    else:
        weights, errors = code_probabilities(model, rows, given, which, feature, classes, seed)
        if len(some := ((weights * errors).amax(0) > CLOSE).nonzero()[:, 0]):
            sure = code_probabilities(model, rows[some], given, which[some], feature, classes, seed, PRECISE[1])
            weights[:, some], errors[:, some] = sure
        errors = weights * errors
    parts = torch.from_numpy(np.stack([each.where.region.parts[feature] for each in asked], 1))[:, which].double()
    value = (weights * parts).sum(0)
    present = _present(model, rows, asked, which)
    return Share(value * present, (errors * (parts - value)).square().sum(0).sqrt() * present)


def _by_guide(model: TableModel, rows: Rows, asked: Sequence[Asked], which: Tensor, seed: int, precise: float) -> Share:
    """The same by draws of the guide."""
    both = [replace(each.given & each.where, region=each.known(each.where.region, model.schema)) for each in asked]
    found = Share(torch.ones(len(rows), dtype=torch.float64), torch.zeros(len(rows), dtype=torch.float64))
    if any(each.where.region.parts for each in asked):
        present = _present(model, rows, asked, which)
        found = Share(*(part * present for part in _in_region(model, rows, asked, which, seed, precise)))
    if any(each.rest for each in both):
        found = found.times(_counted(model, rows, both, which, seed, precise))
    if any(each.given.rest for each in asked):
        found = found.of(_counted(model, rows, [each.given for each in asked], which, seed, precise))
    return found


def _of_one_column(model: TableModel, rows: Rows, asked: Sequence[Asked], which: Tensor) -> Share:
    """The probability of a part of a model's only column in each row."""
    value = torch.ones(len(rows), dtype=torch.float64)
    for own, each in _groups(asked, which):
        found = only_column(model, rows[own].context)
        for part in map(torch.from_numpy, each.where.region.parts.values()):
            if part.dtype == torch.bool:
                value[own] = found.probabilities.double()[:, part].sum(1)
            else:
                low, high = (found.cdf(ends.expand(len(own), -1)) for ends in part)
                value[own] = (high - low).sum(1).clamp(0, 1)
    return Share(value, torch.zeros_like(value))


def _groups(each: Sequence[A], which: Tensor) -> Iterator[tuple[Tensor, A]]:
    """The rows of each thing, and the thing, of those that rows have."""
    rows = which.argsort(stable=True).split(which.bincount(minlength=len(each)).tolist())
    return ((own, one) for own, one in zip(rows, each, strict=True) if len(own))


def _in_region(
    model: TableModel, rows: Rows, asked: Sequence[Asked], which: Tensor, seed: int, precise: float
) -> Share:
    """P(region | the values of rows, the regions that are given)."""
    alone = rows.x.isnan().all(1) & torch.tensor([not each.given.region.parts for each in asked])[which]
    regions = [[each.known(each.where.region, model.schema)] for each in asked]
    inside = log_masses(model, rows, regions, which, seed, precise)
    whole, error = _share_near(model, rows)
    value = (inside.value.exp() / whole).clamp_max(1.0)
    error = value * inside.error.hypot(error / whole)
    enough = alone & (error <= CLOSE)  # there the complement would add nothing
    if bool(enough.all()):
        return Share(value, error)
    regions = [[each.known(part, model.schema) for part in each.where.region.complement()] for each in asked]
    outside = log_masses(model, rows, regions, which, seed, precise)
    share = (inside.value - outside.value).sigmoid()
    exact = alone & (outside.error == 0)  # nothing is left to be told by draws of the other part
    share = torch.where(exact, 1 - outside.value.exp() / whole, share)
    ratio = share, torch.where(exact, 0.0, share * (1 - share) * inside.error.hypot(outside.error))
    return Share(*(torch.where(enough, *each) for each in zip((value, error), ratio, strict=True)))


def log_masses(
    model: TableModel,
    rows: Rows,
    unions: Sequence[Sequence[Region]],
    which: Tensor,
    seed: int,
    precise: float = PRECISE[0],
    points: int = POINTS,
) -> Share:
    """log p(what is known, and that the rest lies in a union of regions that have no row in common) of every row.

    Args:
        rows: What is known.
        unions: The regions of some unions.
        which: The union of each row, ``(n,)``.
        seed: Seed of all draws.
        precise: The standard error, in nats, from which a region gets no more draws; infinite for the first alone.
        points: Draws for all of them together, as long as each gets a few.
    """
    parts: list[tuple[Tensor, Region]] = []  # rows, and one of the regions that make up theirs
    for own, union in _groups(unions, which):
        for region in union:
            parts += [] if region.empty else [(own, part) for part in _combined(model, rows[own], region)]
    if not parts:
        return Share(torch.full((len(rows),), -math.inf).double(), torch.zeros(len(rows)).double())
    each, at = _log_mass(model, rows, parts, seed, precise, points), torch.cat([own for own, _ in parts])
    value = _log_sums(each.value, at, len(rows))
    shares = (each.value - value[at]).exp().nan_to_num(0.0)
    return Share(value, torch.zeros_like(value).index_add(0, at, (shares * each.error).square()).sqrt())


def code_probabilities(
    model: TableModel,
    rows: Rows,
    regions: Sequence[Region],
    which: Tensor,
    feature: int,
    codes: int,
    seed: int,
    precise: float = PRECISE[0],
    points: int = POINTS,
) -> tuple[Tensor, Tensor]:
    """The probabilities of the first codes of a column in rows whose other cells lie in regions, as
    :func:`log_masses`, and the standard errors of the logarithms of their masses, ``(codes, n)`` each."""
    n, parts = len(rows), np.eye(codes, model.schema.classes[feature], dtype=bool)
    unions = [[Region({feature: part}) & region] for part in parts for region in regions]
    at, code = torch.arange(n).repeat(codes), torch.arange(codes).repeat_interleave(n)
    found = log_masses(model, rows[at], unions, code * len(regions) + which[at], seed, precise, points)
    value, errors = (part.view(codes, n) for part in found)
    return value.softmax(0), errors


def _log_sums(value: Tensor, at: Tensor, n: int) -> Tensor:
    """The logarithms of n sums of values given by theirs, each with the place of its sum; -inf of none."""
    most = value.new_full((n,), -math.inf).scatter_reduce(0, at, value, "amax")
    return most + torch.zeros_like(most).index_add(0, at, (value - most[at]).exp().nan_to_num(0.0)).log()


def _log_mass(
    model: TableModel, rows: Rows, parts: Sequence[tuple[Tensor, Region]], seed: int, precise: float, points: int
) -> Answer:
    """The same for some rows, each with a region."""
    x, widths, rest = [], [], []
    for own, region in parts:
        row, log_width, other = region.filled(rows.x[own], model.schema)
        possible = region.holds(rows.x[own])
        x.append(row)
        widths.append(row.new_full((len(own),), log_width).masked_fill(~possible, -math.inf))
        rest += [other] * len(own)
    at, found, log_widths = torch.cat([own for own, _ in parts]), torch.cat(x), torch.cat(widths)
    draws, regions = most_draws(len(found), FEWEST, FIRST, points), [region for _, region in parts]

    def of_union(value: Tensor, error: Tensor) -> Tensor:
        value = value.cpu() + log_widths
        return error * (value - _log_sums(value, at, len(rows))[at]).exp().nan_to_num(0.0).to(error)

    answer = model.guide_for("answers no such question").marginal(
        found,
        rows[at].context,
        draws=draws,
        most=max(draws, fewer(MOST if draws == FIRST and precise < math.inf else draws, regions)),
        precise=precise,
        points=points,
        replicates=REPLICATES if draws == FIRST else 1,
        seed=seed,
        region=stacked(rest, model.schema),
        counts=of_union,
        allowed=partial(near, model.schema),
        closed_forms=bool(_share_near(model, rows)[0] == 1),
    )
    return answer._replace(value=answer.value + log_widths)


def _combined(model: TableModel, rows: Rows, region: Region) -> Iterable[Region]:
    """The region for each combination of the codes that it names, and if need be of the categories before them, if they
    are few and known without draws then; else the region itself."""
    classes, seen = model.schema.classes, (~rows.x.isnan()).any(0).nonzero()[:, 0].tolist()
    named, last = {*region.parts}, max([*region.parts, *seen], default=0)
    before = {j for j in range(last) if classes[j] and rows.x[:, j].isnan().any()}
    for codes in (named, named | before) if all(classes[j] for j in seen) else (named,):
        x = rows.x.clone()
        x[:, list(codes)] = 0.0
        closed = (model.density.exact(x.to(model.device)).cpu() | ~x.isnan().any(1)).all()
        if closed and codes and all(classes[j] for j in codes):
            each = region & Region({j: np.ones(classes[j], bool) for j in codes})
            if math.prod(int(part.sum()) for part in each.parts.values()) <= COMBINATIONS:
                return each.of_codes()
    return (region,)


def _present(model: TableModel, rows: Rows, asked: Sequence[Asked], which: Tensor) -> Tensor:
    """The probability that the cells a region speaks of are there, of columns whose missing values are ignored; 1 for
    cells that are known."""
    value = torch.ones(len(rows), dtype=torch.float64)
    for j, share in model.schema.missingness.ignored.items():
        spoken = torch.tensor([j in each.where.region.parts and j not in each.given.region.parts for each in asked])
        value = torch.where(spoken[which] & rows.x[:, j].isnan(), value * (1 - share), value)
    return value


def _counted(model: TableModel, rows: Rows, wheres: Sequence[Where], which: Tensor, seed: int, precise: float) -> Share:
    """The share of rows for which the rest of a condition holds, among those in its region, by weighted draws."""
    value, error = torch.ones(len(rows), dtype=torch.float64), torch.zeros(len(rows), dtype=torch.float64)
    draws = most_draws(len(rows), FEWEST, COUNTED if precise < math.inf else FIRST, POINTS)
    for place in range(len(rows)):  # one at a time: conditions differ, and are decided on cells as they are written
        where, one = wheres[int(which[place])], rows[place : place + 1]
        if not where.rest:
            continue
        x, log_w = (part[:, 0] for part in weighted_draws(model, one, [where.region], draws, seed))
        held = holds(model, where, gapped(model, x, one, where.region, seed)).double()
        value[place], error[place] = _share(log_w.softmax(0), held)
    return Share(value, error)


def _share(weight: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
    """The share of weighted draws for which a condition holds, and its standard error."""
    value = (weight * held).sum().clamp(0.0, 1.0)
    if not (held * weight > 0).any() or not ((1 - held) * weight > 0).any():
        return value, BOUND * weight.square().sum()
    return value, error_of_share(weight, held, value)


def _of_draws(
    model: TableModel,
    rows: Rows,
    asked: Sequence[Asked],
    which: Tensor,
    seed: int,
    told: Told | None = None,
    more: int = 1,
) -> Share:
    """The share of draws of the density for which a condition holds, among those that are as known and as given; of
    those that agree with what rows say of columns that follow from others, if they are told."""
    shares, plain = [], told is None and bool(no_numbers(model, rows).all())
    alike = plain and rows.context is None  # then all have the same draws
    draws = most_draws(1 if alike else len(rows), FEWEST, DRAWN * more if plain else MOST, POINTS)
    for place in range(len(rows)):
        one, (where, given) = rows[place : place + 1], asked[int(which[place])]
        if not alike or not place:
            own = None if told is None else told[torch.tensor([place])]
            x, log_w = (part[:, 0] for part in of_density(model, one, draws, seed, own))
            x = gapped(model, x, one if own is None else Rows(x), Region({}), seed)
            held = lru_cache(2)(partial(holds, model, x=x))  # rows may have the same question
        among = held(given) & as_known(x, one)
        weight = log_w.masked_fill(~among, -math.inf).softmax(0)
        shares.append(torch.stack(_share(weight, held(where).double())))
    return Share(*torch.stack(shares, 1))


def holds(model: TableModel, where: Where, x: Tensor) -> Tensor:
    """In which encoded rows a condition holds; a missing value lies in no region."""
    held = where.region.holds(x) & ~x[:, list(where.region.parts)].isnan().any(1)
    return held & torch.from_numpy(where.counts(model.schema.decode(x))) if where.rest else held


def no_numbers(model: TableModel, rows: Rows) -> Tensor:
    """Of which rows no number is known, ``(n,)``."""
    return unknown(rows.x)[:, [j for j, size in enumerate(model.schema.classes) if not size]].all(1)


def near_draws(
    model: TableModel, rows: Rows, generator: torch.Generator, temperature: float = 1.0, rounds: int = ROUNDS
) -> Tensor:
    """A draw for the context of each row, ``(n, features)``; draws far from the training rows are drawn again."""
    shape, context = (rows.x.shape[:1], None) if rows.context is None else ((), rows.context.to(model.device))
    x = model.density.sample(shape, context, generator=generator, temperature=temperature)
    far = (model.schema.far(x) | ~x.isfinite().all(1).cpu()).nonzero()[:, 0]
    if rounds and len(far):
        x[far.to(x.device)] = near_draws(model, rows[far], generator, temperature, rounds - 1)
    return x


def _share_near(model: TableModel, rows: Rows | None = None) -> Tensor:
    """The share of the density's draws, given rows' contexts, that are near the training rows, and its standard error,
    ``(2,)``; 1 if hardly any is far: then closed forms hold of what is drawn."""
    if rows is not None and rows.context is None:
        return model.once(_share_near)
    rows, generator = NOTHING if rows is None else rows, torch.Generator(model.device).manual_seed(model.seed)
    drawn = near_draws(model, rows[torch.arange(TRIED) % len(rows)], generator, rounds=0)
    far = model.schema.far(drawn).double().mean()
    share = 1 - far * (far > CLOSE)
    return torch.stack([share, (share * (1 - share) / TRIED).sqrt()])


def of_density(model: TableModel, rows: Rows, draws: int, seed: int, told: Told | None = None) -> tuple[Tensor, Tensor]:
    """Draws of the density given rows' contexts, ``(draws, n, features)``, on the CPU, and their log-weights: all 0, or
    if numbers are known, or what follows from others is told, those of draws that are as known."""
    if told is not None:
        there = model.schema.missingness.forgotten(rows.x, 0.0)  # no cell is missing
        x, log_w = told.weighted(model, Rows(there, rows.context), draws, seed, alike=True)
        return x, among(log_w, near(model.schema, x, rows.x.isnan()))
    if bool(no_numbers(model, rows).all()):
        # Without a context all rows, and the next questions, have the same draws.
        found = model.once(_drawn, draws, seed) if rows.context is None else _drawn(model, draws, seed, rows)
        return found.expand(draws, *rows.x.shape), torch.zeros(draws, len(rows), dtype=torch.float64)
    guided = model.guide_for("answers no such question")
    drawn = guided.weighted if partly_known(rows.x).any() else guided.balanced  # which takes the latter for unknown
    x, log_w = (part.cpu() for part in drawn(rows.x, rows.context, draws=draws, seed=seed))
    return torch.where(rows.x.isnan(), x, rows.x), among(log_w, near(model.schema, x, rows.x.isnan()))


def _drawn(model: TableModel, draws: int, seed: int, rows: Rows = NOTHING) -> Tensor:
    """Draws of the density given rows' contexts, ``(draws, n, features)``, on the CPU."""
    generator = torch.Generator(model.device).manual_seed(seed)
    each = torch.arange(len(rows)).repeat(draws)
    x = torch.cat([near_draws(model, rows[some], generator).cpu() for some in each.split(DRAWN)])  # within memory
    return x.view(draws, len(rows), -1)


def as_known(x: Tensor, row: Rows) -> Tensor:
    """Which draws have what is known of one row."""
    known = ~row.x[0].isnan()
    return (x[:, known] == row.x[:, known]).all(1)


def weighted_draws(
    model: TableModel, rows: Rows, regions: Sequence[Region], draws: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Draws of what rows lack, each in its region, ``(draws, n, features)``, and their log-weights, on the CPU."""
    if bool(unknown(rows.x).all()) and not any(region.parts for region in regions):
        return of_density(model, rows, draws, seed)
    x, inside = narrowed(rows.x, regions, model.schema)
    guided = model.guide_for("answers no such question")
    found, log_w = guided.weighted(x, rows.context, draws=draws, seed=seed, region=inside)
    free = x.isnan() if inside is None else x.isnan() & ~inside.named(x)
    return found.cpu(), among(log_w, near(model.schema, found, free)).cpu()


def gapped(model: TableModel, x: Tensor, row: Rows, region: Region, seed: int) -> Tensor:
    """Drawn rows with values removed as often as ignored ones are missing, but not where a value is known to be."""
    fewer = model.schema.missingness.drawn(x.double(), torch.Generator().manual_seed(seed))
    there = ~unknown(row.x[0])
    there[list(region.parts)] = True
    return torch.where(there, x.double(), fewer)


def ask(
    model: TableModel, where: str, given: dict[str, str], console: Console, *, within: str | None = None, seed: int = 0
) -> dict[str, Any]:
    """Prints the probability of a condition and its standard error; returns them."""
    known = Known.of(model, given, within)
    wheres = [Where.of(model, where)]
    found = probability(model, wheres, known, seed)
    console.note(*said_of(found, wheres, where, known))
    value, error = (float(part[0]) for part in found)
    condition = " AND ".join([*(f"{name} = {value}" for name, value in given.items()), *([within] if within else [])])
    told = f" ± {error:.2g}" if error > ROUNDING * value else ", exactly" if value > 0 else ""
    console.say(f"P({where}{f' | {condition}' if condition else ''}) = {value:.4g}{told}")
    return {"probability": value, "standard_error": error, "where": where, "given": given, "within": within}
