"""Seeks columns that are formulas of others: in every row, or up to a remainder if held-out rows are likelier so."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import torch
from threadpoolctl import threadpool_limits

from ....numerics.robust import best_subsets
from ....transforms.relations import LOGARITHMS
from ..columns import Column
from ..kinds.base import Hints, Kind, Numbers
from ..kinds.few_values import FEW
from ..kinds.numeric import Number, Numeric
from ..kinds.quantity import numbers_kind
from .base import FEWEST, Columns, Dependency, Rows, Seen, gained, learnt, mapped, on_scales, scale_of, shortest
from .formula import HALF, HOLDS, ROUNDING, Added, Determined, Formula, Near, amounts_in, exactly, sources

Product = tuple[tuple[str, float], ...]  # of columns and their powers
SEARCHED, FIRST = 1000, 2000  # rows in which a formula is searched, and that suffice to refute most sums
MOST_INPUTS = 30  # columns that a sum may be made of
MOST_TERMS, MOST_FACTORS = 4, 3  # of a sum with slips, of a product
POWERS = np.unique([sign * k / d for sign in (1, -1) for d in (2, 3) for k in range(1, 3 * d + 1)])  # of products
FEWER = 0.01  # share of the rows that fewer digits may lose
SINGLE = 5e-7  # of a value: how far float32 is from a formula
WIDE = 20.0  # times the rounding of a column that its spread must be for a sum with slips to mean something
CLOSE, NARROW = 0.02, 0.15  # median remainder at most: of a product's size, or a sum's spread; of a constant's
FAR = 10.0  # times the largest small remainder: what least squares of all columns may leave, as slips move these
MOST_PRODUCTS, FEW_ROWS = 3, 100  # of a sum of products, rows in which they are sought
PRODUCTS, TELLS = 0.25, 0.2  # of what sums leave: what products must leave, and each tell
POINTS = 10  # in which a sum of products holds, for each of its terms
POSITIVE = 0.99  # share of the rows in which a factor is
LEAST_POWER, LARGEST = 0.1, 100.0  # of a product, and the logarithm of its size
AS_WELL = 4.0  # standard errors, of a median of evenly spread remainders, that they may be larger with simple powers
LEAST = 1e-3  # standard deviation of the logarithm of one of its factors
SEASONS, HARMONICS = (365.2425, 7.0, 1.0), 3  # days; waves of each
FEWEST_DATES, CLEAR = 200, 4.0  # rows in which seasons are sought; standard errors of a wave
MOST = 5000  # rows in which seasons are sought, and what a remainder gains
GAIN = 0.05  # nats a row, beyond two standard errors, that held-out rows must gain for each column of a formula


@threadpool_limits.wrap(limits=1, user_api="blas")  # many small systems, which threads would wait for on a busy machine
def determined(columns: Sequence[Column], values: Rows, free: Collection[str]) -> list[Dependency]:
    """Columns, but for the free ones, that are formulas of others in every row that misses none of them."""
    left, found = list(columns), dict[str, Determined]()
    needed, scales, known = set(free), on_scales(columns, values), {column.name: column for column in columns}
    for earlier, column in itertools.product((True, False), columns):  # what comes later follows from what comes before
        if column.name in needed or column.name not in scales or column not in left:
            continue
        before = columns[: columns.index(column)] if earlier else columns
        able = [other for other in before if other is not column and other.name in scales]
        own = [other for other in able if other in left]
        more = [other for other in able if column.name not in sources([other.name], found)]  # what follows itself, too
        target, pools = exactly(column) if column.kind.atoms else column, [own, more] if len(own) < len(more) else [own]
        exact = itertools.chain.from_iterable(_exact(target, others, scales) for others in pools if others)
        relation = next((each for each in exact if each.holds(values, known)), None)
        if relation is not None:
            relation = replace(relation, column=exactly(relation.column, relation.close))
            found[column.name] = relation.rounded_as(values, known)
            needed |= set(relation.inputs)
            left.remove(column)
    return [*found.values()]


@threadpool_limits.wrap(limits=1, user_api="blas")
def near(
    columns: Sequence[Column], values: Rows, other: Collection[str], stated: Mapping[str, Formula]
) -> tuple[Near, ...]:
    """Columns, but for those that are seen otherwise, that are formulas of others up to a remainder: as stated, or
    found, so that held-out rows are likelier for it; of several that follow from each other, the one that gains most.
    In this order none is computed from a later one."""
    kinds = {column.name: kind for column in columns if (kind := scale_of(column)) is not None}
    known = {column.name: column for column in columns if column.name in kinds}
    some = {name: values[name][:: len(values[name]) // MOST + 1] for name in known}
    random, scales = np.random.default_rng(0), on_scales([*known.values()], values)
    points = {name: kind.spread(some[name], random) for name, kind in kinds.items()}
    seen = {name: mapped(kind, points[name])[0] for name, kind in kinds.items()}
    found, left_out = dict[str, Near](), set[tuple[str, Formula]]()

    @cache
    def sought(name: str, *inputs: str) -> list[Formula]:
        others, y = [known[each] for each in inputs], scales[name]
        able = (_rounded(each, known[name], scales) for each in _formulas(known[name], y, others, scales))
        own = [stated[name]] if name in stated else able
        return [formula for formula in own if {*formula.inputs} <= {*inputs}]

    @cache
    def gain(name: str, formula: Formula, inputs: tuple[str, ...], by_remainder: frozenset[str]) -> float:
        return _gain(known[name], formula, some, known, points[name], np.array([seen[each] for each in inputs]))

    def ranked() -> Iterator[tuple[float, str, Formula]]:
        for name in (each for each in known if each not in found and (each in stated or each not in other)):
            able = sought(name, *(each for each in known if name not in sources([each], found)))
            inputs = sources({each for formula in able for each in formula.inputs}, found)
            told = tuple(sorted(inputs)), frozenset(inputs & found.keys())
            for formula in (each for each in able if (name, each) not in left_out):
                yield np.inf if name in stated else gain(name, formula, *told), name, formula

    while (best := max(ranked(), key=lambda each: each[0], default=None)) is not None and best[0] > 0:
        _, name, formula = best
        relation = _near(known[name], formula, values, known, name in stated)
        if relation is None:
            left_out.add((name, formula))
        else:
            left = points[name] - some[name] + _rest(known[name], formula, some, known)
            found[name], seen[name] = relation, mapped(relation.remainder, left)[0]
    return tuple(sorted(found.values(), key=lambda relation: len(sources(relation.inputs, found))))


def _exact(column: Column, others: Sequence[Column], scales: Mapping[str, Numbers]) -> Iterator[Determined]:
    """What a column may be in every row: a sum of any number of others, or of what is there of them; or, unless it has
    few values, any formula."""
    y, whole = scales[column.name], [other for other in others if not other.holes.share]
    if len(whole) < len(others) and not column.holes.share:
        sums = _totals(Added(column), y, {other.name: np.nan_to_num(scales[other.name]) for other in others})
        yield from (each for each in sums if not {*each.inputs} <= {other.name for other in whole})
    for some in [others, whole] if len(whole) < len(others) else [others]:
        yield from _totals(Determined(column), y, {other.name: scales[other.name] for other in some})
    if not 0 < column.classes <= FEW:  # those with more are on no common scale, as squares are
        yield from (Determined(column, f.inputs, f) for f in _formulas(column, y, others, scales))


def _totals(own: Determined, y: Numbers, others: Mapping[str, Numbers]) -> Iterator[Determined]:
    """The only sum of multiples of any number of columns that y may be where none is missing, in ever more digits."""
    step = own.column.kind.resolution
    rows = np.flatnonzero(~np.isnan(sum(others.values(), y)))
    x = y[rows]
    if not others or (len(x) < len(y) and len(x) <= max(2 * len(others), FEWEST)) or not x.std() > 0:
        return
    slack = step / x.std()  # rounding after the addition, which the other columns seem to explain in part
    slack = 1e-6 + (slack if slack < 0.05 else 0.0)
    for most in (2 * len(others) + FEWEST, FIRST, len(x)):  # for most columns, a few rows rule out a sum
        design = np.stack([other[rows[:most]] for other in others.values()], 1)
        z = (design - design.mean(0)) / np.maximum(design.std(0), 1e-300)
        target = (x[:most] - x[:most].mean()) / x.std()
        weights = np.linalg.lstsq(z, target, rcond=1e-10)[0]
        if np.abs(z @ weights - target).max() > slack:
            return
    order = [j for j, weight in enumerate(weights) if abs(weight) > 1e-3]
    if not 0 < len(order) <= min(MOST_INPUTS, len(x) // 10):
        return
    points, times = np.unique(design[:, order], axis=0, return_counts=True)
    free = len(points) <= len(order) + 1 and times.min() == 1  # as many weights as points, one of them of a single row
    if free and not (len(order) == 1 and np.array_equal(x, design[:, order[0]])):  # a copy needs no more
        return
    chosen = np.linalg.lstsq(z[:, order], target, rcond=None)[0] * x.std() / design[:, order].std(0)
    names = tuple([*others][j] for j in order)
    for digits in (3, 6, 9, 17):
        either = [float(f"{w:.{digits}g}") for w in chosen], [1 / float(f"{1 / w:.{digits}g}") for w in chosen]
        short = min(either, key=lambda weights: np.ptp(x - design[:, order] @ weights))  # as 1/60, of minutes
        rest = x - design[:, order] @ short
        terms = tuple((w, ((name, 1.0),)) for w, name in zip(short, names, strict=True))
        relation = replace(own, inputs=names, close=Dependency.close)
        room = max(HALF * step, relation.slack)
        low, high, down = float(rest.max()) - room, float(rest.min()) + room, (HALF - 1) * step
        cut = low <= down < high <= 0  # the whole part, as tools cut numbers and times off
        yield replace(relation, formula=Formula(terms, down if cut else shortest(low, high)))


def _formulas(column: Column, y: Numbers, others: Sequence[Column], scales: Mapping[str, Numbers]) -> Iterator[Formula]:
    """Formulas of other columns that y obeys in most rows, and seasons; ``scales`` holds the amounts of those that have
    some. First of those that have a value wherever y has: in a table with many holes, few rows have all."""
    able = [other for other in others if other.name in scales]
    there = ~np.isnan(y)
    beside = [other for other in able if not np.isnan(scales[other.name][there]).any()]
    found = [*_of_some(column, y, beside, scales)]
    if not found and len(beside) < len(able):
        found = [*_of_some(column, y, able, scales)]
    yield from (*found, *_seasons(y, others, scales))


def _of_some(column: Column, y: Numbers, others: Sequence[Column], scales: Mapping[str, Numbers]) -> Iterator[Formula]:
    """Formulas of columns of numbers that y obeys in most of the rows that have all of them."""
    names = [other.name for other in others]
    table = np.stack([y, *[scales[name] for name in names]])
    table = table[:, ~np.isnan(table).any(0)][:, :SEARCHED]
    if table.shape[1] >= FEWEST and names:
        y, columns, step = table[0], table[1:], column.kind.resolution
        plain, least = [((name, 1.0),) for name in names], columns.min(1)
        bent = np.where(least > 0, *LOGARITHMS)[least >= 0].tolist()
        logs = zip(zip(itertools.compress(names, least >= 0), bent, strict=True))
        every = np.log(columns[least >= 0] + (least == 0)[least >= 0, None])
        exact = [*_sums(y, np.concatenate([columns, every]), [*plain, *logs], step)]
        yield from exact
        dated = column.reading.day > 0
        alike = [(other.reading.day > 0) == dated for other in others]  # a date is not a size
        if exact or not any(alike):
            return
        columns, names, plain = columns[alike], [*itertools.compress(names, alike)], [*itertools.compress(plain, alike)]
        if not dated:
            yield from _products(y, columns, names)
        yield from _close_sums(y, columns, plain)
        beside = None if dated or len(names) > MOST_INPUTS else _with_products(y, columns, names)
        if beside is not None:
            sums = *_sums(y, *beside, step), *_close_sums(y, *beside)
            points = {f: columns[[names.index(name) for name in f.inputs]] for f in sums}  # few of them fit any
            yield from (f for f, x in points.items() if len(np.unique(x, axis=1).T) > POINTS * len(f.terms))


def _with_products(y: Numbers, table: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list[Product]] | None:
    """The columns, and the products of two or three of them that tell most of what their multiples leave of y; nothing
    if these leave much, too.

    Reference:
        Pati, Rezaiifar, Krishnaprasad (1993), Orthogonal matching pursuit.
    """
    rows = slice(None, None, len(y) // FEW_ROWS + 1)
    x = table[:, rows] / np.maximum(np.abs(table).max(1, keepdims=True), 1e-300)
    terms: list[tuple[int, ...]] = [*itertools.combinations(range(len(x)), 1)]
    values, (first, second) = x - x.mean(1, keepdims=True), np.triu_indices(len(x), 1)
    basis = np.linalg.qr(np.column_stack([np.ones(x.shape[1]), *x]))[0]
    left = y[rows] - basis @ (basis.T @ y[rows])
    least = min(FAR * CLOSE * y.std(), PRODUCTS * left.std())
    while first.size and len(terms) < len(x) + MOST_PRODUCTS:
        beside = values[first] * values[second]
        beside -= (beside @ basis) @ basis.T  # what the basis tells of the products
        beside /= np.maximum(np.sqrt(np.square(beside).sum(1, keepdims=True)), ROUNDING)
        told = beside @ left
        best = int(np.abs(told).argmax())
        if told[best] ** 2 < TELLS * left @ left:
            break
        basis, left = np.column_stack([basis, beside[best]]), left - told[best] * beside[best]
        term = terms[first[best]] + terms[second[best]]
        more = np.array([j for j in range(len(x)) if j not in term and len(term) < MOST_FACTORS], int)
        first, second = np.append(first, np.full_like(more, len(terms))), np.append(second, more)
        product = x[[*term]].prod(0)
        terms, values = [*terms, term], np.stack([*values, product - product.mean()])
    if len(terms) == len(x) or left.std() >= least:
        return None
    factors = [tuple((names[j], 1.0) for j in term) for term in terms]
    return np.stack([table[[*term]].prod(0) for term in terms]), factors


def _sums(y: Numbers, columns: np.ndarray, factors: Sequence[Product], step: float) -> Iterator[Formula]:
    """A sum of multiples of few columns, their logarithms or products, exact up to rounding in most rows."""
    tolerance = _rounding(y, step)
    if y.std() < WIDE * tolerance:
        return
    common = np.unique(y, return_counts=True)[1].max() / len(y)  # of a column that has one value in most rows
    least = HOLDS + (1 - HOLDS) * common
    for chosen, beta in best_subsets(columns, y, MOST_TERMS):
        if np.mean(np.abs(y - columns[chosen].T @ beta[:-1] - beta[-1]) <= tolerance) < least:
            continue
        sway = np.abs(beta[:-1]) * columns[chosen].std(1)
        own, alike = beta[:-1][sway > tolerance], np.sign(beta[:-1]) * abs(beta[sway.argmax()])  # as of a mean
        chosen = [j for j, some in zip(chosen, sway > tolerance, strict=True) if some]
        found = list[tuple[float, Formula]]()
        for digits, sizes in itertools.product((1, 2, 3, 6), (alike[sway > tolerance], own)) if chosen else ():
            weights = [float(f"{w:.{digits}g}") for w in sizes]
            rest = y - columns[chosen].T @ np.array(weights)
            offset = _commonest(rest, tolerance, ROUNDING * float(np.abs(y).max()))
            terms = tuple((w, factors[j]) for w, j in zip(weights, chosen, strict=True))
            found.append((np.mean(np.abs(rest - offset) <= tolerance), Formula(terms, offset)))
        most = max((share for share, _ in found), default=0.0)
        if most >= least:  # in as few digits as hold in as many rows
            yield next(formula for share, formula in found if share >= max(least, most - FEWER))
        return


def _close_sums(y: Numbers, table: np.ndarray, factors: Sequence[Product]) -> Iterator[Formula]:
    """The sum of multiples of fewest columns that leaves a remainder which is small beside the column's spread."""
    spread, as_well = float(np.median(np.abs(y - np.median(y)))), 1 + AS_WELL / np.sqrt(len(y))
    whole = np.column_stack([*table, np.ones(len(y))])
    left = y - whole @ np.linalg.lstsq(whole, y, rcond=None)[0]
    if np.median(np.abs(left)) > FAR * CLOSE * spread:  # no few columns leave little where all of them do not
        return
    for chosen, beta in best_subsets(table, y, MOST_TERMS):
        best = float(np.median(np.abs(y - table[chosen].T @ beta[:-1] - beta[-1])))
        if not best < CLOSE * spread:
            continue
        for digits in (1, 2, 3, 6):
            weights = [float(f"{w:.{digits}g}") for w in beta[:-1]]
            rest = y - table[chosen].T @ np.array(weights)
            middle = float(np.median(rest))
            if np.median(np.abs(rest - middle)) <= as_well * best:
                terms = tuple((w, factors[j]) for w, j in zip(weights, chosen, strict=True) if w)
                yield Formula(terms, shortest(middle - best / 8, middle + best / 8))
                return


