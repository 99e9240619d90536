r"""One column of rows from the others: quantiles, means, the likeliest values, probabilities, calibrated intervals.

A column with a probability for each value has those of the joint: :math:`p(v \mid s) \propto p(v, s)`. Of any other,
draws of the guide, spread evenly over its conditional, are weighted by the joint; if all other cells are known this is
a quadrature of the joint along the column, and depends on nothing but its nodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ...errors import InputError, listed
from ...models.console import Console, aligned
from ...models.train import Rows
from ...numerics.sequential import effective
from ..io.place import Location
from ..io.write import check_output, write_table
from ..model import TableModel
from ..schema.columns import Column
from ..schema.moments import clock_array
from ..schema.numbers import refuse_twice, require_columns
from .column_distribution import ColumnDistribution, WeightedColumn, has_one_column, only_column
from .known import Known, check_shared, unused
from .probability import UNANSWERED, as_known, code_probabilities, of_density, weighted_draws
from .query import most_draws
from .region import fewer, narrowed, near_in, region_of, there

PredictionKind = Literal["mean", "median", "mode", "proba", "interval"]
FEWEST, FEW, MOST = 128, 16_384, 131_072  # draws for each row, and for all rows together: of predictions, of quantiles
CODED = 8  # times as many for all rows, if each value of the column has its own
NODES = 1024  # along the column, if all other cells are known
EFFECTIVE, MOVED = 256, 16_384  # draws that carry weight, below which so many of the density are tried


def distribution_of(
    model: TableModel, name: str, known: Known, seed: int, draws: int = FEW
) -> tuple[ColumnDistribution, tuple[str, ...]]:
    """The distribution of a column given what is known of rows, and notes on these."""
    column, modelled = column_of(model, name), name in model.schema.names
    known.refuse_counted()
    if modelled and has_one_column(model) and known.nothing:
        return only_column(model, known.rows.context, known.strange), known.notes
    found = (_of_values if modelled and column.classes else _of_draws)(model, known, column, seed, draws)
    unanswered = bool((found.weights[0].isnan() & ~known.strange).any())
    found.weights[:, known.strange] = math.nan
    return found, (*known.notes, *[UNANSWERED] * unanswered)


def column_of(model: TableModel, name: str, argument: str = "column") -> Column:
    """A column that has a distribution: one that is modelled, or follows from others."""
    if not isinstance(name, str) or (column := model.schema.asked.get(name)) is None:
        told = f"the model {model.called} has the columns {listed(model.schema.asked)}; {name!r} is none of them"
        raise InputError(told, argument)
    return column


def quantiles(
    model: TableModel, name: str, q: Sequence[float], known: Known, seed: int
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Quantiles of a column and their standard errors, ``(n, len(q))`` each, dates as such, their errors in seconds;
    and notes."""
    if name in known.cells.columns:
        raise InputError(f"{name!r} is given", "column")
    found, notes = distribution_of(model, name, known, seed, MOST)
    values = found.quantile(q)
    written = clock_array(_written(found.column, values.flatten())).reshape(values.shape)
    return written, found.errors_of_quantiles(q).numpy(), notes


def probabilities(q: Any) -> list[float]:
    """A probability, or several, as a list."""
    found: list[Any] = np.atleast_1d(q).tolist()
    if not found or not all(isinstance(one, float | int) and 0 <= one <= 1 for one in found):
        raise InputError("expected a probability, 0 to 1, or several", "q", q)
    return found


