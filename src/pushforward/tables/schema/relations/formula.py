"""Formulas of columns: sums, products, ratios, powers, logarithms; where they hold exactly, and up to a remainder."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ....numerics.robust import pursuit
from ....transforms.remainder import Remainder
from ..columns import Column
from ..kinds.base import Atom, Hints, Numbers
from ..kinds.numeric import Number, Numeric
from ..kinds.quantity import numbers_kind
from ..saved import Saved
from .base import Columns, Dependency, Relation, Rows, on_scales

Factor = tuple[str, float]  # a column and its power
Term = tuple[float, tuple[Factor, ...]]  # a weight and the factors of a product
Wave = tuple[float, str, float, float]  # a height, a column of dates, a period and when in it the wave is highest

FEWEST = 50  # rows
SEARCHED = 1000  # rows in which a formula is searched
MOST_TERMS, MOST_FACTORS = 4, 3
LOGARITHM = 0.0  # the power that stands for the logarithm, as in the family of Box and Cox
HIGHEST = 3.0  # power
HOLDS = 0.5  # share of the rows in which a sum with slips holds
WIDE = 20.0  # times the rounding of a column that its spread must be for a sum with slips to mean something
ROUNDING = 1e-6  # of a column's spread: of formulas that were computed in float32
CLOSE = 0.02  # median relative remainder of a product
LEAST = 1e-3  # standard deviation of the logarithm of one of its factors
SEASONS, HARMONICS = (365.2425, 7.0, 1.0), 3  # days; waves of each
FEWEST_DATES, MOST_DATES, CLEAR = 200, 5000, 4.0  # rows in which seasons are sought; standard errors of a wave
GAIN = 0.05  # nats a row, beyond two standard errors, that held-out rows must gain from a remainder


@dataclass(frozen=True)
class Formula(Saved):
    r"""m(x), a sum of waves and of weighted products of powers of columns, :math:`b + \sum_k w_k \prod_i x_i^{p_{ki}}`.

    Args:
        terms: Each a weight w, and the columns of its product with their powers p; the power 0 is the logarithm.
        offset: b.
        waves: What changes with the season, the weekday, the hour.
    """

    terms: tuple[Term, ...]
    offset: float = 0.0
    waves: tuple[Wave, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that m is computed from."""
        names = [name for _, factors in self.terms for name, _ in factors] + [name for _, name, _, _ in self.waves]
        return tuple(dict.fromkeys(names))

    def __call__(self, amounts: Mapping[str, Numbers]) -> Numbers:
        """m of columns of numbers; NaN where it is not defined."""
        with np.errstate(all="ignore"):
            terms = [w * np.prod([_power(amounts[name], p) for name, p in factors], 0) for w, factors in self.terms]
        terms += [a * np.cos(2 * np.pi / period * (amounts[name] - at)) for a, name, period, at in self.waves]
        total = np.sum(terms, 0) + self.offset
        return np.where(np.isfinite(total), total, np.nan)

    def __str__(self) -> str:
        """The formula as a user would state it, and seasons in words."""
        dates = dict.fromkeys(name for _, name, _, _ in self.waves)
        seasons = [f"+ what is usual in the season of {name!r}" for name in dates]
        offset = [] if self.offset == 0 and (self.terms or self.waves) else [(self.offset, ())]
        said = [*(_said(*term) for term in self.terms), *seasons, *(_said(*term) for term in offset)]
        return " ".join(said).removeprefix("+ ")


