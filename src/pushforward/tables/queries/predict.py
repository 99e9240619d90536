"""One column of rows from the others: quantiles, means, the likeliest values, probabilities, calibrated intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ...errors import InputError, listed
from ..model import TableModel
from ..schema.columns import Column
from .drawn_column import drawn_column
from .known import Known
from .one_column import has_one_column, only_column
from .weighted_column import ColumnDistribution

PredictionKind = Literal["mean", "median", "mode", "proba", "interval"]
CALIBRATED = 500  # rows by which intervals are calibrated, at most


def distribution_of(model: TableModel, name: str, known: Known, seed: int) -> ColumnDistribution:
    """The distribution of a column given what is known of rows.

    Raises:
        InputError: the model has no such column, or it is known.
    """
    column_of(model, name)
    if has_one_column(model) and known.nothing:
        return only_column(model, known.rows.context, known.strange)
    return drawn_column(model, known, name, seed)


def column_of(model: TableModel, name: str, argument: str = "column") -> Column:
    """A modelled column.

    Raises:
        InputError: it is none.
    """
    for column in model.schema.fields:
        if column.name == name:
            return column
    why = "follows from others" if name in model.schema.follow_names else "is none of them"
    raise InputError(f"the model {model.called} has the columns {listed(model.schema.names)}; {name!r} {why}", argument)


def quantiles(
    model: TableModel, name: str, q: Sequence[float], known: Known, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of a column and their standard errors, ``(n, len(q))`` each; dates as such, their errors in seconds.

    Raises:
        InputError: a probability is none, the column has no order, or the question cannot be answered.
    """
    for one in q:
        if not 0 <= one <= 1:
            raise InputError("expected probabilities, 0 to 1", "q", one)
    if name in known.cells.columns:
        raise InputError(f"{name!r} is given", "column")
    found = distribution_of(model, name, known, seed)
    values = found.quantile(list(q))
    written = _written(found.column, values.flatten()).reshape(values.shape)
    return written, found.errors_of_quantiles(list(q)).numpy()


def predict(
    model: TableModel, frame: pl.DataFrame, name: str, kind: PredictionKind, level: float, seed: int
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The prediction of a column in every row of a frame, whose own values of it are not read: a column of its name;
    ``proba``: a column for each value; ``interval``: ``low`` and ``high``; and notes on the rows.

    Raises:
        InputError: the column is unknown, has no such prediction, or the rows do not fit the model.
    """
    if kind not in get_args(PredictionKind):
        raise InputError(f"expected one of {listed(map(repr, get_args(PredictionKind)))}", "kind", kind)
    column = column_of(model, name)
    others = frame.drop(name, *model.schema.extra_names(frame.columns), strict=False)
    if others.width:
        return _of_known(model, Known.of(model, others), column, kind, level, seed)
    found, notes = _of_known(model, Known.of(model), column, kind, level, seed)  # nothing is known of any row
    return found[np.zeros(frame.height, int)], notes


def _of_known(
    model: TableModel, known: Known, column: Column, kind: PredictionKind, level: float, seed: int
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The prediction of a column given what is known of rows, and notes on them."""
    name = column.name
    found = distribution_of(model, name, known, seed)
    if kind != "interval":
        return _predicted(column, found, kind), known.notes
    central, notes = central_level(model, name, level, seed)
    low, high = found.quantile([0.5 - 0.5 * central, 0.5 + 0.5 * central]).t()
    return pl.DataFrame({"low": _written(column, low), "high": _written(column, high)}), (*known.notes, *notes)


def _predicted(column: Column, found: ColumnDistribution, kind: PredictionKind) -> pl.DataFrame:
    name = column.name
    if kind == "proba":
        return pl.DataFrame(dict(zip(column.kind.labels, found.probabilities.t().numpy(), strict=True)))
    if kind == "mean":
        mean = found.mean()
        return pl.DataFrame({name: mean.numpy() if not column.reading.moment else _written(column, mean)})
    value = found.mode() if kind == "mode" else found.quantile([0.5])[:, 0]
    return pl.DataFrame([column.written(value.numpy())])


def central_level(model: TableModel, name: str, level: float, seed: int) -> tuple[float, tuple[str, ...]]:
    """The probability between two quantiles as far from the median that hold this share of rows not seen, and notes.

    Reference:
        Chernozhukov, Wüthrich, Zhu (2021), Distributional conformal prediction, PNAS 118.
    """
    if has_one_column(model) and "central" in model.facts.get("unseen", {}):
        return calibrated_level(torch.tensor(model.facts["unseen"]["central"], dtype=torch.float64), level)
    others = [column for column in model.schema.names if column != name]
    known, x = Known.of_held_out(model, [name], others, CALIBRATED)
    if not len(x):
        return calibrated_level(x[:, 0], level)
    j = next(j for j, column in enumerate(model.schema.columns) if column.name == name)
    return calibrated_level(distribution_of(model, name, known, seed).central(x[:, j]).sort().values, level)


def calibrated_level(unseen: Tensor, level: float) -> tuple[float, tuple[str, ...]]:
    """The probability of sets that hold a share of rows not seen, or if these are too few the share itself, and notes.

    Args:
        unseen: The probability of the smallest set that holds each of those rows, in order.
        level: The share.

    Raises:
        InputError: it is none.
    """
    if not 0 < level < 1:
        raise InputError("expected a probability above 0 and below 1", "level", level)
    place = math.ceil((len(unseen) + 1) * level)
    if place <= len(unseen):
        return float(unseen[place - 1]), ()
    return level, (f"level={level} is the model's own: {len(unseen)} held-out rows are too few to calibrate it",)


def _written(column: Column, values: Tensor) -> Any:
    """Encoded values as amounts, or as dates and the like; NaN where there is no answer."""
    if column.reading.moment or column.contents == "text":
        return column.written(values.numpy()).to_numpy()
    return column.kind.amounts(values.numpy()) if column.classes else values.numpy()
