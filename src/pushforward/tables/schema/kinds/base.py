"""What every kind of column can do: know its own columns, read and write their values, and say what is possible."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import Tensor

from ....errors import InputError
from ....transforms.base import Transform
from ..saved import Saved

Numbers = NDArray[np.float64]
Bounds = tuple[float, float | None]  # an open interval; None for no upper end
Atom = tuple[float, float, float]  # a value; the lower end, relative to it, and the width of its cell
FARTHEST = 1e300
MOST_ATOMS = 100  # in a column that also has other values


@dataclass(frozen=True)
class Hints:
    """What is known of a column beside its values.

    Args:
        source: Its file, for error messages.
        bounds: The open interval of its values, as stated by the user.
        period: The beginning and end of a circular column's period, as stated by the user.
        named: Whether the values are names although they may be numbers, as stated by the user.
        scale: Whether they are numbers on a scale, however few: as stated by the user, or since they are dates.
        day: How long a day is in them, if they are dates; else 0.
        float32: Whether they passed through float32, which blurs grids.
    """

    name: str = ""
    source: str = "the table"
    bounds: Bounds | None = None
    period: tuple[float, float] | None = None
    named: bool = False
    scale: bool = False
    day: float = 0.0
    float32: bool = False


@dataclass(frozen=True)
class Description:
    """A column in words: its kind, the range of its values, and its first transform."""

    kind: str
    low: str = "-"
    high: str = "-"
    first: str = "-"


class Partition:
    """A scale divided into cells: the density of a value is averaged over its own."""

    minimum: float  # of the training rows
    maximum: float
    bounds: Bounds | None = None  # the open interval of the values
    step: float = 0.0  # the width of every value's cell, with the value in its middle; 0 if there are none
    origin: float = 0.0  # one of the values that are multiples of the step apart
    atoms: tuple[Atom, ...] = ()  # the cells of values that stand out

    @cached_property
    def atom_cells(self) -> Numbers:
        """The atoms in increasing order: their values, and the lower end, from there, and the width of each one's cell,
        ``(3, atoms)``."""
        return np.array(sorted(self.atoms)).reshape(-1, 3).T

    def cells_of(self, x: Numbers) -> tuple[Numbers, Numbers]:
        """The lower end and the width of each value's cell."""
        low, width = np.full(len(x), -0.5 * self.step), np.full(len(x), self.step)
        if self.atoms:
            value, below, wide = self.atom_cells
            at = np.searchsorted(value, x).clip(max=len(value) - 1)
            here = value[at] == x
            low, width = np.where(here, below[at], low), np.where(here, wide[at], width)
        return x + low, width

    def middles(self, x: Numbers) -> Numbers:
        """The middle of each value's cell."""
        low, width = self.cells_of(x)
        return low + 0.5 * width

    def spread(self, x: Numbers, random: np.random.Generator) -> Numbers:
        """A point in each value's cell, as a density sees it."""
        low, width = self.cells_of(x)
        return np.asarray(low + width * random.random(len(x)))

    def lowest_edge(self, low: float) -> float:
        """The lower end of the cells of values down to ``low``."""
        values = self.atom_cells[0]
        return float(self.cells_of(np.append(values[values <= max(low, self.minimum)], low))[0].min())

    def highest_edge(self, high: float) -> float:
        """The upper end of the cells of values up to ``high``."""
        values = self.atom_cells[0]
        start, width = self.cells_of(np.append(values[values >= min(high, self.maximum)], high))
        return float((start + width).max())


