"""Formulas of columns: sums, products, ratios, powers, logarithms; columns that are one exactly, or up to a remainder.

How they are found among the columns of a table is in :mod:`.formula_search`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import polars as pl
from torch import Tensor

from ....transforms.relations import LOGARITHM, LOGARITHMS, ONE_MORE, Remainder
from ..columns import Column
from ..kinds.base import Kind, Numbers
from ..kinds.grid import Spikes
from ..kinds.numeric import Numeric
from ..saved import Saved
from .base import Columns, Dependency, Relation, Rows, shortest

Factor = tuple[str, float]  # a column and its power
Term = tuple[float, tuple[Factor, ...]]  # a weight and the factors of a product
Wave = tuple[float, str, float, float]  # a height, a column of dates, a period and when in it the wave is highest

HALF = 0.500001  # of a step: as far as a value may be from what it is rounded to
ALIKE = 10.5, 1e-3  # neighbouring values of a column, or its share, up to which one stands for all
HALVES = 0.2  # share of the rows half-way between two values, from which these matter
UNTOLD = 0.05  # share of the rows that have a value which its formula does not tell
HOLDS = 0.5  # share of the rows in which a formula with slips holds
ROUNDING = 1e-6  # of a column's spread, or usual size if this is less: of formulas that were computed in float32


@dataclass(frozen=True)
class Formula(Saved):
    r"""m(x), a sum of waves and of weighted products of powers of columns, :math:`b + \sum_k w_k \prod_i x_i^{p_{ki}}`.

    Args:
        terms: Each a weight w, and the columns of its product with their powers p; 0 is the logarithm.
        offset: b.
        waves: What changes with the season, the weekday, the hour.
        grid: The origin and step of the values to which m is rounded; empty if it is not.
    """

    terms: tuple[Term, ...]
    offset: float = 0.0
    waves: tuple[Wave, ...] = ()
    grid: tuple[float, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that m is computed from."""
        names = [name for _, factors in self.terms for name, _ in factors] + [name for _, name, _, _ in self.waves]
        return tuple(dict.fromkeys(names))

    def __call__(self, amounts: Mapping[str, Numbers]) -> Numbers:
        """m of columns of numbers; NaN where it is not defined."""
        with np.errstate(all="ignore"):
            terms = [w * _product([_power(amounts[name], p) for name, p in factors]) for w, factors in self.terms]
            terms += [a * np.cos(2 * np.pi / period * (amounts[name] - at)) for a, name, period, at in self.waves]
            total = np.sum(terms, 0) + self.offset
            if self.grid:
                origin, step = self.grid
                total = np.round((total - origin) / step) * step + origin
        return np.where(np.isfinite(total), total, np.nan)

    def __str__(self) -> str:
        """The formula as a user would state it, and seasons in words."""
        dates = dict.fromkeys(name for _, name, _, _ in self.waves)
        seasons = [f"+ what is usual in the season of {name!r}" for name in dates]
        offset = [] if self.offset == 0 and (self.terms or self.waves) else [(self.offset, ())]
        said = [*(_said(*term) for term in self.terms), *seasons, *(_said(*term) for term in offset)]
        return " ".join(said).removeprefix("+ ")


