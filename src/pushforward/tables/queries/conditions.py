"""Values that a query is conditioned on: read by name, as one row or many, and refused if they are invalid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ...errors import InputError, listed
from ..io.values import series
from ..model import TableModel
from ..schema.numbers import missing
from ..schema.schema import Schema


def refuse_unknown_categories(schema: Schema, names: Sequence[str], x: Tensor, frame: pl.DataFrame) -> None:
    """Refuses categories of given columns that no training row had.

    Raises:
        InputError: names the first.
    """
    for j, column in enumerate(schema.columns):
        if column.classes and column.name in names and column.name in frame.columns:
            there = torch.from_numpy(~missing(frame[column.name]))
            odd = (there & ~torch.from_numpy(column.kind.can(x[:, j].numpy()))).nonzero()
            if len(odd):
                raise InputError(
                    f"was not among the training rows; the model knows {listed(column.kind.labels)}",
                    "given",
                    {column.name: frame[column.name][int(odd[0])]},
                )


def check_known(model: TableModel, names: Sequence[str]) -> None:
    """Refuses columns that the model does not have.

    Raises:
        InputError: names the first.
    """
    schema = model.schema
    known = [*schema.given_names, *schema.names]
    for name in names:
        if name not in known:
            raise InputError(f"the model {model.called} has no such column; it has {listed(known)}", "given", name)
    lacking = [name for name in schema.given_names if name not in names]
    if lacking:
        example = next(given.example for given in schema.given if given.name == lacking[0])
        raise InputError(
            f"the model {model.called} is conditioned on {listed(schema.given_names)}; give a value for "
            f"{listed(lacking)}, as in `given={ {lacking[0]: example} }`"
        )


def one_row(model: TableModel, given: Mapping[str, Any]) -> pl.DataFrame:
    """Values given by name, as a frame of one row; numbers may come as text.

    Raises:
        InputError: a column is unknown, or takes a number.
    """
    check_known(model, list(given))
    fields = [*model.schema.fields, *(given.column for given in model.schema.given)]
    plain = {column.name for column in fields if column.reading.takes_numbers}
    return pl.DataFrame([series(name, [_number(name, v) if name in plain else v]) for name, v in given.items()])


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name!r} takes a number", "given", {name: value}) from None
    if not np.isfinite(number):
        raise InputError(f"{name!r} takes a finite number", "given", {name: value})
    return number


def check_asked(model: TableModel, columns: Sequence[str], given: Sequence[str]) -> None:
    """Refuses a question that the model cannot answer.

    Args:
        model: The fitted table.
        columns: Those of the rows.
        given: Those to condition on.

    Raises:
        InputError: ``given`` names a column that the model does not have, or one twice, or the model has no guide.
    """
    schema = model.schema
    if not given:
        return
    twice = [name for name in dict.fromkeys(given) if list(given).count(name) > 1]
    if twice:
        raise InputError(f"{twice[0]!r} is named twice", "given")
    unknown = [name for name in given if name not in (*schema.names, *schema.given_names)]
    if unknown:
        raise InputError(f"the model {model.called} has the columns {listed(schema.names)}", "given", unknown[0])
    absent = [name for name in given if name not in columns]
    if absent:
        raise InputError(f"the table has no such column; it has {listed(columns)}", "given", absent[0])
    if not any(name in columns and name not in given for name in schema.names):
        raise InputError(f"no column is left to ask for: the model has {listed(schema.names)}")
    if any(name in schema.names for name in given):
        model.guide_for(f"answers only for all columns{f' given {listed(schema.given_names)}' if schema.given else ''}")