class Computed(Dependency):
    """A column that is a formula of others."""

    @property
    @abstractmethod
    def formula(self) -> Formula:
        """m."""

    @property
    def solvable(self) -> tuple[str, ...]:
        """The inputs that m has once."""
        names = [name for _, factors in self.formula.terms for name, _ in factors]
        return tuple(name for name in self.inputs if names.count(name) == 1)

    def solved(self, name: str, y: Numbers, amounts: Mapping[str, Numbers]) -> Numbers:
        """The amount of an input at which the column's is y, given those of the others; of an even power, the positive
        root."""
        terms = self.formula.terms
        ((weight, factors),) = (term for term in terms if name in dict(term[1]))
        others = replace(self.formula, terms=tuple(term for term in terms if name not in dict(term[1])))
        own = Formula(((weight, tuple(factor for factor in factors if factor[0] != name)),))
        power = dict(factors)[name]
        with np.errstate(all="ignore"):
            rest = (y - others(amounts)) / own(amounts)
            return np.exp(rest) if power == LOGARITHM else np.sign(rest) * np.abs(rest) ** (1 / power)

    def rest(self, found: Numbers, values: Rows, columns: Columns) -> dict[str, Numbers]:
        amounts = _amounts(self.inputs, values, columns)
        holes = {name: np.isnan(x) for name, x in amounts.items()}
        alone = sum(holes.values(), start=np.zeros(len(found), int)) == 1
        y, left = self.column.kind.amounts(found), [name for name in self.solvable if (holes[name] & alone).any()]
        each = {name: _possible(columns[name], self.solved(name, y, amounts)) for name in left}
        return {name: np.where(holes[name] & alone, x, np.nan) for name, x in each.items()}

    def __str__(self) -> str:
        return f"{self.column.name!r} is {self.formula}"


@dataclass(frozen=True, repr=False)
class Determined(Computed):
    """A column that is m of others in every row, up to the rounding of its values.

    Args:
        formula: m.
        stated: Whether the user stated it: it then stays, whatever later rows say.
    """

    formula: Formula = Formula(())
    stated: bool = False

    def computed(self, values: Rows, columns: Columns) -> Numbers:
        return self.column.kind.snap(self.formula(_amounts(self.formula.inputs, values, columns)))

    def broken(self, found: Numbers, values: Rows, columns: Columns) -> np.ndarray:
        """If two neighbours on the grid are equally near to m, either is accepted."""
        off = np.abs(found - self.formula(_amounts(self.formula.inputs, values, columns)))
        low, high = self.column.kind.ends
        return ~np.isnan(off) & (off > 0.5 * self.column.kind.step + ROUNDING * max(high - low, abs(high)))

    def holds(self, values: Rows, columns: Columns) -> bool:
        """Whether the column is m in every row, and missing where m is."""
        found = values[self.column.name]
        whole = np.isnan(self.computed(values, columns)) == np.isnan(found)
        return bool(whole.all() and not self.broken(found, values, columns).any())


@dataclass(frozen=True, repr=False)
class Near(Relation):
    """A column that is m of others up to a remainder, which the flow sees in its place.

    Args:
        name: The column.
        formula: m.
        remainder: The kind of the remainder, whose first map is used.
        share: Share of the training rows in which the remainder is no more than rounding.
        stated: Whether the user stated it.
    """

    name: str
    formula: Formula
    remainder: Numeric
    share: float
    stated: bool = False

    def transform(self, columns: Sequence[Column]) -> Remainder:
        """x_j - m(x) as a transform of encoded rows."""
        places = {column.name: j for j, column in enumerate(columns)}
        inputs = [(places[name], columns[places[name]].kind) for name in self.formula.inputs]
        bent = {name for _, factors in self.formula.terms for name, p in factors if p <= 0 or p % 1}
        return Remainder(
            places[self.name],
            [(w, [(places[name], p) for name, p in factors]) for w, factors in self.formula.terms],
            self.formula.offset,
            waves=[(a, places[name], period, at) for a, name, period, at in self.formula.waves],
            grids=[(j, kind.origin, kind.step) for j, kind in inputs if kind.step],
            cells=[(j, sorted(kind.atoms)) for j, kind in inputs if kind.atoms],
            floors=[(j, 0.5 * kind.ends[0]) for j, kind in inputs if columns[j].name in bent],
        )

    def left(self, x: Tensor, columns: Sequence[Column]) -> Tensor:
        """The remainders of encoded rows ``(n, features)``."""
        transform = self.transform(columns)
        return transform(x)[0][:, transform.feature]

    def __str__(self) -> str:
        exactly = f", exactly so in {self.share:.0%} of the rows" if self.share > HOLDS else ""
        return f"{self.name!r} is about {self.formula}{exactly}"


def determined(columns: Sequence[Column], values: Rows, free: Collection[str]) -> list[Dependency]:
    """Columns, but for the free ones, that are formulas of others in every row."""
    left, relations = list(columns), list[Dependency]()
    needed, scales, known = set(free), on_scales(columns, values), {column.name: column for column in columns}
    for earlier, column in itertools.product((True, False), columns):  # what comes later follows from what comes before
        if column.name in needed or column.classes or column not in left:
            continue
        others = left[: left.index(column)] if earlier else [other for other in left if other is not column]
        y = column.kind.amounts(values[column.name])
        exact = (Determined(column, f.inputs, f) for f in _formulas(column, y, others, scales))
        relation = next((each for each in exact if each.holds(values, known)), None)
        if relation is not None:
            relations.append(relation)
            needed |= set(relation.inputs)
            left.remove(column)
    return relations


