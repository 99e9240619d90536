"""Categories: columns of text, booleans, few numbers, or numbers that are labels; as codes and as contexts."""

from __future__ import annotations

import numpy as np
import polars as pl

from ...errors import InputError, listed
from .columns import Column, ContextColumn
from .numbers import refuse_unread
from .reading import OTHER, as_numbers, as_text, category_codes
from .unseen import unseen_shares

MAX_CATEGORIES = 200


def learn_category(column: pl.Series, kind: str = "category") -> Column:
    """Describes a column whose values have a probability each; if there are too many, the rarest share one.

    Args:
        column: Its values, at least one of them present.
        kind: ``category``, or ``values`` for few distinct numbers.
    """
    dtype = "Boolean" if column.dtype == pl.Boolean else "String"
    if column.dtype.is_numeric():
        dtype = "Int64" if all(name.lstrip("-").isdigit() for name in value_names(column)) else "Float64"
    names, grouped = known_names(column)
    plain = Column(column.name, kind, categories=names, dtype=dtype, grouped=grouped)
    codes = category_codes(column, plain)
    there = codes[~np.isnan(codes)]
    counts = np.bincount(there.astype(np.int64), minlength=len(names))
    holes = 1 - len(there) / len(codes)
    places = tuple(float(code) for code in range(len(names) + (holes > 0)))
    return Column(
        column.name, kind, 0.0, maximum=places[-1], quantiles=places, categories=names, dtype=dtype, holes=holes,
        grouped=grouped, fill=tuple((counts / len(there)).tolist()),
        unseen=unseen_shares([float(name) for name in names], counts) if kind == "values" else (),
    )  # fmt: skip


def value_names(column: pl.Series) -> list[str]:
    """The distinct values of a column in order, as text."""
    if column.dtype.is_numeric():
        values = np.unique(as_numbers(column))
        whole = bool((values[~np.isnan(values)] % 1 == 0).all())
        return [str(int(v)) if whole and abs(v) < 2**62 else repr(float(v)) for v in values if not np.isnan(v)]
    names = as_text(column).drop_nulls().unique().sort().to_list()
    if isinstance(column.dtype, pl.Enum):  # which defines its own order
        names.sort(key=column.dtype.categories.to_list().index)
    return names


def known_names(column: pl.Series) -> tuple[tuple[str, ...], int]:
    """The names of the categories, and how many rare values the last one stands for: 0 unless there are too many."""
    names = value_names(column)
    if len(names) <= MAX_CATEGORIES:
        return tuple(names), 0
    places = {name: place for place, name in enumerate(names)}
    codes = category_codes(column, Column(column.name, categories=tuple(names), dtype=_dtype_of(column)))
    counts = np.bincount(codes[~np.isnan(codes)].astype(np.int64), minlength=len(names))
    often = set(np.argsort(-counts, kind="stable")[: MAX_CATEGORIES - 1].tolist())
    return (*(name for name in names if places[name] in often), OTHER), len(names) - len(often)


def _dtype_of(column: pl.Series) -> str:
    return "Float64" if column.dtype.is_numeric() else "String"


def given_features(column: pl.Series, given: ContextColumn, source: str, first: int = 0) -> np.ndarray:
    """A given column as context features, of shape (rows, ``given.width``); ``first`` is the number of its first row.

    Raises:
        InputError: a category was not among the training rows, text is no date, or a value is missing that is in all
            of the training rows.
    """
    values = category_codes(column, given) if given.categories else as_numbers(column, given.dtype, given.form)
    refuse_unread(column, values, given, source, first)
    hole = np.isnan(values)
    if hole.any() and not given.holes:
        raise InputError(
            f"{source}: column {given.name!r}, row {first + int(hole.argmax()) + 1}: a missing value, but no training "
            "row has one in this column, which the model is conditioned on; `drop_missing=True` leaves such rows out"
        )
    if given.categories:
        _refuse_unseen(column, values, given, source, first)
        values = np.where(hole, len(given.categories), values)
        return (values[:, None] == np.arange(given.width)).astype(np.float64)
    features = np.where(hole, 0.0, (values - given.mean) / given.scale)
    return np.column_stack([features, hole] if given.holes else [features])


def _refuse_unseen(column: pl.Series, codes: np.ndarray, given: ContextColumn, source: str, first: int) -> None:
    unseen = np.flatnonzero(codes < 0)
    if len(unseen):
        row = int(unseen[0])
        raise InputError(
            f"{source}: column {given.name!r}, row {first + row + 1}: {column[row]!r} was not among the training rows; "
            f"the model knows {listed(given.categories)}"
        )
