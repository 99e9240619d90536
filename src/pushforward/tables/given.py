"""Values that a query is conditioned on: read by name, as one row or many, and refused if they are invalid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ..errors import InputError, listed
from .io.values import series
from .schema.columns import Column, ContextColumn
from .schema.numbers import missing
from .schema.reading import MOMENTS, as_moments
from .schema.schema import Schema

if TYPE_CHECKING:
    from .fitted import FittedTable


def refuse_unknown_categories(schema: Schema, names: Sequence[str], x: Tensor, frame: pl.DataFrame) -> None:
    """Refuses categories of given columns that no training row had.

    Raises:
        InputError: names the first.
    """
    for j, column in enumerate(schema.columns):
        if column.classes and column.name in names and column.name in frame.columns:
            there = torch.from_numpy(~missing(frame[column.name]))
            odd = (there & ~torch.from_numpy(column.can(x[:, j].numpy()))).nonzero()
            if len(odd):
                raise InputError(
                    f"--given {column.name}={frame[column.name][int(odd[0])]}: was not among the training rows; the "
                    f"model knows {listed(column.labels)}"
                )


def check_known(model: FittedTable, names: Sequence[str]) -> None:
    """Refuses columns that the model does not have.

    Raises:
        InputError: names the first.
    """
    schema = model.schema
    known = [*schema.given_names, *schema.names]
    for name in names:
        if name not in known:
            raise InputError(f"--given {name}: the model {model.called} has no such column; it has {listed(known)}")
    lacking = [name for name in schema.given_names if name not in names]
    if lacking:
        raise InputError(
            f"the model {model.called} is conditioned on {listed(schema.given_names)}; give a value for "
            f"{listed(lacking)}, as in --given {lacking[0]}={_example(schema, lacking[0])}"
        )


def _example(schema: Schema, name: str) -> str:
    given = next(given for given in schema.given if given.name == name)
    if given.dtype in MOMENTS:
        return str(as_moments(pl.Series([given.mean]), given.dtype, given.form)[0])
    return given.categories[0] if given.categories else f"{given.mean:.3g}"


def one_row(model: FittedTable, given: Mapping[str, Any]) -> pl.DataFrame:
    """Values given by name, as a frame of one row; numbers may come as text.

    Raises:
        InputError: a column is unknown, or takes a number.
    """
    check_known(model, list(given))
    fields: list[Column | ContextColumn] = [*model.schema.columns, *model.schema.given]
    plain = {column.name for column in fields if not column.categories and column.dtype in ("", "String")}
    return pl.DataFrame([series(name, [_number(name, v) if name in plain else v]) for name, v in given.items()])


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"--given {name}={value}: {name!r} takes a number") from None
    if not np.isfinite(number):
        raise InputError(f"--given {name}={value}: {name!r} takes a finite number")
    return number