@dataclass(frozen=True, repr=False)
class Determined(Dependency):
    """A column that is m of others in every row, up to the rounding of its values."""

    formula: Formula = Formula(())  # m
    stated: bool = False  # whether the user stated it: it then stays, whatever later rows say
    close: float = ROUNDING  # the rounding error, as for every dependency

    def total(self, values: Rows, columns: Columns) -> Numbers:
        """m, as an amount that is not yet rounded."""
        return self.formula(amounts_in(self.inputs, values, columns))

    def computed(self, values: Rows, columns: Columns) -> Numbers:
        return self.column.with_holes(_encoded(self.column, self.total(values, columns)))

    def broken(self, found: Numbers, values: Rows, columns: Columns) -> np.ndarray:
        """Of two neighbours that are equally near to m, either is accepted: tools round halves up, down or to even."""
        y, m = self.column.kind.amounts(found), self.total(values, columns)
        near = np.abs(y - m) <= HALF * self.column.kind.resolution + np.maximum(self.slack, self.close * np.abs(m))
        return ~near & ~self.column.missing(found) & ~np.isnan(m) & super().broken(found, values, columns)

    @property
    def solvable(self) -> tuple[str, ...]:
        """The inputs that m has in one power, of which it is a multiple and what is without them."""
        terms = [factors for _, factors in self.formula.terms]
        powers = {name: {tuple(p for x, p in some if x == name) for some in terms} - {()} for name in self.inputs}
        return tuple(name for name, found in powers.items() if [*map(len, found)] == [1])

    def solved(self, name: str, y: Numbers, amounts: Mapping[str, Numbers]) -> Numbers:
        """The amount of an input at which the column's is y, given those of the others; of an even power, the positive
        root."""
        mine = [(weight, dict(factors)) for weight, factors in self.formula.terms if name in dict(factors)]
        others = replace(self.formula, terms=tuple(term for term in self.formula.terms if name not in dict(term[1])))
        power = {factors.pop(name) for _, factors in mine}.pop()
        own = Formula(tuple((weight, tuple(factors.items())) for weight, factors in mine))
        with np.errstate(all="ignore"):
            rest = (y - others(amounts)) / own(amounts)
            if power in LOGARITHMS:
                return np.exp(rest) - (power == ONE_MORE)
            return np.sign(rest) * np.abs(rest) ** (1 / power)

    def wide(self, name: str, y: Numbers, amounts: Rows, kind: Kind) -> tuple[Numbers, Numbers]:
        """The lower end and the width of the cells of an input that are all rounded to y; a width of 0 if these are so
        few that one tells all."""
        half, step = 0.5 * self.column.kind.resolution, 0.0 if kind.classes else kind.step
        low, high = np.sort([self.solved(name, y - half, amounts), self.solved(name, y + half, amounts)], axis=0)
        if step:
            first, last = kind.snap(low + (1 - HALF) * step), kind.snap(high - (1 - HALF) * step)
            low, high = first - 0.5 * step, last + 0.5 * step
        alike = ALIKE[0] * kind.resolution or ALIKE[1] * float(np.ptp(kind.ends))
        with np.errstate(invalid="ignore"):  # of what no value of the input makes y
            return low, np.where((high - low > alike) & (kind.classes == 0), high - low, 0.0)

    def holds(self, values: Rows, columns: Columns) -> bool:
        """Whether the column is m in every row that misses none of them; unless an input that it tells is rather what
        follows, as it is missing in more of the rows without m."""
        found, inputs = values[self.column.name], amounts_in(self.inputs, values, columns)
        gaps = np.isnan([found, *inputs.values()])
        own, *others = (~gaps & (gaps.sum(0) > 1)).mean(1)  # the share of the rows that have each, and lack two others
        if any(own > other + UNTOLD for name, other in zip(inputs, others, strict=True) if name in self.solvable):
            return False
        undefined = np.isnan(self.total(values, columns)) & ~gaps.any(0)
        return not (undefined | self.broken(found, values, columns)).any()

    def rounded_as(self, values: Rows, columns: Columns) -> Determined:
        """The relation with the offset that all rows leave, as 2 n + 1, or that rounds halves as they are in all."""
        step, offset = self.column.kind.step, self.formula.offset
        rest = self.column.kind.amounts(values[self.column.name]) - self.total(values, columns)
        low, high, blur = float(np.nanmax(rest)), float(np.nanmin(rest)), (HALF - 0.5) * step
        room = blur if low - high <= blur else 0.5 * step - blur
        if low - room >= high + room or (room != blur and np.mean(np.abs(rest) > room) < HALVES):
            return self
        return replace(self, formula=replace(self.formula, offset=shortest(offset + low - room, offset + high + room)))

    def rest(self, found: Numbers, values: Rows, columns: Columns) -> dict[str, Numbers]:
        amounts = amounts_in(self.inputs, values, columns)
        holes = {name: np.isnan(x) for name, x in amounts.items()}
        alone = sum(holes.values(), start=np.zeros(len(found), int)) == 1
        y, left = self.column.kind.amounts(found), [name for name in self.solvable if (holes[name] & alone).any()]
        each = {name: _possible(columns[name], self.solved(name, y, amounts)) for name in left}
        told = {name: holes[name] & alone & (self.wide(name, y, amounts, columns[name].kind)[1] == 0) for name in left}
        return {name: np.where(told[name], x, np.nan) for name, x in each.items()}

    def __str__(self) -> str:
        return f"{self.column.name!r} is {self.formula}"


@dataclass(frozen=True, repr=False)
class Added(Determined):
    """A sum of what is there, as spreadsheets and databases add: missing cells count as 0.

    Such a cell may be missing or not known, so a row that lacks an input is never broken, and its total says what the
    input is only if something is left of it.
    """

    def total(self, values: Rows, columns: Columns) -> Numbers:
        return self.formula({name: np.nan_to_num(x) for name, x in amounts_in(self.inputs, values, columns).items()})

    def tells(self, found: Numbers, values: Rows, columns: Columns, empty: bool = False) -> np.ndarray:
        inputs = [*amounts_in(self.inputs, values, columns).values()]
        left = super().broken(found, values, columns) | np.isnan(inputs).all(0)
        return left & super().tells(found, values, columns)

    def broken(self, found: Numbers, values: Rows, columns: Columns) -> np.ndarray:
        return super().broken(found, values, columns) & ~np.isnan(super().total(values, columns))

    def holds(self, values: Rows, columns: Columns) -> bool:
        return not super().broken(values[self.column.name], values, columns).any()

    def __str__(self) -> str:
        return f"{super().__str__()}, where missing cells count as 0"


