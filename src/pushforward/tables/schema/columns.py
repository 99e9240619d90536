"""What a model knows about one column of a table: a modelled one, or one that is conditioned on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from ...errors import InputError
from .reading import MOMENTS, as_moments, as_numbers, as_stored, category_codes
from .unseen import encode_unseen, is_unseen, unseen_numbers


@dataclass(frozen=True)
class Column:
    """A modelled column.

    Args:
        name: Its name in the table.
        kind: ``continuous``, ``integer``, ``rounded`` (values on a grid), ``inflated`` (some values stand out),
            ``category`` or ``values`` (few numbers; both are encoded as an index into ``categories``), or ``missing``:
            whether a numeric column, ``of``, has no value in a row.
        step: Spacing of the grid's values, 0 if there is no grid.
        origin: One value of the grid.
        decimals: Number of decimals that the grid's values need.
        atoms: For ``inflated``, (value, low, width) of each: rows that hold the value are spread over value + low +
            [0, width).
        bounds: The open interval of the values, if one was stated or found; None for no upper end.
        first: The column's first transform: ``none``, ``log``, ``asinh``, ``softplus``, ``logit`` or ``histogram``.
        loc, scale: The first transform is applied to (x - loc) / scale; for a histogram, scale is that of its tails.
        knots: For a histogram, its edges, each with the share of the rows below it.
        minimum, maximum: Range of the training rows.
        quantiles: Quantiles of the training rows, evenly spaced in probability.
        integer: Whether every value is a whole number, so that samples are written as whole numbers.
        categories: The values of a category, as text.
        dtype: The type of the values in the table: for a category ``String``, ``Boolean``, ``Int64`` or ``Float64``;
            for numbers empty, or the form in which they are written: ``Date``, ``Datetime``, ``Time``, ``Duration`` or
            ``Marked`` (numbers with thousands separators and the like).
        form: The format of text dates or times, as for ``strptime``; empty if the values are not text.
        holes: Share of the training rows that have no value. A category then has one code more than ``categories``.
        fill: For numbers, quantiles of the training rows spread over their cells, evenly spaced in probability; for a
            category, the shares of its values. :class:`~.cells.MarginalFill` draws missing values from these.
        grouped: How many rare values the last category, ``(other)``, stands for; 0 if every value has its own.
        of: For ``missing``, the column that it flags.
        at_random: Whether holes fell independently of everything else observed: log-densities are then conditioned on
            which values are missing.
        ignored: Whether encoded rows do not record that a value is missing: it is NaN, and integrated out.
        period: For a circular column, the beginning and end of its period, which are the same value.
        unseen: For each of few numbers, the share of the values encoded as it that no training row had
            (:mod:`~.unseen`); empty if no other values are possible.
        stored: The type of the table's column, as returned by :func:`~.reading.stored_type`.
    """

    name: str
    kind: str = "continuous"
    step: float = 0.0
    origin: float = 0.0
    decimals: int = 0
    atoms: tuple[tuple[float, float, float], ...] = ()
    bounds: tuple[float, float | None] | None = None
    first: str = "none"
    loc: float = 0.0
    scale: float = 1.0
    minimum: float = 0.0
    maximum: float = 0.0
    quantiles: tuple[float, ...] = ()
    integer: bool = False
    categories: tuple[str, ...] = ()
    dtype: str = "String"
    form: str = ""
    holes: float = 0.0
    fill: tuple[float, ...] = ()
    grouped: int = 0
    of: str = ""
    at_random: bool = False
    ignored: bool = False
    stored: tuple[str, ...] = ()
    period: tuple[float, float] | None = None
    knots: tuple[tuple[float, float], ...] = ()
    unseen: tuple[float, ...] = ()

    @property
    def classes(self) -> int:
        """How many categories it has, counting a missing value as one if training rows have any; 0 for numbers."""
        return len(self.categories) + (self.holes > 0 and len(self.categories) > 0 and not self.ignored)

    def ignoring(self) -> Column:
        """The column without a code for missing values."""
        places = self.quantiles[: len(self.categories) or None]
        return replace(self, ignored=True, quantiles=places, maximum=places[-1] if self.categories else self.maximum)

    @property
    def typical(self) -> tuple[float, ...]:
        """Encoded values to try in place of others: quantiles of numbers, all values of a category."""
        return self.quantiles

    def bare(self) -> Column:
        """The column without its first transform, unless that keeps it within its bounds."""
        idle = self.bounds is None and self.first in ("asinh", "histogram")
        return replace(self, first="none") if idle else self

    def can(self, values: np.ndarray) -> np.ndarray:
        """Which encoded values are possible: codes of values that training rows had, numbers within the bounds."""
        if self.categories:
            return (values >= 0) & (values < self.classes) & (values == np.floor(values))
        low, high = self.bounds or (-np.inf, np.inf)
        half = 0.5 * self.step
        return np.isfinite(values) & (values > low - half) & (values < (np.inf if high is None else high + half))

    @property
    def outcomes(self) -> tuple[Any, ...]:
        """What densities of two models must agree on to be comparable: the values or the cells."""
        return (self.categories, self.step, self.atoms)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the categories, counting a missing value as one if training rows have any."""
        return (*self.categories, "(missing)")[: self.classes]

    @property
    def has_cells(self) -> bool:
        """Whether values of this column are cells of positive width, over which its density is averaged."""
        return self.step > 0 or len(self.atoms) > 0

    @property
    def tiled(self) -> bool:
        """Whether its atoms are the only possible values: none lies beyond, and their cells leave no gaps."""
        if len(self.atoms) < 2:
            return False
        value, low, width = np.array(sorted(self.atoms)).T
        if self.minimum < value[0] or self.maximum > value[-1]:
            return False
        return bool(np.allclose((value + low)[1:], (value + low + width)[:-1], rtol=0, atol=1e-6 * width.min()))

    @property
    def window(self) -> tuple[float, float]:
        """One turn of a circular column that holds whole cells: the period, shifted back by half a step."""
        low, high = self.period or (0.0, 0.0)
        return low - 0.5 * self.step, high - 0.5 * self.step

    def snap(self, values: np.ndarray) -> np.ndarray:
        """Maps samples to possible values: on the grid, on the atom, inside the bounds or the period."""
        if self.step > 0:
            values = np.round(np.round((values - self.origin) / self.step) * self.step + self.origin, self.decimals)
        if self.atoms:
            value, low, width = np.array(sorted(self.atoms)).T
            place = (np.searchsorted(value + low, values, side="right") - 1).clip(0)
            inside = (values >= (value + low)[place]) & (values < (value + low + width)[place])
            values = np.where(inside | (self.tiled & ~np.isnan(values)), value[place], values)
        if self.period is not None:
            low, high = self.period
            return np.where((values < low) | (values >= high), low + np.mod(values - low, high - low), values)
        return values if self.bounds is None else np.clip(values, *self.bounds)

    def shown(self, value: float) -> str:
        """An encoded value as text."""
        if self.unseen and is_unseen(value):
            return f"{unseen_numbers(self, np.array([value]))[0]:.6g}"
        if self.categories:
            names = (*self.categories, "(missing)")
            return names[int(value)] if 0 <= value < len(names) else "(missing)" if np.isnan(value) else "(unknown)"
        if self.dtype in MOMENTS and np.isfinite(value):
            return str(self.written(np.array([value]))[0])
        return "(missing)" if np.isnan(value) else f"{value:.6g}"

    def read(self, column: pl.Series) -> np.ndarray:
        """The values of a table's column as the model encodes them, in float64; NaN for missing ones."""
        if self.categories:
            codes = category_codes(column, self)
            if self.unseen and (codes == -1).any():
                codes = encode_unseen(self, codes, as_numbers(column))
            return np.where(np.isnan(codes), len(self.categories), codes) if self.holes and not self.ignored else codes
        values = as_numbers(column, self.dtype, self.form)
        return values if self.period is None else np.where(values == self.period[1], self.period[0], values)

    def missing(self, values: np.ndarray) -> np.ndarray:
        """Which encoded values are missing."""
        return np.isnan(values) | (values >= len(self.categories) if self.categories else False)

    def outside(self, values: np.ndarray) -> np.ndarray:
        """Which values lie outside a period."""
        low, high = self.period or (-np.inf, np.inf)
        return np.flatnonzero((values < low) | (values > high))

    def written(self, values: np.ndarray) -> pl.Series:
        """Encoded values as written in the table: snapped, whole numbers as integers, categories by name."""
        return as_stored(self._written(values), self.stored)

    def _written(self, values: np.ndarray) -> pl.Series:
        if self.categories:
            places = pl.Series(np.nan_to_num(values, nan=len(self.categories)).astype(np.int64))
            named = pl.Series(self.name, self.categories).gather(places.clip(0, len(self.categories) - 1))
            named = named == "true" if self.dtype == "Boolean" else named.cast(getattr(pl, self.dtype))
            return named.set(places >= len(self.categories), None)
        snapped = self.snap(values)
        if self.dtype in MOMENTS:
            return as_moments(pl.Series(self.name, snapped), self.dtype, self.form)
        there = np.isfinite(snapped)
        whole = self.integer and bool((np.abs(snapped[there]) < 2**62).all())
        return pl.Series(self.name, snapped).fill_nan(None).cast(pl.Int64 if whole else pl.Float64)

    def amounts(self, values: np.ndarray) -> np.ndarray:
        """Encoded values as numbers, including those of few-valued columns."""
        if not self.categories:
            return values
        table, known = np.array([*map(float, self.categories), np.nan]), (values >= 0) & ~np.isnan(values)
        numbers = table[np.where(known, values, len(self.categories)).astype(np.int64)]
        if self.unseen and (odd := known & is_unseen(values)).any():
            numbers[odd] = unseen_numbers(self, values[odd])
        return numbers


def refuse_outside(column: Column, values: np.ndarray, source: str, rows: np.ndarray | None = None) -> None:
    """Refuses values outside a period.

    Args:
        column: The column.
        values: Encoded values, or NaN.
        source: The file's name.
        rows: Their positions in the file, from 0.

    Raises:
        InputError: names the column, the row and the period.
    """
    outside = column.outside(values)
    if len(outside) and column.period is not None:
        row = outside[0] if rows is None else rows[outside[0]]
        low, high = column.period
        raise InputError(
            f"{source}: column {column.name!r}, row {row + 1}: {values[outside[0]]:g} lies outside its period, "
            f"{low:g} to {high:g}"
        )


@dataclass(frozen=True)
class ContextColumn:
    """A column that is conditioned on: a standardised number, or text as one indicator per category."""

    name: str
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    dtype: str = "String"
    form: str = ""
    holes: float = 0.0
    grouped: int = 0

    @property
    def width(self) -> int:
        """Number of context features: one more if training rows have missing values."""
        return (len(self.categories) or 1) + (self.holes > 0)
