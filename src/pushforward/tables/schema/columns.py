"""A column of a model: its name, its kind, how its cells are read, and what is known of its missing values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ...errors import InputError, listed
from ...numerics.partly_known import known_in_part
from .kinds.base import Description, Kind, Numbers
from .kinds.circle import refuse_outside
from .notes import Note
from .numbers import missing
from .reading import Reading
from .saved import Saved


@dataclass(frozen=True, kw_only=True)
class Holes(Saved):
    """What is known of a column's missing values."""

    share: float = 0.0  # share of the training rows that have no value
    in_part: float = 0.0  # share of the training rows that know only a part of the value
    # whether holes fall independently of everything else observed: log-densities are then conditioned on which values
    # are missing
    at_random: bool = False
    ignored: bool = False  # whether encoded rows do not record that a value is missing: it is NaN, and integrated out

    @property
    def recorded(self) -> bool:
        """Whether encoded rows record which values are missing."""
        return self.share > 0 and not self.ignored


@dataclass(frozen=True)
class Column(Saved):
    """A modelled column, or one that is conditioned on. A missing value of a column with classes has a further one."""

    name: str  # its name in the table
    kind: Kind  # which values it can hold, and how the model sees them
    reading: Reading = field(default_factory=Reading)  # how its cells are read and written
    holes: Holes = field(default_factory=Holes)  # what is known of its missing values

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of its classes; none for numbers."""
        labels = self.kind.labels
        return (*labels, "(missing)") if labels and self.holes.recorded else labels

    @cached_property
    def classes(self) -> int:
        """How many classes it has; 0 for numbers."""
        return len(self.labels)

    @property
    def typical(self) -> tuple[float, ...]:
        """Encoded values to try in place of others."""
        return tuple(map(float, range(self.classes))) or self.kind.typical

    @property
    def contents(self) -> str:
        """What its cells hold, in a word; see :attr:`Reading.contents`."""
        return self.kind.contents or self.reading.contents

    @property
    def expected(self) -> str:
        """What a cell should be, in words."""
        return f"a {self.reading.dtype.lower()}" if self.reading.moment else f"text such as {self.example}"

    @property
    def example(self) -> str | float:
        """A value that it may have, as it is asked for."""
        shown = self.shown(self.typical[len(self.typical) // 2])
        return shown if self.speaks else float(shown)

    def ignoring(self) -> Column:
        """The column without a class for missing values."""
        return replace(self, holes=replace(self.holes, ignored=True))

    def read(self, column: pl.Series) -> Numbers:
        """The values of a table's column as the model encodes them; NaN for missing ones."""
        numbers = self.kind.read(self.reading.values(column))
        return self.with_holes(numbers) if self.holes.share else numbers

    def encoded(self, values: Tensor) -> Tensor:
        """The same for a tensor ``(n,)``: of truth values, of numbers (float64), or of the codes of text (float32)."""
        if values.dtype == torch.bool:
            no, yes = self.kind.read(pl.Series(["false", "true"])).tolist()
            values = torch.where(values, yes, no)
        elif values.dtype == torch.float64:
            values = self.kind.encoded(values.where(values.isfinite(), torch.nan))
        values = values.double()
        return values.where(~values.isnan(), self.kind.classes) if self.kind.classes and self.holes.recorded else values

    def nearest(self, column: pl.Series) -> Numbers:
        """The same, with numbers that are none of few values as the nearest of these; -1 for other unknown values."""
        return self.with_holes(self.kind.nearest(self.reading.values(column)))

    def with_holes(self, numbers: Numbers) -> Numbers:
        """Encoded values with the class of missing ones, if there is one."""
        classes = self.kind.classes
        return np.where(np.isnan(numbers), classes, numbers) if classes and self.holes.recorded else numbers

    def missing(self, values: Numbers) -> np.ndarray:
        """Which encoded values are missing."""
        gone = np.isnan(values) & ~known_in_part(values)
        return gone | (values >= (self.kind.classes or np.inf))

    def written(self, values: Numbers) -> pl.Series:
        """Encoded values as they are written in the table."""
        return self.reading.cells(self.name, self.kind.write(values))

    def shown(self, value: float) -> str:
        """An encoded value as text."""
        if self.missing(np.array([value]))[0]:
            return "(missing)"
        return str(self.written(np.array([value]))[0]) if self.reading.moment else self.kind.shown(value)

    @property
    def whole(self) -> bool:
        """Whether all its values are whole numbers."""
        return self.kind.whole or self.reading.dtype == "Int64"

    @property
    def speaks(self) -> bool:
        """Whether its values are shown as text, not as plain numbers."""
        return self.contents not in ("number", "marked")

    def filling(self) -> list[float]:
        """How missing values are drawn: the shares of its classes, or quantiles between which numbers are uniform; flat
        ones for columns of old models, which lack them."""
        if self.kind.classes:
            shares = np.asarray(self.kind.fill or [1.0] * self.kind.classes) + 1e-6
            return (shares / shares.sum()).tolist()
        (low, high), half = self.kind.ends, 0.5 * self.kind.step
        return list(self.kind.fill) or [low - half, high + half]

    def describe(self) -> Description:
        """The column in words, with the share of it that is missing."""
        said, share = self.kind.describe(), self.holes.share
        if self.reading.moment and not self.classes:
            low, high = (self.shown(float(end)) for end in self.kind.ends)
            said = replace(said, kind=self.reading.dtype.lower(), low=low, high=high)
        holes = f", {share:.1%} missing{' at random' * self.holes.at_random}" if share else ""
        holes += f", {self.holes.in_part:.1%} known in part" if self.holes.in_part else ""
        return replace(said, kind=said.kind + holes)

    @property
    def refuses(self) -> bool:
        """Whether there are cells that :meth:`refuse` refuses."""
        return self._reads_text or self.kind.period is not None

    @property
    def _reads_text(self) -> bool:
        """Whether text is expected in a certain form."""
        return (self.reading.moment or self.kind.contents == "text") and not self.reading.lenient

    def refuse(self, column: pl.Series, numbers: Numbers, source: str, first: int) -> None:
        """Refuses cells that could not be read, or lie outside a period: ``first`` is the number of the first row."""
        if self._reads_text and column.dtype == pl.String:
            bad, said = np.isnan(numbers) & ~missing(column), f"is not {self.expected}; correct it"
            if bad.any():
                raise InputError(
                    Note.of(bad, lambda row: f": {column[row]!r} {said}", source, first, self.name, "refused")
                )
        if self.kind.period is not None:
            refuse_outside(numbers, self.kind.period, source, self.name, first)

    def unread(self, cells: pl.Series, source: str, first: int) -> list[Note]:
        """What is said of text that looks like a value and cannot be read, which is then missing, if there is any. Of
        words alone nothing is said, as some stand among the training rows."""
        if cells.dtype != pl.String:
            return []
        odd = (self.reading.values(cells).is_null() & cells.str.contains(r"\d")).fill_null(False)
        if not odd.any():
            return []
        said = "cannot be read, and is taken for missing"
        return [Note.of(odd, lambda row: f": {cells[row]!r} {said}", source, first, self.name, "unread")]

    def rounded_in(self, cells: pl.Series, source: str) -> list[Note]:
        """What is said of numbers that are none of its values, if these lie apart: draws have the nearest."""
        kind, step = self.kind, self.kind.step or float(self.kind.whole)
        if not kind.classes and not step:
            return []
        x = self.read(cells)
        near = np.floor(self.nearest(cells)) if kind.classes else np.where(kind.can(x), kind.snap(x), x)
        odd = ~np.isclose(near, x, 0.0, 1e-3 * step, equal_nan=True)
        shown = [(cells[row], self.shown(near[row])) for row in odd.nonzero()[0][:1].tolist()]
        said = [f": {cell} is none of its values, of which {nearest} is the nearest" for cell, nearest in shown]
        return [Note.of(odd, each, source, 0, self.name, "rounded") for each in said]

    def limits(self, spreads: float) -> tuple[float, float]:
        """The ends of what may be drawn, by its kind and by its type."""
        (low, high), (least, most) = self.kind.limits(spreads), self.reading.ends
        return (low, high) if self.classes else (max(low, least), min(high, most))

    def possible(self, x: Tensor) -> Tensor:
        """Which encoded values may have a density: not those beyond a bound, or where no first map reaches."""
        if self.classes:
            return ~(x < 0)
        first_map, possible = self.kind.first_map(), torch.from_numpy(self.kind.can(x.numpy())) & x.float().isfinite()
        return x.isnan() | (possible if first_map is None else possible & first_map(x)[0].isfinite())

    def strange_in(self, cells: pl.Series, rows: Tensor, source: str, first: int) -> Note:
        """What is said of rows given what nothing is known of."""
        low, high = ("", "") if self.classes else (self.shown(float(end)) for end in self.kind.ends)

        def said(row: int) -> str:
            if missing(cells[row : row + 1])[0]:
                return ": a missing value, but no training row has one in this column, which the model is given"
            if self.classes:
                return f": {cells[row]!r} was not among the training rows; the model knows {listed(self.kind.labels)}"
            return f": {cells[row]} cannot be; the training rows have values from {low} to {high}"

        return Note.of(rows, said, source, first, self.name, "given")


