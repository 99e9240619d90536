"""Outlying rows: p-values from rows that the model has not seen, and the cells to blame, most unusual first."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from ...errors import InputError
from ...models.console import Console, aligned
from ..io.place import Location
from ..io.table import Piece
from ..io.write import check_output, write_table
from ..model import TableModel
from .explain import explain, log_tails, unseen
from .query import Query

LEVEL = 0.05
STEADY = 3  # unseen rows within the level, from which the share of fresh ones that is flagged varies by half or less
SHOWN = 5
SEEN = "the model was fitted to most of these rows, which may look more usual than fresh ones do"


def outliers(
    model: TableModel, frame: pl.DataFrame, level: float = LEVEL, source: str = "table"
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    r"""Every row's conformal p-value, most unusual first, with the cell to blame if it is at most ``level``.

    With n rows that the model did not see (:mod:`~pushforward.tables.measure`), k of which are at least as odd as
    the row, its p-value is :math:`(1 + k) / (1 + n)`: a share of ``level`` of ordinary rows is flagged, however good or
    bad the model is. A row is as odd as the product of its cells' tail probabilities is small (:mod:`.explain`);
    without a guide, or where those that it did not see are too few for the level, and fewer than those that the density
    did not see, as its log-density is low.

    Returns:
        ``row`` (from 1), ``log_density``, ``p_value``, ``outlier``, ``unlikely_because``, ``would_fit``,
        ``also_unlikely`` and ``gain`` (by how much less odd the row is without these cells, in nats); the last four are
        null for ordinary rows. And notes on the rows.
    """
    if not 0 < level < 1:
        raise InputError("expected a probability between 0 and 1, such as 0.05", "level", level)
    query = Query.of(model, Piece(frame, source))
    value = query.answer(model).value
    score, (usual, weight) = value, unseen(model, "log_density")
    if model.guided is not None:
        by_guide = unseen(model, "log_tails")
        if (len(by_guide[0]) + 1) * level >= (STEADY if len(by_guide[0]) < len(usual) else 1):
            score, (usual, weight) = log_tails(model, query.rows).sum(1).where(~value.isneginf(), -math.inf), by_guide
    if (len(usual) + 1) * level < 1:
        raise InputError(
            f"the model {model.called} has {len(usual)} rows that it did not see, which allow no p-value below "
            f"{1 / (len(usual) + 1):.2g}; fit more rows, or ask for a higher level",
            "level",
            level,
        )
    less = np.concatenate([[0.0], weight.cumsum()])[np.searchsorted(usual, score.numpy(), side="right")]
    p_value = np.where(value.isnan().numpy(), np.nan, (1 + less) / (1 + weight.sum()))
    why = explain(model, query.rows, np.flatnonzero(p_value <= level), seed=model.seed)
    found = pl.DataFrame(
        {
            "row": np.arange(1, len(value) + 1),
            "log_density": value.numpy(),
            "p_value": p_value,
            "outlier": p_value <= level,
        }
    ).hstack(why.select("unlikely_because", "would_fit", "also_unlikely", "gain"))
    seen = (f"{source}: {SEEN}",) if model.was_fitted_to(query.rows) else ()
    return found[np.lexsort((score.numpy(), p_value))], (*query.notes, *seen)  # NaN last


def outliers_file(
    model: TableModel, data: Location, output: Location, console: Console, *, level: float = LEVEL
) -> dict[str, Any]:
    """Finds the outliers of a file's table and writes all rows, most unusual first; returns a summary."""
    check_output(output)
    table = model.read_file(data)
    console.note(*table.notes)
    found, notes = outliers(model, table.frame, level, str(data))
    console.note(*notes)
    write_table(found, output)
    odd = int(found["outlier"].sum())
    console.say(f"{odd:,} of {found.height:,} rows have a p-value of at most {level:g}; of usual rows {level:.0%} do")
    shown = ("row", "log_density", "p_value", "unlikely_because", "would_fit")
    if odd:
        console.say(*aligned([shown, *found.select(shown).head(min(odd, SHOWN)).rows()]))
    console.say(f"saved {output}")
    worst = found.head(SHOWN).select("row", "p_value").to_dicts()
    return {"rows": found.height, "outliers": odd, "level": level, "oddest": worst, "output": str(output)}