class Kind(Partition, Saved, ABC):
    """A kind of column: which values it can hold, and how a model sees them.

    Encoded values are float64 numbers, NaN where one is missing. Those of a kind with :attr:`classes` are the indices
    of its values, each of which has a probability; those of any other kind are numbers that have a density. Subclasses
    are frozen dataclasses, saved with the model by their fields.
    """

    remark: ClassVar[str] = ""  # what a reader should know about such columns
    contents: ClassVar[str] = ""  # what its cells hold, if it is not what the column's reading says: "text"
    is_number: ClassVar[bool] = True  # whether encoded values, or the names of classes, are amounts
    whole: bool = False  # whether every value is a whole number
    flags: str = ""  # the column whose missing values it flags
    period: tuple[float, float] | None = None  # the beginning and end of a circular column's period
    circle: tuple[float, float] | None = None  # where the one turn of a circular column begins and ends
    labels: tuple[str, ...] = ()  # names of the values that have a probability each; none for numbers with a density
    fill: tuple[float, ...] = ()  # how missing values are drawn: shares of classes, or quantiles of spread numbers
    unseen: tuple[float, ...] = ()  # shares of the values encoded as each class that no training row had
    stands_in: tuple[float, ...] = ()  # how often each class stands for a value that no row had, whose code is -1
    grouped: int = 0  # how many rare values its last class stands for, which also stands for unknown ones

    @classmethod
    @abstractmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        """The kind of a column, from the values of its rows; None if it is not of this kind."""

    @abstractmethod
    def read(self, values: pl.Series) -> Numbers:
        """Encodes values: NaN for missing ones, -1 for those that have no class."""

    def widened(self, values: pl.Series, known: int) -> Kind:
        """The kind with places for values that have none, placed after the others, ``known`` rows of these."""
        return self

    def encoded(self, values: Tensor) -> Tensor:
        """The same for a tensor of numbers; of a kind that reads anything else, an error."""
        raise InputError(
            f"columns of the kind {type(self).__name__} have no form as tensors, so no graph can read them"
        )

    def nearest(self, values: pl.Series) -> Numbers:
        """Encodes values; those without a class as the nearest that has one, if they are amounts."""
        return self.read(values)

    def as_new(self, codes: Tensor) -> Tensor:
        """Encoded values of rows that the kind was learnt from, as those of further rows would be."""
        return codes

    @abstractmethod
    def write(self, numbers: Numbers) -> pl.Series:
        """Encoded values as in the table, moved to possible ones; null where they are NaN."""

    @abstractmethod
    def describe(self) -> Description:
        """The kind in words."""

    @cached_property
    def classes(self) -> int:
        """How many values have a probability each; 0 for numbers with a density."""
        return len(self.labels)

    @property
    def may_be_scale(self) -> bool:
        """Whether its values, which have a probability each, may just as well be numbers on a scale."""
        return False

    @property
    def has_cells(self) -> bool:
        """Whether values are cells of positive width, over which the density is averaged."""
        return self.step > 0 or len(self.atoms) > 0

    @property
    def resolution(self) -> float:
        """The distance of values that are written; 0 if any other may lie between two."""
        return self.step

    @property
    def outcomes(self) -> tuple[Any, ...]:
        """What two models must agree on for their densities to be comparable: the classes, or the cells."""
        return self.labels, self.step, self.atoms

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest encoded value of the training rows."""
        return 0.0, max(self.classes - 1.0, 0.0)

    @property
    def typical(self) -> tuple[float, ...]:
        """Encoded values to try in place of others."""
        return tuple(map(float, range(self.classes)))

    def can(self, numbers: Numbers) -> NDArray[np.bool_]:
        """Which encoded values are possible."""
        if self.classes:
            return (numbers >= 0) & (numbers < self.classes) & (numbers == np.floor(numbers))
        return np.isfinite(numbers)

    def snap(self, numbers: Numbers) -> Numbers:
        """Encoded values moved to possible ones."""
        return numbers

    def limits(self, spreads: float) -> tuple[float, float]:
        """The ends of what may be drawn: so many spreads beyond the training rows, one less beyond an end that many of
        them share, within the bounds; of codes, those that stand for values."""
        return (0.0 if self.classes else -np.inf), np.inf

    def reaching(self, x: Numbers) -> Kind:
        """The kind whose draws may lie where further encoded values do, too."""
        return self

    def amounts(self, codes: NDArray[Any]) -> Numbers:
        """Encoded values as amounts: numbers as they are, codes as the numbers that are their names, if they are."""
        return np.full(len(codes), np.nan) if self.classes else codes

    def between(self, low: float, high: float) -> NDArray[Any]:
        """Where encoded rows hold an amount from ``low`` to ``high``, ends included: which codes, ``(classes,)``; or of
        numbers with a density, the ends of disjoint intervals in increasing order, ``(2, intervals)``."""
        if self.classes:
            amounts = self.amounts(np.arange(self.classes, dtype=float))
            return (amounts >= low) & (amounts <= high)
        return np.array([[low], [high]])

    def shown(self, number: float) -> str:
        """An encoded value as text."""
        return str(self.write(np.array([number]))[0])

    def first_map(self) -> Transform | None:
        """The column's own map from its units to a suitable scale, with ``event_dim`` 0; None if it has none."""
        return None

    def without(self, *maps: str) -> Kind:
        """The kind without a first map of one of these names, unless that keeps it within its bounds."""
        return self

    def shaped(self, x: Numbers, weight: Numbers, again: bool = False) -> Kind:
        """The kind with what its first map takes from rows with these weights: a histogram, if their spikes call for
        one, and tails; ``again``, if others have shaped it: the map then stays one of the same sort."""
        return self

    def log_unseen(self, x: Tensor) -> Tensor | float:
        """The change in the log-densities of encoded values that no training row had, in nats."""
        return 0.0
