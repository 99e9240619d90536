"""Categories: columns of text, truth values, or numbers that are names; from their values to codes and contexts."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import polars as pl

from ..errors import InputError, listed
from .columns import Column, Given
from .numbers import is_text, to_numbers

MAX_CATEGORIES = 200
HOLDS_TEXT = (pl.String, pl.Categorical, pl.Enum)


def learn_category(column: pl.Series, source: str) -> Column:
    """Describes a column that is modelled as a category.

    Raises:
        InputError: it is constant, or has so many values that most rows have one of their own.
    """
    categories = _categories(column, source, "--columns")
    dtype = "String" if column.dtype in HOLDS_TEXT else "Boolean" if column.dtype == pl.Boolean else "Float64"
    if dtype == "Float64" and as_text(column).str.contains(r"^-?\d+$").all():
        dtype = "Int64"
    codes = tuple(float(code) for code in range(len(categories)))
    return Column(column.name, "category", maximum=codes[-1], quantiles=codes, categories=categories, dtype=dtype)


def learn_given(
    frame: pl.DataFrame, names: Sequence[str], source: str, categories: Collection[str] = ()
) -> tuple[Given, ...]:
    """Learns from the training rows how given columns become context features; ``categories`` are not taken as numbers.

    Raises:
        InputError: a column is constant or holds too many categories.
    """
    return tuple(_learn_given(frame[name], source, name in categories) for name in names)


def _learn_given(column: pl.Series, source: str, category: bool) -> Given:
    if category or is_text(column):
        return Given(column.name, _categories(column, source, "--given"))
    if column.n_unique() < 2:
        raise InputError(f"{source}: column {column.name!r} is {column[0]!r} in every row; leave it out of --given")
    values = to_numbers(column.to_frame(), [column.name])[:, 0]
    return Given(column.name, mean=float(values.mean()), scale=float(values.std()))


def _categories(column: pl.Series, source: str, flag: str) -> tuple[str, ...]:
    """The values of a category in their order, as text."""
    where, mend = f"{source}: column {column.name!r}", f"leave it out {'of' if flag == '--given' else 'with'} {flag}"
    if not (column.dtype in HOLDS_TEXT or column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise InputError(f"{where} holds {column.dtype} values, which are neither numbers nor text; {mend}")
    values = column.drop_nulls().unique()
    if len(values) < 2:
        raise InputError(f"{where} is {column[0]!r} in every row; {mend}")
    if len(values) > MAX_CATEGORIES:
        raise InputError(
            f"{where} holds {len(values)} different values, and a category may have {MAX_CATEGORIES}; "
            f"{mend}, or group them"
        )
    if len(values) > 0.5 * len(column):
        raise InputError(f"{where} holds {len(values)} different values in {len(column)} rows; {mend}, or group them")
    ordered = as_text(values.sort()) if column.dtype.is_numeric() else as_text(values).sort()
    return tuple(ordered.to_list())


def as_text(column: pl.Series) -> pl.Series:
    """The values as text; 2.0 and 2 are both ``2``."""
    if column.dtype.is_float() and bool((column == column.round()).all()):
        column = column.cast(pl.Int64)
    return column.cast(pl.String)


def codes(column: pl.Series, categories: Sequence[str]) -> np.ndarray:
    """The place of each value in the categories, in float64; -1 for a value that is not among them."""
    places = {name: float(place) for place, name in enumerate(categories)}
    return as_text(column).replace_strict(places, default=-1.0, return_dtype=pl.Float64).to_numpy()


def given_features(column: pl.Series, given: Given, source: str, first: int = 0) -> np.ndarray:
    """A given column as context features, of shape (rows, ``given.width``); ``first`` is the number of its first row.

    Raises:
        InputError: a category was not among the training rows.
    """
    if not given.categories:
        return (to_numbers(column.to_frame(), [given.name]) - given.mean) / given.scale
    found = codes(column, given.categories)
    unseen = np.flatnonzero(found < 0)
    if len(unseen):
        row = int(unseen[0])
        raise InputError(
            f"{source}: column {given.name!r}, row {first + row + 1}: {column[row]!r} was not among the training rows; "
            f"the model knows {listed(given.categories)}"
        )
    return (found[:, None] == np.arange(len(given.categories))).astype(np.float64)
