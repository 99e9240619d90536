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
from ..schema.columns import Column
from ..schema.numbers import missing
from ..schema.schema import Encoded


def condition_on(
    model: TableModel, rows: Encoded, names: Sequence[str], frame: pl.DataFrame, source: str, first: int
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """The rows as far as they can be conditioned on, which cannot, ``(n,)``, and notes on these: those of a category
    that no training row had. A number that none of few was is taken for the nearest.

    Args:
        model: The fitted table.
        rows: Encoded rows.
        names: The columns to condition on.
        frame: The rows as they are in the table.
        source, first: Where they come from, and the number of the first row there, for error messages.

    Raises:
        InputError: a number cannot be; names the column, the row and the number.
    """
    x, strange, notes = rows.x.clone(), rows.strange.clone(), list(rows.notes)
    for j, column in enumerate(model.schema.columns):
        if column.name not in names or column.name not in frame.columns:
            continue
        cells = frame[column.name]
        there = torch.from_numpy(~missing(cells))
        if column.classes:
            x[:, j] = torch.where(there & (x[:, j] < 0), torch.from_numpy(column.nearest(cells)), x[:, j])
            odd = there & (x[:, j] < 0)
            if odd.any():
                said = f"column {column.name!r}, {cells[int(odd.byte().argmax())]!r} in {int(odd.sum()):,} rows"
                notes.append(f"{source}: {said}: not among the training rows, so there is no answer given it")
            strange |= odd
        else:
            _refuse_impossible(column, x[:, j], there, cells, source, first)
    return x, strange, tuple(notes)


def _refuse_impossible(column: Column, x: Tensor, there: Tensor, cells: pl.Series, source: str, first: int) -> None:
    """Refuses numbers that have no density at all: beyond a bound, or where the column's first map does not reach."""
    possible, first_map = torch.from_numpy(column.kind.can(x.numpy())), column.kind.first_map()
    if first_map is not None:
        possible &= first_map(x)[0].isfinite()
    bad = there & ~possible & ~x.isnan()
    if bad.any():
        row = int(bad.byte().argmax())
        low, high = (column.shown(float(end)) for end in column.kind.ends)
        raise InputError(
            f"{source}: column {column.name!r}, row {first + row + 1}: {cells[row]} cannot be; the training rows have "
            f"values from {low} to {high}"
        )


def check_known(model: TableModel, names: Sequence[str]) -> None:
    """Refuses columns that the model does not have.

    Raises:
        InputError: names the first.
    """
    schema = model.schema
    known = [*schema.given_names, *schema.names]
    for name in names:
        if name in schema.extra_names([name]):
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
    if not given and not model.schema.given:
        return pl.DataFrame()
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
    known = schema.table_names
    unknown = [name for name in given if name not in known and name not in columns]
    if unknown:
        raise InputError(f"the model {model.called} has the columns {listed(schema.names)}", "given", unknown[0])
    absent = [name for name in given if name not in columns]
    if absent:
        raise InputError(f"the table has no such column; it has {listed(columns)}", "given", absent[0])
    if not any(name in columns and name not in given for name in schema.names):
        raise InputError(f"no column is left to ask for: the model has {listed(schema.names)}")
    if any(name in schema.names for name in given):
        model.guide_for(f"answers only for all columns{f' given {listed(schema.given_names)}' if schema.given else ''}")