def near(
    columns: Sequence[Column], values: Rows, other: Collection[str], stated: Mapping[str, Formula]
) -> tuple[Near, ...]:
    """Columns, but for those that are seen otherwise, that are formulas of others up to a remainder: as stated, or
    found, so that held-out rows are likelier for it. In this order none is computed from a later one."""
    found: list[Near] = []
    below: dict[str, set[str]] = {column.name: set() for column in columns}
    numbers, scales = [column for column in columns if is_scale(column)], on_scales(columns, values)
    wanted = [column for column in numbers if column.name in stated or column.name not in other]
    for column in sorted(wanted, key=lambda each: each.name not in stated):  # those that are stated come first
        others = [each for each in numbers if each is not column and column.name not in below[each.name]]
        own = stated.get(column.name)
        y = scales[column.name]
        sought = itertools.chain(_formulas(column, y, others, scales), _seasons(y, others, scales))
        usual = iter([own]) if own is not None else sought
        for formula in (each for each in usual if {*each.inputs} <= {other.name for other in others}):
            relation = _near(column, formula, columns, values, own is not None)
            if relation is not None:
                found.append(relation)
                below[column.name] = set(formula.inputs).union(*(below[name] for name in formula.inputs))
                break
    return tuple(sorted(found, key=lambda relation: len(below[relation.name])))


def is_scale(column: Column) -> bool:
    """Whether a column holds numbers of a scale that has no period."""
    return isinstance(column.kind, Numeric) and column.kind.circle is None


def _formulas(column: Column, y: Numbers, others: Sequence[Column], scales: Mapping[str, Numbers]) -> Iterator[Formula]:
    """Formulas of other columns that y obeys in most rows; ``scales`` holds the amounts of those that have some."""
    names = [other.name for other in others if other.name in scales]
    table = np.stack([y, *(scales[name] for name in names)])
    table = table[:, ~np.isnan(table).any(0)][:, :SEARCHED]
    if table.shape[1] < FEWEST or not names:
        return
    for found in (partial(_sum, step=column.kind.step), _product):
        formula = found(table[0], table[1:], names)
        if formula is not None:
            yield formula


def _sum(y: Numbers, table: np.ndarray, names: Sequence[str], step: float) -> Formula | None:
    """A sum of multiples of few columns or of their logarithms, exact up to rounding in most rows."""
    tolerance = max(0.501 * step, ROUNDING * float(y.std()))
    if y.std() < WIDE * tolerance:
        return None
    factors = [(name, 1.0) for name in names]
    factors += [(name, LOGARITHM) for name, x in zip(names, table, strict=True) if x.min() > 0]
    columns = np.stack([_power(table[names.index(name)], p) for name, p in factors])
    common = np.unique(y, return_counts=True)[1].max() / len(y)  # of a column that has one value in most rows
    least = HOLDS + (1 - HOLDS) * common
    for chosen, beta in pursuit(columns, y, MOST_TERMS):
        if np.mean(np.abs(y - columns[chosen].T @ beta[:-1] - beta[-1]) <= tolerance) < least:
            continue
        matters = np.abs(beta[:-1]) * columns[chosen].std(1) > tolerance
        chosen = [j for j, some in zip(chosen, matters, strict=True) if some]
        for digits in (1, 2, 3, 6) if len(chosen) == 1 else (1, 2):
            weights = [float(f"{w:.{digits}g}") for w in beta[:-1][matters]]
            rest = y - columns[chosen].T @ np.array(weights)
            offset = _commonest(rest, step, tolerance)
            if chosen and np.mean(np.abs(rest - offset) <= tolerance) >= least:
                return Formula(tuple((w, (factors[j],)) for w, j in zip(weights, chosen, strict=True)), offset)
        break
    return None