def _rounding(y: Numbers, step: float) -> float:
    """How far values may be from a formula that holds. A few huge ones do not make all the others alike."""
    usual = float(np.median(np.abs(y[y != 0]))) if y.any() else 0.0
    single = (y % 1 != 0).any() and np.isclose(y, y.astype(np.float32), rtol=1e-12, atol=0).all()
    return max(0.501 * step, ROUNDING * min(float(y.std()), usual), SINGLE * usual * single)


def _products(y: Numbers, table: np.ndarray, names: Sequence[str]) -> Iterator[Formula]:
    """A positive column as products of powers, simple if these do as well, of ever more other positive ones, up to a
    small relative remainder."""
    rows = np.stack([y, *table])
    rows = rows[:, (rows[(rows > 0).mean(1) > POSITIVE] > 0).all(0)]
    logs = np.log(np.where(rows > 0, rows, 1.0))
    usable = (rows.min(1) > 0) & (logs.std(1) > LEAST)
    positive = np.flatnonzero(usable[1:]).tolist()
    if not positive or not usable[0] or rows.shape[1] < FEWEST:
        return
    target, logs, as_well = logs[0], logs[1:][positive], 1 + AS_WELL / np.sqrt(rows.shape[1])
    for chosen, beta in best_subsets(logs, target, MOST_FACTORS):
        best = float(np.median(np.abs(target - logs[chosen].T @ beta[:-1] - beta[-1])))
        if best > min(CLOSE, NARROW * np.median(np.abs(target - np.median(target)))):
            continue
        simple = POWERS[np.abs(POWERS[:, None] - beta[:-1]).argmin(0)]
        for powers in (simple, beta[:-1].round(2), beta[:-1].round(3)):
            rest = target - logs[chosen].T @ powers
            middle = float(np.median(rest))
            if abs(middle) > LARGEST:  # of columns one of which follows from the others: any powers fit
                continue
            sizes = [float(f"{np.exp(middle):.{digits}g}") for digits in (1, 2, 3, 6)]
            off = [float(np.median(np.abs(rest - np.log(size)))) for size in sizes]
            if off[-1] <= as_well * best + ROUNDING and np.abs(powers).min() >= LEAST_POWER:
                size = next(size for size, each in zip(sizes, off, strict=True) if each <= as_well * off[-1] + ROUNDING)
                factors = zip([names[positive[j]] for j in chosen], powers.tolist(), strict=True)
                yield Formula(((size, tuple(factors)),))
                break