def predict(
    model: TableModel, frame: pl.DataFrame, name: str, kind: PredictionKind, level: float, seed: int, source: str
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The prediction of a column in every row of a frame, whose own values of it are not read: a column of its name;
    ``proba``: a column for each value; ``interval``: ``low`` and ``high``; null in rows that have no answer; and notes
    on the rows.
    """
    if kind not in get_args(PredictionKind):
        raise InputError(f"expected one of {listed(map(repr, get_args(PredictionKind)))}", "kind", kind)
    column = column_of(model, name)
    own = [aside for each in model.schema.in_part if each.name == name for aside in each.aside]
    others = frame.drop(name, *own, *model.schema.extra_names(frame.columns), strict=False)
    check_shared(model, frame, source)
    known = Known.of(model, others if others.width else None)
    found, notes = distribution_of(model, name, known, seed)
    notes = (*unused(model, frame.columns, source), *notes)
    if kind == "interval":
        there = [each.name for each in others if each.null_count() < len(each)]
        central, more = central_level(model, name, there, level, seed)
        low, high = found.quantile([0.5 - 0.5 * central, 0.5 + 0.5 * central]).t()
        rows, notes = pl.DataFrame({"low": _written(column, low), "high": _written(column, high)}), (*notes, *more)
    else:
        rows = _predicted(column, found, kind)
    rows = rows.with_columns(pl.selectors.float().fill_nan(None))
    return rows if others.width else rows[np.zeros(frame.height, int)], notes  # nothing is known of any row


def _predicted(column: Column, found: ColumnDistribution, kind: PredictionKind) -> pl.DataFrame:
    if kind == "proba":
        return pl.DataFrame(dict(zip(column.kind.labels, found.probabilities.t().numpy(), strict=True)))
    if kind == "mean":
        mean = found.mean()
        return pl.DataFrame({column.name: mean.numpy() if not column.reading.moment else _written(column, mean)})
    value = found.mode() if kind == "mode" else found.quantile([0.5])[:, 0]
    return pl.DataFrame([column.written(value.numpy())])


def central_level(
    model: TableModel, name: str, given: Sequence[str], level: float, seed: int
) -> tuple[float, tuple[str, ...]]:
    """The probability between two quantiles as far from the median that hold this share of rows not seen, given their
    values of some columns, and notes.

    Reference:
        Chernozhukov, Wüthrich, Zhu (2021), Distributional conformal prediction, PNAS 118.
    """
    if has_one_column(model) and "central" in model.facts.get("unseen", {}):
        return calibrated_level(torch.tensor(model.facts["unseen"]["central"], dtype=torch.float64), level)
    return calibrated_level(model.once(_central, name, tuple(sorted({*given} & {*model.schema.asked})), seed), level)


def _central(model: TableModel, name: str, given: Sequence[str], seed: int) -> Tensor:
    """The probability of the smallest central interval that holds each held-out row, in order."""
    known, x = Known.of_held_out(model, [name], given)
    values = model.schema.values_in(name, x)
    there = ~values.isnan()
    if not there.any():
        return values[there]
    found, _ = distribution_of(model, name, known[there], seed)
    central = found.central(values[there])
    return central[~central.isnan()].sort().values  # without rows that have no answer


def calibrated_level(unseen: Tensor, level: float) -> tuple[float, tuple[str, ...]]:
    """The probability of sets that hold a share of rows not seen, or if these are too few the share itself, and notes.

    Args:
        unseen: The probability of the smallest set that holds each of those rows, in order.
        level: The share.
    """
    if not isinstance(level, Real) or not 0 < level < 1:
        raise InputError("expected a probability above 0 and below 1", "level", level)
    place = math.ceil((len(unseen) + 1) * level)
    if place <= len(unseen):
        return float(unseen[place - 1]), ()
    return level, (f"level={level} is the model's own: {len(unseen)} held-out rows are too few to calibrate it",)


def _written(column: Column, values: Tensor) -> pl.Series:
    """Encoded values as amounts, or as dates and the like; NaN where there is no answer."""
    if column.reading.moment or column.contents == "text":
        return column.written(values.numpy())
    return pl.Series(column.kind.amounts(values.numpy()) if column.classes else values.numpy())


def _of_values(model: TableModel, known: Known, column: Column, seed: int, draws: int) -> WeightedColumn:
    j, n, regions = model.schema.features.index(column.name), len(known), [where.region for where in known.wheres]
    which = torch.arange(n) % len(regions)
    weights, errors = code_probabilities(
        model, known.rows, regions, which, j, column.kind.classes, seed, points=CODED * draws
    )
    spread = weights * ((1 - 2 * weights) * errors.square() + (weights.square() * errors.square()).sum(0)).sqrt()
    of_codes, bound = WeightedColumn.of_codes(column, weights, spread), known.bound & ~known.strange
    if bound.any():
        among = _of_draws(model, known[bound], column, seed, draws)
        of_codes.weights[:, bound], of_codes.errors[:, bound] = among.weights, among.errors
    return of_codes


def _of_draws(model: TableModel, known: Known, column: Column, seed: int, draws: int) -> WeightedColumn:
    """Of numbers, and of what follows from other columns: as rows tell it; or by draws of the guide, or of the density
    where they tell more, or there is no guide."""
    schema, n, own = model.schema, len(known), there(model.schema, column.name)
    if not (certain := known.told_of(column.name)).isnan().any():
        return WeightedColumn.of_draws(column, certain[None], torch.zeros(1, n, dtype=torch.float64))
    if column.name in schema.names and not column.classes:  # it is drawn first
        own = region_of(schema, column.name, np.array([[-np.inf], [np.inf]]))
    regions = [near_in(own & known.where(row).region, schema) for row in range(n)]
    x, _ = narrowed(known.rows.x, regions, schema)
    rows, several = Rows(x, known.rows.context), x.isnan().sum(1) > 1
    count = max(FEWEST, fewer(most_draws(n, FEWEST, draws if bool(several.any()) else NODES, draws), regions))
    if known.nothing:  # without the errors of a guide, which knows less of the tails
        filled, log_w = of_density(model, rows, count, seed)
    else:
        filled, log_w = weighted_draws(model, known.rows, regions, count, seed)
    found = schema.values_in(column.name, filled)
    few = (effective(log_w) < min(EFFECTIVE, len(found) / 2)) & several
    bound, draws = known.bound & ~known.strange, min(len(found), MOVED)
    for which, told in ((few & ~bound, None), (bound, known.told[bound])):
        some = rows[which]
        drawn, weight = of_density(model, some, draws, seed, told) if len(some) else (x[:0], x[:0])
        values = schema.values_in(column.name, drawn)
        for place, row in enumerate(which.nonzero()[:, 0].tolist()):
            held = regions[row].holds(drawn[:, place]) & as_known(drawn[:, place], some[place : place + 1])
            other = weight[:, place].masked_fill(~held, -math.inf)
            if told is not None or effective(other) > effective(log_w[:, row]):
                found[: len(drawn), row], log_w[:, row] = values[:, place], -math.inf
                log_w[: len(drawn), row] = other
    return WeightedColumn.of_draws(column, found, log_w)


def predict_file(
    model: TableModel,
    data: Location,
    column: str,
    output: Location,
    console: Console,
    *,
    kind: PredictionKind = "mean",
    level: float = 0.9,
    keep: tuple[str, ...] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Writes the prediction of a column in every row of a file; returns a summary."""
    check_output(output)
    table = model.read_file(data).held_out()
    frame = table.frame
    require_columns(frame.columns, keep, str(data), "keep")
    refuse_twice(keep, "keep")
    found, notes = predict(model, frame, column, kind, level, seed, str(data))
    console.note(*table.notes, *notes)
    kept = frame.select(keep)
    found = found.rename({name: f"predicted_{name}" for name in found.columns if name in kept.columns})
    write_table(pl.DataFrame([*kept.get_columns(), *found.get_columns()]), output)
    first = aligned([found.columns, *found.head(3).rows()])
    console.say(f"{frame.height:,} rows: {kind} of {column}", *first, f"saved {output}")
    return {"rows": frame.height, "column": column, "kind": kind, "columns": found.columns, "output": str(output)}