def _product(y: Numbers, table: np.ndarray, names: Sequence[str]) -> Formula | None:
    """A positive column as a product of simple powers of few other positive ones, up to a small relative remainder."""
    rows = np.stack([y, *table])
    logs = np.log(np.where(rows > 0, rows, 1.0))
    usable = (rows.min(1) > 0) & (logs.std(1) > LEAST)
    positive = np.flatnonzero(usable[1:]).tolist()
    if not positive or not usable[0]:
        return None
    target, logs = logs[0], logs[1:][positive]
    for chosen, beta in pursuit(logs, target, MOST_FACTORS):
        powers = [round(2 * p) / 2 if abs(round(2 * p) / 2 - p) < 0.03 else float(p) for p in beta[:-1]]
        rest = target - logs[chosen].T @ np.array(powers)
        middle = float(np.median(rest))
        if np.median(np.abs(rest - middle)) > min(CLOSE, 0.1 * float(target.std())):
            continue
        if powers == [1.0] or 0 in powers or any(2 * p % 1 or abs(p) > HIGHEST for p in powers):
            return None  # a line is learnt; and correlated columns make any other by odd powers
        weight = float(f"{np.exp(middle):.3g}")
        weight = weight if abs(np.log(weight) - middle) < 1e-3 else float(f"{np.exp(middle):.6g}")
        return Formula(((weight, tuple((names[positive[j]], p) for j, p in zip(chosen, powers, strict=True))),))
    return None


