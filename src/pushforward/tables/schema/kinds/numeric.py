"""Numbers on a scale: what all kinds of them share, whatever their cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import polars as pl
from torch import Tensor

from ....errors import InputError
from ....transforms.base import Transform
from ....transforms.compose import Compose
from ....transforms.elementwise import Identity
from ..partial_cells import encoded, points_of
from .base import FARTHEST, Atom, Bounds, Description, Hints, Kind, Numbers, Partition
from .column_maps import FirstMap, Tails, first_map_of, tails_of
from .histogram import histogram_of
from .rhythms import Rhythm, Timed, rhythms_of

QUANTILES = 33
FILL = 17  # quantiles between which missing values are drawn
DECIMALS, ALIKE = 9, 0.95  # that are kept in samples, and the share of values that have no more
SLACK = 1e-9  # steps: the rounding of a value on a grid
FAR = 10.0  # standard deviations from 0 that make a bound there unnecessary
MANY = 10  # rows at an end: of n others .05 lie beyond on average, .9 beyond an end of a single row


@dataclass(frozen=True, kw_only=True)
class Numeric(Kind):
    """Numbers with a density."""

    # range of the training rows
    minimum: float = 0.0
    maximum: float = 0.0
    quantiles: tuple[float, ...] = ()  # quantiles of the training rows, evenly spaced in probability
    # whether so many of them are at the minimum, and at the maximum, that nothing is drawn beyond
    closed: tuple[bool, ...] = (False, False)
    whole: bool = False  # whether every value is a whole number, so that samples are written as whole numbers
    decimals: int | None = None  # the number of decimals that are written; None if there are more than ``DECIMALS``
    bounds: Bounds | None = None  # the open interval of the values, if one was stated or found; None for no upper end
    day: float = 0.0  # how long a day is, if they are moments; else 0
    rhythms: tuple[Rhythm, ...] = ()  # of moments and last digits, which come before the first map
    first: FirstMap | None = None  # the first map, if there is one
    tails: Tails | None = None  # how it goes on beyond the training rows; None if it does so by itself
    fill: tuple[float, ...] = ()  # quantiles of the training rows spread over their cells, evenly spaced in probability

    @classmethod
    def of(cls, x: Numbers, **cells: Any) -> Self:
        """The kind of some numbers, none of them NaN, with the fields that describe its cells."""
        ranks, low, high = np.linspace(0, 1, min(QUANTILES, len(x))), float(x.min()), float(x.max())
        return cls(
            minimum=low,
            maximum=high,
            quantiles=tuple(np.quantile(x, ranks, method="nearest").tolist()),
            closed=((x == low).sum().item() >= MANY, (x == high).sum().item() >= MANY),
            whole=bool((x == np.round(x)).all()),
            **{"decimals": _decimals(x), **cells},
        )

    def mapped(self, values: pl.Series, hints: Hints) -> Self:
        """The kind with its bounds, its first map, and the quantiles from which missing values are drawn."""
        kind, x = self.bounded(values, hints), present(values)
        first, fill = first_map_of(kind, kind.middles(x), kind._starts()), kind.quantiles_of_cells(x)
        return replace(kind, day=hints.day, first=first, fill=fill)

    def bounded(self, values: pl.Series, hints: Hints) -> Self:
        """The kind with its bounds."""
        stated = hints.bounds is not None
        return replace(self, bounds=self._stated(values, hints) if stated else self._bounds(present(values), hints))

    def _stated(self, values: pl.Series, hints: Hints) -> Bounds:
        """The stated bounds; a cell leaves room beside a value on a bound."""
        assert hints.bounds is not None
        low, end = hints.bounds
        high, x = np.inf if end is None else end, numbers_of(values)
        closed = self.step > 0
        outside = np.flatnonzero((x < low) | (x > high) if closed else (x <= low) | (x >= high))
        outside = outside[~np.isin(x[outside], self.atom_cells[0])]
        if len(outside):
            row = outside[0]
            where = "on its bound" if x[row] in hints.bounds else "outside its bounds"
            raise InputError(
                f"{hints.source}: column {hints.name!r}, row {row + 1}: {x[row]:g} lies {where} {low:g} and {high:g}; "
                "give it wider `bounds=`"
            )
        return float(low), None if end is None else float(end)

    def _bounds(self, x: Numbers, hints: Hints) -> Bounds | None:
        """Bounds if none are stated: shares lie between 0 and 1, and what is never negative stays so."""
        near_both = ((x < 0.01).mean() >= 0.005) and ((x > 0.99).mean() >= 0.005)
        if near_both and self.minimum > 0 and self.maximum < 1 and not self.has_cells:
            return 0.0, 1.0
        return (0.0, None) if never_negative(x, hints) else None

    def _starts(self) -> list[float]:
        """Where a logarithm may start: at 0 for positive columns, one cell below 0 for those that begin at 0."""
        if self.lowest_edge(self.minimum) > 0:
            return [0.0]
        if self.minimum < 0:
            return []
        return [-self.step] if self.step > 0 else [low * 2 for value, low, _ in self.atoms if value == 0]

    def quantiles_of_cells(self, x: Numbers) -> tuple[float, ...]:
        """Quantiles of the values spread over their cells, strictly increasing."""
        ends = np.quantile(self.spread(x, np.random.default_rng(0)), np.linspace(0, 1, FILL))
        least = 1e-3 * max(float(ends[-1] - ends[0]), 1e-6 * float(np.abs(ends).max())) / FILL
        return tuple((np.maximum.accumulate(ends - least * np.arange(FILL)) + least * np.arange(FILL)).tolist())

    @property
    def resolution(self) -> float:
        return self.step or (0.0 if self.decimals is None else 10.0**-self.decimals)

    def read(self, values: pl.Series) -> Numbers:
        if values.dtype == pl.Struct:
            return encoded(values, self.step, self.origin, self.bounds)
        return numbers_of(values)

    def encoded(self, values: Tensor) -> Tensor:
        return values

    def write(self, numbers: Numbers) -> pl.Series:
        snapped = self.snap(numbers)
        there = np.isfinite(snapped)
        whole = self.whole and bool((np.abs(snapped[there]) < 2**62).all())
        return pl.Series(snapped).fill_nan(None).cast(pl.Int64 if whole else pl.Float64)

    def snap(self, numbers: Numbers) -> Numbers:
        if self.step:
            places = np.round((numbers - self.origin) / self.step)
            numbers = places * self.step + self.origin
            numbers = (numbers if self.decimals is None else np.round(numbers, self.decimals)) + 0.0  # no sign of zeros
        elif self.decimals is not None:
            rounded = np.round(numbers, self.decimals) + 0.0
            numbers = np.where(self.can(rounded), rounded, numbers)
        return numbers if self.bounds is None else np.clip(numbers, *self.bounds)

    def can(self, numbers: Numbers) -> Any:
        low, high = self.bounds or (-np.inf, None)
        inside = (numbers > low - 0.5 * self.step) & (numbers < (np.inf if high is None else high + 0.5 * self.step))
        return np.isfinite(numbers) & (inside | np.isin(numbers, self.atom_cells[0]))

    def limits(self, spreads: float) -> tuple[float, float]:
        spread = self.maximum - self.minimum
        if not spread > 0:
            return -np.inf, np.inf
        low = self.lowest_edge(self.minimum) - (spreads - self.closed[0]) * spread
        high = self.highest_edge(self.maximum) + (spreads - self.closed[1]) * spread
        if self.bounds is not None:
            end, other = self.bounds
            low = max(low, _within(self.lowest_edge(end), end, self.minimum))
            high = high if other is None else min(high, _within(self.highest_edge(other), other, self.maximum))
        return low, high

    def reaching(self, x: Numbers) -> Self:
        (low, high), there = self.limits(1.0), x[~np.isnan(x)]
        lowest, highest = float(there.min(initial=np.inf)), float(there.max(initial=-np.inf))
        kind = self if lowest >= low else replace(self, minimum=lowest, closed=(False, self.closed[1]))
        return kind if highest <= high else replace(kind, maximum=highest, closed=(kind.closed[0], False))

    def between(self, low: float, high: float) -> Numbers:
        """The cells of the values from ``low`` to ``high``, together, ``(2, intervals)``: disjoint, in increasing
        order, and infinite where nothing lies beyond."""
        resolution = self.resolution
        if resolution:
            first, last = (np.array([low, high]) - self.origin) / resolution
            blur = np.spacing(np.abs([low, high]).clip(abs(self.origin), FARTHEST))
            before, after = SLACK + 4 * blur / resolution  # ends are rounded as numbers, too
            low, high = self.origin + resolution * np.array([np.ceil(first - before), np.floor(last + after)])
        ends = np.array([low - 0.5 * resolution, high + 0.5 * resolution])
        value, below, width = self.atom_cells
        start, stop = value + below, value + below + width
        edges = np.unique(np.concatenate([ends, start, stop]))
        middle = 0.5 * (edges[:-1].clip(-FARTHEST, FARTHEST) + edges[1:].clip(-FARTHEST, FARTHEST))
        inside = (middle > ends[0]) & (middle < ends[1])
        if len(value):
            at = (np.searchsorted(start, middle, side="right") - 1).clip(0)
            held = (middle >= start[at]) & (middle < stop[at])
            inside = np.where(held, (value[at] >= low) & (value[at] <= high), inside)
        turns = np.flatnonzero(np.diff(np.r_[False, inside, False]))
        return self._within_bounds(edges[turns].reshape(-1, 2).T)

    def _within_bounds(self, ends: Numbers) -> Numbers:
        """Intervals without what lies beyond the bounds; infinite where they begin or end there."""
        low, high = self.bounds or (-np.inf, None)
        lowest = self.lowest_edge(low)
        highest = np.inf if high is None else self.highest_edge(high)
        some = ends[:, (ends[1] > lowest) & (ends[0] < highest) & (ends[0] < ends[1])]
        return np.stack([np.where(some[0] <= lowest, -np.inf, some[0]), np.where(some[1] >= highest, np.inf, some[1])])

    def shown(self, number: float) -> str:
        return f"{number:.6g}"

    @property
    def ends(self) -> tuple[float, float]:
        return self.minimum, self.maximum

    @property
    def typical(self) -> tuple[float, ...]:
        return self.quantiles

    def first_map(self) -> Transform:
        first = Identity(event_dim=0) if self.first is None else self.first.transform()
        first = first if self.tails is None else self.tails.around(first)
        return Compose([*(rhythm.transform() for rhythm in self.rhythms), first]) if self.rhythms else first

    def without(self, *maps: str) -> Self:
        idle = self.bounds is None and self.first is not None and self.first.name in maps
        return replace(self, first=None, tails=None) if idle else self

    def shaped(self, x: Numbers, weight: Numbers, again: bool = False) -> Self:
        spiked = self.first is not None and self.first.name == "histogram"
        if np.isnan(x).all() or (again and not spiked and not self.rhythms):  # if all are, each row knows only a part
            return self
        there = ~np.isnan(x) & (weight > 0)
        first = self.first
        cells: Partition = self
        rhythms = rhythms_of(self, x[there], weight[there], self.day, self.rhythms if again else None)
        if rhythms:
            cells = timed = Timed(self, rhythms)
            if not again or (first is not None and first.name == "logit"):  # whose ends move
                first = first_map_of(timed, timed.middles(x[there]), timed.time(np.array(self._starts())).tolist())
        if spiked or not again:
            first = histogram_of(cells, x, weight, first) or first
        return replace(self, rhythms=rhythms, first=first, tails=tails_of(first, cells, x[there]))

    def describe(self) -> Description:
        title = "integer" if self.whole else "rounded"
        kind = "continuous" if not self.step else title if self.step == 1 else f"{title} to {self.step:g}"
        first = ", ".join(str(each) for each in (*self.rhythms, self.first) if each is not None)
        return Description(kind, f"{self.minimum:g}", f"{self.maximum:g}", first or "-")


@dataclass(frozen=True, kw_only=True)
class Number(Numeric):
    """Numbers between which any other may lie."""

    @classmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        return cls.of(present(values)).mapped(values, hints)


def _within(edge: float, bound: float, outermost: float) -> float:
    """Up to where a bound is not far: the edge of the cell there, however narrow; a little inside, if it has none."""
    return edge if edge != bound else float(np.nextafter(bound + 1e-6 * (outermost - bound), outermost))


def _decimals(x: Numbers) -> int | None:
    """The number of decimals with which nearly all of the values are written, up to the last digits that a division may
    have changed (0.2460999999999999); a few may have been computed."""
    values = np.unique(x)
    blur = 1e-15 * np.abs(values)
    return next((d for d in range(DECIMALS + 1) if (np.abs(np.round(values, d) - values) <= blur).mean() > ALIKE), None)


def numbers_of(values: pl.Series) -> Numbers:
    """A series as float64; NaN where nothing is, or only a part is known. Zeros have no sign."""
    if values.dtype == pl.Struct:
        return points_of(values)
    found = values.cast(pl.Float64).to_numpy(allow_copy=True) if len(values) else np.empty(0)
    return np.asarray(found + 0.0)


def present(values: pl.Series) -> Numbers:
    """The numbers that are there."""
    found = numbers_of(values)
    return found[~np.isnan(found)]


def never_negative(x: Numbers, hints: Hints) -> bool:
    """Whether a quantity is never negative, and near enough to 0 for that to matter."""
    return bool(0 <= x.min() <= FAR * x.std()) and not hints.day


def end_atom(unique: Numbers, place: int, spread: float) -> Atom:
    """The cell of a value that stands out: beyond the other values if it is at an end of the range, narrow if it lies
    among them."""
    value = float(unique[place])
    if place == 0:
        return value, -0.1 * spread, 0.1 * spread
    if place == len(unique) - 1:
        return value, 0.0, 0.1 * spread
    width = min(0.02 * spread, float(np.diff(unique[place - 1 : place + 2]).min()))
    return value, -0.5 * width, width