@dataclass(frozen=True, repr=False)
class Near(Relation):
    """A column that is m of others up to a remainder, which the flow sees in its place."""

    name: str  # the column
    formula: Formula  # m
    remainder: Numeric  # the kind of the remainder, whose first map is used
    share: float  # share of the training rows in which the remainder is no more than rounding
    stated: bool = False  # whether the user stated it

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that the remainder is computed with."""
        return self.formula.inputs

    def transform(self, columns: Sequence[Column]) -> Remainder:
        """x_j - m(x) as a transform of encoded rows."""
        places = {column.name: j for j, column in enumerate(columns)}
        inputs = [(places[name], columns[places[name]].kind) for name in self.formula.inputs]
        floors = [(j, self._floor(columns[j].name, kind)) for j, kind in inputs]
        return Remainder(
            places[self.name],
            [(w, [(places[name], p) for name, p in factors]) for w, factors in self.formula.terms],
            self.formula.offset,
            waves=[(a, places[name], period, at) for a, name, period, at in self.formula.waves],
            grids=[(j, kind.origin, kind.step) for j, kind in inputs if kind.step],
            cells=[(j, sorted(kind.atoms)) for j, kind in inputs if kind.atoms],
            floors=[(j, floor) for j, floor in floors if floor is not None],
            rounded=self.formula.grid,
        )

    def _floor(self, name: str, kind: Kind) -> float | None:
        """Half of the least value, where a power is not defined below; above 0 where it is not there, as rows that were
        not learnt may have a 0."""
        powers = {p for _, factors in self.formula.terms for x, p in factors if x == name}
        least, above = kind.ends[0], any(ONE_MORE < p <= 0 for p in powers)
        if not any(p in LOGARITHMS or p % 1 or p < 0 <= least for p in powers):
            return None
        return 0.5 * (least if least > 0 else (kind.step or ROUNDING * kind.ends[1]) if above else 0.0)

    def left(self, x: Tensor, columns: Sequence[Column]) -> Tensor:
        """The remainders of encoded rows ``(n, features)``."""
        transform = self.transform(columns)
        return transform(x)[0][:, transform.feature]

    def __str__(self) -> str:
        exactly = f", exactly so in {self.share:.0%} of the rows" if self.share > HOLDS else ""
        return f"{self.name!r} is about {self.formula}{exactly}"


def exactly(column: Column, close: float = Dependency.close) -> Column:
    """The column whose heaps take nothing from around them but rounding errors: what follows is no draw of its own."""
    if not isinstance(kind := column.kind, Spikes):
        return column
    width = 2 * close * (kind.maximum - kind.minimum)
    return replace(column, kind=replace(kind, atoms=tuple((value, -0.5 * width, width) for value, *_ in kind.atoms)))


def sources(inputs: Collection[str], found: Mapping[str, Near | Dependency]) -> set[str]:
    """The columns that some are, or are computed from, by themselves or through others."""
    return {*inputs}.union(*(sources(found[name].inputs, found) for name in inputs if name in found))


def _encoded(column: Column, x: Numbers) -> Numbers:
    """Amounts as the column encodes them."""
    return column.kind.snap(x) if not column.classes else column.kind.read(pl.Series(x.round(9), nan_to_null=True))


def _possible(column: Column, amounts: Numbers) -> Numbers:
    """The same; NaN for those that it cannot hold, or that no training row had."""
    x, kind = _encoded(exactly(column), amounts), column.kind
    return np.where(kind.can(x if column.classes else amounts) & (kind.circle is None), x, np.nan)


def amounts_in(names: Sequence[str], values: Rows, columns: Columns) -> dict[str, Numbers]:
    return {name: columns[name].kind.amounts(values[name]) for name in names}


def _power(x: Numbers, p: float) -> Numbers:
    return np.log(x) if p == LOGARITHM else np.log1p(x) if p == ONE_MORE else x**p


def _product(factors: Sequence[Numbers]) -> Numbers:
    """Their product, and 0 where one is 0 and another missing: who works no hours has no wage."""
    each = np.array(factors)
    nothing = (each == 0).any(0) & ~np.isinf(each).any(0)
    return np.asarray(np.where(nothing, 0.0, each.prod(0)))


def _said(weight: float, factors: Sequence[Factor]) -> str:
    def named(x: str, p: float) -> str:
        thirds = Fraction(p).limit_denominator(3)
        power = f"({thirds})" if thirds.denominator == 3 and abs(thirds - p) < ROUNDING else f"{p:.12g}"
        known = {1: repr(x), LOGARITHM: f"log({x!r})", ONE_MORE: f"log(1 + {x!r})"}
        return known.get(p) or f"{x!r} ** {power}"

    names = [named(x, p) for x, p in factors]
    sizes = [] if names and abs(weight) == 1 else [f"{abs(weight):.12g}"]
    return f"{'-' if weight < 0 else '+'} {' * '.join([*sizes, *names])}"