def _seasons(y: Numbers, others: Sequence[Column], scales: Mapping[str, Numbers]) -> Iterator[Formula]:
    """The waves that a column follows along one of dates that run for two periods or more, beside a trend."""
    for date in (other for other in others if other.reading.dtype in ("Date", "Datetime")):
        day, rows = 1.0 if date.reading.dtype == "Date" else 86_400.0, np.stack([y, scales[date.name]])
        target, t = rows[:, ~np.isnan(rows).any(0)][:, :: len(y) // MOST_DATES + 1]
        if len(t) < FEWEST_DATES:
            continue
        lengths = [days * day for days in SEASONS if 2 * days * day <= np.ptp(t)]
        periods = np.array([length / k for length in lengths for k in range(1, HARMONICS + 1)])
        turns = np.exp(2j * np.pi * t / periods[:, None])
        periods, turns = periods[turns.std(1) > 0.1], turns[turns.std(1) > 0.1]  # others are one value, as of Mondays
        design = np.stack([np.ones(len(t)), (t - t.mean()) / max(np.ptp(t), 1), *turns.real, *turns.imag], 1)
        beta = np.linalg.lstsq(design, target, rcond=None)[0]
        cosines, sines = beta[2:].reshape(2, -1)
        heights, ends = np.hypot(cosines, sines), np.arctan2(sines, cosines) / (2 * np.pi) * periods
        clear = heights > CLEAR * (target - design @ beta).std() * np.sqrt(2 / len(t))
        found = np.stack([heights, periods, ends], 1)[clear].tolist()
        if found:
            yield Formula((), waves=tuple((height, date.name, period, end) for height, period, end in found))


def _commonest(rest: Numbers, step: float, tolerance: float) -> float:
    """The commonest remainder, in whole steps if there are steps; 0 within the tolerance."""
    if step:
        found, counts = np.unique(np.round(rest / step), return_counts=True)
        return float(f"{found[counts.argmax()] * step:.12g}")
    middle = float(np.median(rest))
    return float(f"{middle:.6g}") if abs(middle) > tolerance else 0.0


def _near(column: Column, formula: Formula, columns: Sequence[Column], values: Rows, stated: bool) -> Near | None:
    """The relation, if it is stated or held-out rows gain from it."""
    known = {each.name: each for each in columns}
    kinds = {each.name: each.kind for each in columns if isinstance(each.kind, Numeric)}
    y = values[column.name]
    amounts = _amounts(formula.inputs, values, known)
    rest = y - formula(amounts)
    there = ~np.isnan(rest)
    if there.sum() < (2 if stated else FEWEST):
        return None
    step = column.kind.step
    slack = max(0.501 * step, ROUNDING * float(y[there].std()))
    rest = np.round(rest / step, 6) * step if step else rest
    if not step and np.ptp(rest[there]) == 0:  # a point, which has no density
        return None
    kind = _kind(column, rest[there])
    if not _reaches(kind, column.kind.atoms, y[there], rest[there]):
        return None
    known_inputs = np.stack([mapped(kinds[name], x[there])[0] for name, x in amounts.items()])
    if not stated and not _gains(column, y[there], rest[there], known_inputs):
        return None
    return Near(column.name, formula, kind, float(np.mean(np.abs(rest[there]) <= slack)), stated)


def _kind(column: Column, x: Numbers) -> Numeric:
    hints = Hints(name=column.name, scale=True)
    if np.ptp(x) == 0:  # all that is left is a cell, or rounding
        low, high = column.kind.ends
        x = x[0] + (column.kind.step or ROUNDING * (high - low)) * np.linspace(-0.5, 0.5, FEWEST)
        return Number.of(x).mapped(pl.Series(x), hints)
    kind = numbers_kind(pl.Series(x), hints)
    found = kind.shaped(x, np.ones(len(x)))
    assert isinstance(found, Numeric)
    return found


def _reaches(kind: Numeric, atoms: Sequence[Atom], y: Numbers, rest: Numbers) -> bool:
    """Whether the remainder's first map has a place for the cells of the column's values that stand out."""
    ends = [rest[y == value][:, None] + [low, low + 0.999 * width] for value, low, width in atoms]
    return all(bool(kind.first_map()(torch.from_numpy(end))[0].isfinite().all()) for end in ends)


def _gains(column: Column, y: Numbers, rest: Numbers, mapped: np.ndarray) -> bool:
    """Whether held-out rows are likelier with the remainder than with the column itself, each by a linear regression of
    its first map on those of the formula's columns."""
    learnt = np.random.default_rng(0).permutation(len(y)) % 2 == 0
    nats = [_nats(_kind(column, x[learnt]), x, mapped, learnt) for x in (y, rest)]
    gain = nats[1] - nats[0]
    return bool(gain.mean() > GAIN + 2 * gain.std() / np.sqrt(len(gain)))


def _nats(kind: Numeric, x: Numbers, inputs: np.ndarray, learnt: np.ndarray) -> Numbers:
    """Log-densities of the rows that are not learnt from."""
    z, log_slope = mapped(kind, x)
    design = np.column_stack([*inputs, np.ones(len(x))])
    scale = np.maximum(design[learnt].std(0), 1e-9) + (np.arange(design.shape[1]) == len(inputs))
    design = design / scale
    ridge = 1e-3 * np.eye(design.shape[1]) * learnt.sum()
    beta = np.linalg.solve(design[learnt].T @ design[learnt] + ridge, design[learnt].T @ z[learnt])
    off = z - design @ beta
    sigma = max(float(off[learnt].std()), 1e-9)
    return np.asarray(-0.5 * (off / sigma) ** 2 - np.log(sigma) + log_slope)[~learnt]


def mapped(kind: Numeric, x: Numbers) -> tuple[Numbers, Numbers]:
    """The first map of values at the middles of their cells, and its log-slope."""
    z, log_slope = kind.first_map()(torch.from_numpy(kind.middles(x)))
    return np.nan_to_num(z.numpy(), posinf=1e3, neginf=-1e3), np.nan_to_num(log_slope.numpy(), neginf=-1e3)


def _possible(column: Column, amounts: Numbers) -> Numbers:
    """Amounts as the column encodes them; NaN for those that it cannot hold, or that no training row had."""
    if column.classes:
        codes = column.kind.read(pl.Series(amounts.round(9), nan_to_null=True))
        return np.where(column.kind.can(codes), codes, np.nan)
    inside = column.kind.can(amounts) & (column.kind.circle is None)
    return np.where(inside, column.kind.snap(amounts), np.nan)


def _amounts(names: Sequence[str], values: Rows, columns: Columns) -> dict[str, Numbers]:
    return {name: columns[name].kind.amounts(values[name]) for name in names}


def _power(x: Numbers, p: float) -> Numbers:
    return np.log(x) if p == LOGARITHM else x**p


def _said(weight: float, factors: Sequence[Factor]) -> str:
    names = [repr(x) if p == 1 else f"log({x!r})" if p == LOGARITHM else f"{x!r} ** {_plain(p)}" for x, p in factors]
    sizes = [] if names and abs(weight) == 1 else [_plain(abs(weight))]
    return f"{'-' if weight < 0 else '+'} {' * '.join([*sizes, *names])}"


def _plain(number: float) -> str:
    return repr(number).removesuffix(".0")
