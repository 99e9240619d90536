"""What columns know of each other: every relation says itself in a sentence, and must help rows that are held out.

A column that follows from others is not part of the flow. It is recomputed when rows are sampled, and a row that
violates the relation has density 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ....distributions.mixture import GaussianMixture
from ..columns import Column
from ..kinds.base import Numbers
from ..kinds.numeric import Numeric
from ..saved import Saved

Rows = Mapping[str, Numbers]  # encoded columns by name
Columns = Mapping[str, Column]
FEWEST = 50  # rows in which a relation is sought
COMPONENTS = 3
WORST = 10.0  # nats below the median that a row counts at most: a flow does not lose more by a wrong row

Seen = tuple[Numbers, Numbers]  # columns as a density sees them, ``(rows, columns)``, and the log-slopes ``(rows,)``


class Relation(Saved, ABC):
    """What columns know of each other. Subclasses are frozen dataclasses, saved with the model by their fields."""

    stated = False  # by the user

    @abstractmethod
    def __str__(self) -> str:
        """The relation in words."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"


@dataclass(frozen=True, repr=False)
class Dependency(Relation):
    """A functional dependency: a column that follows from others."""

    column: Column  # the column that follows
    inputs: tuple[str, ...] = ()  # the columns from which it follows; none for a constant

    close = 1e-9  # of the column's spread: the rounding error of float64

    @abstractmethod
    def computed(self, values: Rows, columns: Columns) -> Numbers:
        """The encoded column from encoded inputs; NaN if one of them is missing."""

    def rest(self, found: Numbers, values: Rows, columns: Columns) -> dict[str, Numbers]:
        """What the column, encoded, says about inputs, in rows where only one is missing; NaN in others."""
        return {}

    def known(self, values: Rows) -> np.ndarray | bool:
        """In which rows the inputs have values to which the relation applies."""
        return True

    def tells(self, found: Numbers, values: Rows, columns: Columns, empty: bool = False) -> np.ndarray:
        """In which rows the column, encoded, says something about inputs that have a value, or may be ``empty``."""
        return ~self.column.missing(found)

    def broken(self, found: Numbers, values: Rows, columns: Columns) -> np.ndarray:
        """Which rows contradict the relation; none where a value is missing, or to which it does not apply."""
        computed = self.computed(values, columns)
        there = ~np.isnan(found) & ~np.isnan(computed) & self.known(values)
        return there & (np.abs(found - computed) > self.slack)

    def widened(self, found: Numbers, values: Rows, columns: Columns) -> Dependency:
        """The relation with what new rows tell of inputs that it does not know."""
        return self

    def amounts(self, values: Rows, columns: Columns) -> Numbers:
        """The inputs as amounts, ``(inputs, rows)``."""
        return np.stack([amounts_of(columns[name], values[name]) for name in self.inputs])

    @property
    def slack(self) -> float:
        """How far apart two encoded values may be and count as equal."""
        low, high = self.column.kind.ends
        return self.close * (1.0 if self.column.classes else max(high - low, abs(high), 1e-300))


@dataclass(frozen=True, repr=False)
class Constant(Dependency):
    """A column that has one value in every row."""

    value: float = 0.0  # the encoded value

    def computed(self, values: Rows, columns: Columns) -> Numbers:
        return np.full(len(next(iter(values.values()))), self.value)

    def __str__(self) -> str:
        return f"{self.column.name!r} is {self.column.shown(self.value)} in every row"


