"""What a model knows about a table's columns: names, kinds, grids, supports, and how given columns become a context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from .errors import InputError, listed
from .numbers import is_text, refuse_gaps, refuse_text, require_columns, to_numbers, usable_rows

MAX_CATEGORIES = 200


@dataclass(frozen=True)
class Column:
    """A modelled column.

    Args:
        name: Its name in the table.
        kind: ``continuous``, ``integer``, ``rounded`` (values on a grid) or ``inflated`` (one value stands out).
        step: Distance of the grid's values, 0 where there is no grid.
        origin: One value of the grid.
        decimals: Decimals that the grid's values need.
        atom: For ``inflated``: (value, low, width): rows that hold the value are spread over value + low + [0, width).
        bounds: The open interval that the values lie in, where one was stated or found; None for no upper end.
        first: The column's first transform: ``none``, ``log``, ``asinh``, ``softplus`` or ``logit``.
        loc, scale: The first transform sees (x - loc) / scale.
        minimum, maximum: Of the training rows.
        quantiles: Of the training rows, evenly spaced in probability.
        integer: Whether every value is a whole number, so that samples are written as whole numbers.
    """

    name: str
    kind: str = "continuous"
    step: float = 0.0
    origin: float = 0.0
    decimals: int = 0
    atom: tuple[float, float, float] | None = None
    bounds: tuple[float, float | None] | None = None
    first: str = "none"
    loc: float = 0.0
    scale: float = 1.0
    minimum: float = 0.0
    maximum: float = 0.0
    quantiles: tuple[float, ...] = ()
    integer: bool = False

    @property
    def has_cells(self) -> bool:
        """Whether values of this column are cells of a width above 0, and its density is averaged over them."""
        return self.step > 0 or self.atom is not None

    def snap(self, values: np.ndarray) -> np.ndarray:
        """Puts samples back where data can be: on the grid, on the atom, inside the bounds."""
        if self.step > 0:
            values = np.round(np.round((values - self.origin) / self.step) * self.step + self.origin, self.decimals)
            if self.bounds is not None:
                values = np.clip(values, *self.bounds)
        if self.atom is not None:
            value, low, width = self.atom
            values = np.where((values >= value + low) & (values < value + low + width), value, values)
        return values


@dataclass(frozen=True)
class Given:
    """A column that is conditioned on: a standardised number, or text as one indicator for each category."""

    name: str
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0

    @property
    def width(self) -> int:
        """Context features that it becomes."""
        return len(self.categories) or 1


@dataclass(frozen=True)
class Schema:
    """The columns of a model, by name.

    Args:
        columns: The modelled columns, in the order of the flow's features.
        given: The columns that are conditioned on, in the order of the context.
    """

    columns: tuple[Column, ...]
    given: tuple[Given, ...] = field(default=())

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def given_names(self) -> list[str]:
        return [given.name for given in self.given]

    @property
    def text_names(self) -> list[str]:
        """The given columns that hold text."""
        return [given.name for given in self.given if given.categories]

    @property
    def context_features(self) -> int:
        return sum(given.width for given in self.given)

    @property
    def has_cells(self) -> bool:
        """Whether some column is integer, rounded or inflated, so that log-densities are averages over cells."""
        return any(column.has_cells for column in self.columns)

    def to_json(self) -> dict[str, Any]:
        return {"columns": [asdict(c) for c in self.columns], "given": [asdict(g) for g in self.given]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Schema:
        return cls(
            tuple(Column(**{k: _frozen(v) for k, v in column.items()}) for column in values["columns"]),
            tuple(Given(**{k: _frozen(v) for k, v in given.items()}) for given in values["given"]),
        )

    def usable(self, frame: pl.DataFrame) -> np.ndarray:
        """Which rows have a value in every column of the model."""
        numbers, text = self._kinds()
        return usable_rows(frame, numbers, text)

    def check(self, frame: pl.DataFrame, source: str) -> None:
        """Refuses a table that lacks a column of the model, or holds text where the model has numbers.

        Raises:
            InputError: says which columns, and what is expected.
        """
        require_columns(frame, [*self.names, *self.given_names], source)
        refuse_text(frame, self._kinds()[0], source)

    def extra_names(self, columns: Sequence[str]) -> list[str]:
        """Columns of a table that the model does not use."""
        known = {*self.names, *self.given_names}
        return [name for name in columns if name not in known]

    def encode(self, frame: pl.DataFrame, source: str, first: int = 0) -> tuple[Tensor, Tensor | None]:
        """x of shape (rows, features) in float64 and the context of shape (rows, context features), or None.

        Args:
            frame: The rows.
            source: Their file, for the errors.
            first: The number of the first row in the file, from 0, for the errors.

        Raises:
            InputError: a column is missing, a value is missing or infinite, a category was not seen in training.
        """
        self.check(frame, source)
        refuse_gaps(frame, *self._kinds(), source, first)
        return torch.from_numpy(to_numbers(frame, self.names)), self.context(frame, source, first)

    def context(self, frame: pl.DataFrame, source: str, first: int = 0) -> Tensor | None:
        """The given columns as float32 features, or None where the model has none."""
        if not self.given:
            return None
        parts = [_features(frame[given.name], given, source, first) for given in self.given]
        return torch.from_numpy(np.concatenate(parts, 1)).float()

    def decode(self, x: Tensor) -> pl.DataFrame:
        """Samples as a table: snapped to grids, whole numbers as integers."""
        values = x.detach().double().cpu().numpy()
        series = []
        for j, column in enumerate(self.columns):
            snapped = column.snap(values[:, j])
            whole = column.integer and bool((np.abs(snapped) < 2**62).all())
            series.append(pl.Series(column.name, snapped.astype(np.int64) if whole else snapped))
        return pl.DataFrame(series)

    def _kinds(self) -> tuple[list[str], list[str]]:
        numbers = self.names + [given.name for given in self.given if not given.categories]
        return numbers, self.text_names


def learn_given(frame: pl.DataFrame, names: Sequence[str], source: str) -> tuple[Given, ...]:
    """Learns from the training rows how given columns become context features.

    Raises:
        InputError: a column is constant or holds too many categories.
    """
    return tuple(_learn_given(frame[name], source) for name in names)


def _learn_given(column: pl.Series, source: str) -> Given:
    name = column.name
    if column.n_unique() < 2:
        raise InputError(f"{source}: column {name!r} is {column[0]!r} in every row; leave it out of --given")
    if not is_text(column):
        values = to_numbers(column.to_frame(), [name])[:, 0]
        return Given(name, mean=float(values.mean()), scale=float(values.std()))
    if not (column.dtype == pl.String or column.dtype in (pl.Categorical, pl.Enum)):
        raise InputError(f"{source}: column {name!r} holds {column.dtype} values; --given takes numbers and text")
    categories = tuple(sorted(column.cast(pl.String).unique().to_list()))
    if len(categories) > MAX_CATEGORIES:
        raise InputError(
            f"{source}: column {name!r} holds {len(categories)} different texts, more than {MAX_CATEGORIES}; "
            "leave it out of --given, or group them"
        )
    return Given(name, categories)


def _features(column: pl.Series, given: Given, source: str, first: int) -> np.ndarray:
    if not given.categories:
        return (to_numbers(column.to_frame(), [given.name]) - given.mean) / given.scale
    text = column.cast(pl.String)
    unseen = np.flatnonzero(~text.is_in(given.categories).to_numpy())
    if len(unseen):
        row = int(unseen[0])
        raise InputError(
            f"{source}: column {given.name!r}, row {first + row + 1}: {text[row]!r} was not among the training rows; "
            f"the model knows {listed(given.categories)}"
        )
    return np.column_stack([(text == category).to_numpy() for category in given.categories]).astype(np.float64)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