@dataclass(frozen=True)
class ContextColumn(Saved):
    """A column that is conditioned on: a standardised number, or one indicator per class.

    Args:
        mean, scale: Those of its training rows, for numbers.
    """

    column: Column
    mean: float = 0.0
    scale: float = 1.0

    @property
    def name(self) -> str:
        return self.column.name

    @property
    def width(self) -> int:
        """Number of context features: one more if training rows have missing values."""
        return self.column.classes or 1 + (self.column.holes.share > 0)

    def features(self, column: pl.Series, source: str, first: int = 0) -> tuple[Tensor, Tensor]:
        """The table's column as context features, ``(rows, width)``, and in which rows it has a category that no
        training row had, a number that cannot be, or is missing as in none; ``first`` is the number of its first row.
        """
        values = self.column.read(column)
        self.column.refuse(column, values, source, first)
        return self.encoded(torch.tensor(values))

    def encoded(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The same for encoded values ``(n,)``."""
        if self.column.classes:
            features = values[:, None] == torch.arange(self.width)
            return features.double(), ~features.any(1)
        hole, holed = values.isnan(), self.width > 1
        low, high = self.column.kind.bounds or (-np.inf, None)
        outside = (values < low) | (values > (np.inf if high is None else high))
        features = torch.where(hole, 0.0, (values - self.mean) / self.scale)
        return torch.stack([features, hole.double()] if holed else [features], 1), outside | hole & (not holed)

    def values(self, features: Tensor) -> Tensor:
        """What context features ``(rows, width)`` stand for: encoded values, NaN where one is missing."""
        if self.column.classes:
            codes = features.argmax(1).double()
            return codes.masked_fill(codes >= self.column.kind.classes, np.nan)
        values = self.mean + self.scale * features[:, 0]
        return values.masked_fill(features[:, 1] > 0.5, np.nan) if self.width > 1 else values