class Dependencies:
    """What follows from other columns, each from modelled ones or from those before it. Some are modelled as well.

    Args:
        relations: What follows.
        columns: The modelled columns.
    """

    def __init__(self, relations: Sequence[Dependency], columns: Sequence[Column]) -> None:
        self.relations, self.modelled = tuple(relations), columns

    def __iter__(self) -> Iterator[Dependency]:
        return iter(self.relations)

    def __len__(self) -> int:
        return len(self.relations)

    @property
    def columns(self) -> list[Column]:
        """The columns that follow, and are not modelled."""
        known = {column.name for column in self.modelled}
        return [relation.column for relation in self.relations if relation.column.name not in known]

    @cached_property
    def known(self) -> dict[str, Column]:
        """All columns by name."""
        return {column.name: column for column in (*self.modelled, *self.columns)}

    @cached_property
    def sources(self) -> dict[str, set[str]]:
        """The modelled columns from which each column follows; of a modelled one, itself."""
        found = {column.name: {column.name} for column in self.modelled}
        for relation in self.relations:
            found.setdefault(relation.column.name, {each for name in relation.inputs for each in found[name]})
        return found

    @cached_property
    def flags(self) -> dict[str, str]:
        """The features that flag missing values of columns that follow, by the names of these."""
        names = {column.name for column in self.columns}
        return {c.kind.flags: c.name for c in self.modelled if c.kind.flags in names}

    def lacking(self, values: Rows) -> list[Column]:
        """The columns that follow, and have no value in rows of which the others tell one."""
        if not (holed := [column for column in self.columns if column.holes.share]):
            return []
        computed = self.computed({column.name: values[column.name] for column in self.modelled})
        return [c for c in holed if (c.missing(values[c.name]) & ~c.missing(computed[c.name])).any()]

    def computed(self, values: Rows) -> dict[str, Numbers]:
        """Encoded rows with the columns that follow, computed where they are not told; NaN where they are flagged."""
        found = dict(values)
        for relation in self.relations:
            if relation.column.name not in found:
                found[relation.column.name] = relation.computed(found, self.known)
        for name, flag in self.flags.items():
            if flag in found:
                found[name] = np.where(found[flag] > 0.5, np.nan, found[name])
        return found

    def completed(self, values: Rows, told: Rows, drawn: bool = False) -> dict[str, Numbers]:
        """Encoded rows with missing values completed from the columns that follow, as far as these are told and say
        something about them, which they do if all others are ``drawn``; or computed if modelled columns follow."""
        found, kept = dict(values), {column.name for column in self.modelled}
        for relation in self.relations:
            if (name := relation.column.name) in kept:
                gone, own = relation.column.missing(found[name]), relation.computed(found, self.known)
                found[name] = np.where(gone & ~np.isnan(own), own, found[name])
            if relation.column.name in told and {*relation.inputs} <= found.keys():
                own = told[relation.column.name]
                tells = drawn | relation.tells(own, found, self.known)
                for name, rest in relation.rest(own, found, self.known).items():
                    found[name] = np.where(np.isnan(rest) | ~tells, found[name], rest)
        return found

    def broken(self, values: Rows, told: Rows, rows: int) -> np.ndarray:
        """Which of so many rows violate each of them, ``(dependencies, rows)``; none if they are not told."""
        told, found = {**values, **told}, np.zeros((len(self), rows), bool)
        values = self.computed(told)
        for place, relation in enumerate(self.relations):
            if relation.column.name in told:
                found[place] = relation.broken(told[relation.column.name], values, self.known)
        return found

    def culprits(self, violated: Sequence[Dependency]) -> list[str]:
        """The column that alone may break all these relations in a row: one that follows, unless several follow from
        one; all that follow if there is none."""
        follow = [relation.column.name for relation in violated]
        reached = ({name, *each.inputs} | self.sources[name] for name, each in zip(follow, violated, strict=True))
        common = set.intersection(*reached)
        return [name for name in follow if name in common][:1] or sorted(common)[:1] or follow

    def implied(self, names: Collection[str], values: Rows, told: Rows) -> dict[str, Numbers]:
        """What all other columns say of some, encoded; NaN where they do not tell."""
        others = {name: each for name, each in told.items() if name not in names}
        without = {name: each * np.nan if name in names else each for name, each in values.items()}
        computed = self.computed(self.completed(without, others, drawn=True))
        return {name: computed[name] for name in names}

    def far(self, values: Rows) -> np.ndarray:
        """In which rows one of them is farther beyond the training rows than these are apart, ``(n,)``."""
        values, ends = self.computed(values), [(column.name, *column.limits(1.0)) for column in self.columns]
        return np.any([(values[name] < low) | (values[name] > high) for name, low, high in ends], 0)


def amounts_of(column: Column, x: Numbers) -> Numbers:
    """Encoded values as amounts; the codes of names, of which the truth is above the untruth."""
    return column.kind.amounts(x) if column.kind.is_number else x


def shortest(low: float, high: float) -> float:
    """The number with the fewest digits that is not below one, and below the other."""
    digits = -int(np.floor(np.log10(max(abs(low), abs(high), 1e-300))))
    tries = (round(0.5 * (low + high), digits + more) for more in range(-1, 17))
    return next((short for short in tries if low <= short < high), low) + 0.0


def modelled(columns: Sequence[Column], relations: Sequence[Dependency]) -> list[Column]:
    """The columns without those that follow."""
    gone = {relation.column.name for relation in relations}
    return [column for column in columns if column.name not in gone]


def inputs_of(relations: Sequence[Dependency]) -> set[str]:
    """The columns that some follow from."""
    return {name for relation in relations for name in relation.inputs}


def on_scales(columns: Sequence[Column], values: Rows) -> dict[str, Numbers]:
    """The amounts of columns that hold some and have no period, by name."""
    scales = [column for column in columns if column.kind.is_number and column.kind.circle is None]
    return {column.name: column.kind.amounts(values[column.name]) for column in scales}


def scale_of(column: Column) -> Numeric | None:
    """The kind of a column of numbers on a scale that has no period; None for others."""
    return column.kind if isinstance(column.kind, Numeric) and column.kind.circle is None else None


def learnt(rows: int) -> np.ndarray:
    """The half of so many rows that is not held out, as a mask."""
    return np.random.default_rng(0).permutation(rows) % 2 == 0


def gained(new: Seen, old: Seen, least: float = 0.0) -> float:
    """By how many nats held-out rows are likelier on average, beyond the least that counts; 0 if two standard errors
    leave that open."""
    more, less = (np.maximum(nats, np.median(nats) - WORST) for nats in (_nats(*new), _nats(*old)))
    mean, error = float((more - less).mean()), float((more - less).std()) / np.sqrt(len(more))
    return mean - least if mean > least + 2 * error else 0.0


@torch.no_grad()
def _nats(z: Numbers, log_slope: Numbers) -> Numbers:
    """Log-densities of the held-out rows under a mixture of Gaussians of the others."""
    half, x = learnt(len(z)), torch.from_numpy(z)
    mixture = GaussianMixture(z.shape[1], COMPONENTS).double()
    mixture.fit(x[half], prior=1.0, max_steps=60, tolerance=1e-3)
    return np.asarray(mixture.log_prob(x[~half]).numpy() + log_slope[~half])


def mapped(kind: Numeric, points: Numbers) -> Seen:
    """The first map of points, and its log-slope, finite."""
    z, log_slope = kind.first_map()(torch.from_numpy(points))
    return np.nan_to_num(z.numpy(), posinf=1e3, neginf=-1e3), np.nan_to_num(log_slope.numpy(), neginf=-1e3)