def _seasons(y: Numbers, others: Sequence[Column], scales: Mapping[str, Numbers]) -> Iterator[Formula]:
    """The waves that a column follows along one of dates that run for two periods or more, beside a trend."""
    for date in (other for other in others if other.reading.day):
        day, rows = date.reading.day, np.stack([y, scales[date.name]])
        target, t = rows[:, ~np.isnan(rows).any(0)][:, :: len(y) // MOST + 1]
        if len(t) < FEWEST_DATES:
            continue
        lengths = [days * day for days in SEASONS if 2 * days * day <= np.ptp(t)]
        periods = np.array([length / k for length in lengths for k in range(1, HARMONICS + 1)])
        turns = np.exp(2j * np.pi * t / periods[:, None])
        trend = np.stack([np.ones(len(t)), (t - t.mean()) / max(np.ptp(t), 1)])
        waves = np.stack([turns.real, turns.imag], 1)  # (periods, 2, rows)
        basis, left = np.linalg.qr(np.concatenate([trend, *waves]).T)  # each beside those before
        told = basis.T @ target
        noise = (target - basis @ told).std()
        own, height = (np.hypot(*x[2:].reshape(-1, 2).T) for x in (left.diagonal(), told))
        clear = (own > 0.1 * np.sqrt(len(t))) & (height > CLEAR * noise)  # on working days, some are others' sums
        design, periods = np.concatenate([trend, *waves[clear]]).T, periods[clear]
        cosines, sines = np.linalg.lstsq(design, target, rcond=1e-6)[0][2:].reshape(-1, 2).T
        ends = np.arctan2(sines, cosines) / (2 * np.pi) * periods
        found = np.stack([np.hypot(cosines, sines), periods, ends], 1).tolist()
        if found:
            yield Formula((), waves=tuple((height, date.name, period, end) for height, period, end in found))


def _rounded(formula: Formula, column: Column, scales: Mapping[str, Numbers]) -> Formula:
    """The formula rounded as the column is, if that is what makes it exact in most rows."""
    if not column.kind.step or not formula.terms:
        return formula
    rounded, y = replace(formula, grid=(column.kind.origin, column.kind.step)), scales[column.name]
    whole, plain = (np.abs(y - each(scales)) < 1e-3 * column.kind.step for each in (rounded, formula))
    return rounded if whole.mean() > max(HOLDS, 2 * plain.mean()) else formula


def _commonest(rest: Numbers, tolerance: float, noise: float) -> float:
    """The shortest number that as many remainders as possible differ from by rounding alone; 0 if as many do, or if it
    is no more than noise."""
    x = np.sort(rest)
    end = np.searchsorted(x, x + 1.99 * tolerance, side="right")  # of neighbours on a grid, only one
    first = int((end - np.arange(len(x))).argmax())
    found = shortest(x[end[first] - 1] - tolerance, x[first] + tolerance)
    fewer = np.mean(np.abs(x) <= tolerance) < (end[first] - first) / len(x) - FEWER
    return found if fewer and abs(found) > noise else 0.0


def _near(column: Column, formula: Formula, values: Rows, known: Columns, stated: bool) -> Near | None:
    """The relation, if the remainder has a density wherever it should."""
    y, rest = values[column.name], _rest(column, formula, values, known)
    there, step = ~np.isnan(rest), column.kind.step
    lost = ~there & ~np.isnan([y, *amounts_in(formula.inputs, values, known).values()]).any(0)
    if there.sum() < 2 or (lost.any() and not stated) or np.ptp(rest[there]) == 0 == step:  # a point has no density
        return None
    kind, holed = _kind(column, rest[there]), any(known[name].holes.share for name in (column.name, *formula.inputs))
    if not _reaches(kind, column.kind, y[there], rest[there], holed):
        return None
    return Near(column.name, formula, kind, float(np.mean(np.abs(rest[there]) <= _rounding(y[there], step))), stated)


def _rest(column: Column, formula: Formula, values: Rows, known: Columns) -> Numbers:
    """What a formula leaves of a column."""
    y, step = values[column.name], column.kind.step
    rest = y - formula(amounts_in(formula.inputs, values, known))
    noise = Dependency.close * np.maximum(np.abs(y), np.nanmedian(np.abs(y)))  # that it may seem to have a scale of
    return np.asarray(np.round(rest / step, 6) * step if step else np.where(np.abs(rest) <= noise, 0.0, rest))


def _kind(column: Column, x: Numbers) -> Numeric:
    hints = Hints(name=column.name, scale=True)
    if np.ptp(x) == 0:  # all that is left is a cell, or rounding
        low, high = column.kind.ends
        x = x[0] + (column.kind.step or ROUNDING * (high - low)) * np.linspace(-0.5, 0.5, FEWEST)
        return Number.of(x).mapped(pl.Series(x), hints)
    either = np.concatenate([x, -x]) if x.min() == 0 else x  # slips that were not seen may be below 0
    return numbers_kind(pl.Series(either), hints).shaped(x, np.ones(len(x)))


def _reaches(kind: Numeric, own: Kind, y: Numbers, rest: Numbers, holed: bool) -> bool:
    """Whether the remainder's first map has a place for the cells of the column's values, and for draws in holes."""
    ends = [rest[y == value][:, None] + [low, low + 0.999 * width] for value, low, width in own.atoms]
    far = holed * (np.ptp(y) + np.ptp(y - rest))  # of any value and any of the formula
    ends.append(rest[:, None] + (0.499 * own.step + far) * np.array([-1, 1]))
    return all(bool(kind.first_map()(torch.from_numpy(end))[0].isfinite().all()) for end in ends)


def _gain(column: Column, formula: Formula, values: Rows, known: Columns, points: Numbers, inputs: np.ndarray) -> float:
    """What held-out rows gain from the remainder in the place of the column itself, beside its inputs as they are seen,
    in nats a row, beyond what they must; 0 if that is not clear."""
    x, rest = values[column.name], _rest(column, formula, values, known)
    there = np.isfinite(rest)
    if there.sum() < FEWEST or np.ptp(rest[there]) == 0 == column.kind.step:
        return 0.0
    half = learnt(int(there.sum()))

    def beside_inputs(y: Numbers) -> Seen:
        z, log_slope = mapped(_kind(column, y[there][half]), (y - x + points)[there])
        return np.column_stack([*inputs[:, there], z]), log_slope

    return gained(beside_inputs(rest), beside_inputs(x), GAIN * len(formula.inputs))
