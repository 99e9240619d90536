"""Outlying rows: p-values from rows that the model has not seen, and the cells to blame, most unusual first."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ...errors import InputError
from ...models.console import Console
from ..io.place import Location
from ..io.read import read_table
from ..io.table import Table
from ..io.write import check_output, delivered, write_table
from ..model import TableModel
from .explain import explain
from .query import Query, marginal
from .score_file import listing

LEVEL = 0.05
SHOWN = 5


def outliers(model: TableModel, frame: pl.DataFrame, level: float = LEVEL, source: str = "table") -> pl.DataFrame:
    r"""Every row's conformal p-value, most unusual first, with the cell to blame if it is at most ``level``.

    With n rows scored by densities that did not see them (see :mod:`~pushforward.tables.calibration`), k of which are
    no likelier than the row, its p-value is :math:`(1 + k) / (1 + n)`: a share of ``level`` of ordinary rows is
    flagged, however good or bad the density is.

    Returns:
        ``row`` (from 1), ``log_density``, ``p_value``, ``outlier``, ``unlikely_because``, ``would_fit`` and ``gain``
        (nats by which that value would raise the row's log-density); the last three are null for ordinary rows.

    Raises:
        InputError: the level is no probability, or there are too few held-out rows for it; or the table does not fit.
    """
    usual, weight = _usual(model, level)
    query = Query.of(model, frame, (), source)
    rows, value = query.rows, query.answer(model).value.numpy()
    less = np.concatenate([[0.0], weight.cumsum()])[np.searchsorted(usual, value, side="right")]
    p_value = (1 + less) / (1 + weight.sum())
    p_value = np.where(np.isnan(value), np.nan, p_value)
    odd = p_value <= level
    blamed = np.flatnonzero(odd & ~rows.x.isnan().all(1).numpy())
    why = explain(model, rows, blamed, seed=model.seed)
    gains = [f"gain_{name}" for name in model.schema.names]
    found = pl.DataFrame(
        {
            "row": np.arange(1, len(value) + 1),
            "log_density": value,
            "p_value": p_value,
            "outlier": odd,
            "unlikely_because": why["unlikely_because"],
            "would_fit": why["would_fit"],
            "gain": why.select(pl.max_horizontal(gains)).to_series(),
        }
    )
    return found.sort("p_value", "log_density", nulls_last=True, maintain_order=True)


def _usual(model: TableModel, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-densities of rows that the model did not see, sorted, and their weights."""
    if not 0 < level < 1:
        raise InputError("expected a probability between 0 and 1, such as 0.05", "level", level)
    usual = model.usual()
    if usual is None:
        held = marginal(model, model.saved_held_out().rows, model.samples, model.seed).value.sort().values.numpy()
        usual = held, np.ones(len(held))
    count = len(usual[0])
    if (count + 1) * level < 1:
        raise InputError(
            f"the model {model.called} has {count} rows that it did not see, which allow no p-value below "
            f"{1 / (count + 1):.2g}; fit more rows, or ask for a higher level",
            "level",
            level,
        )
    return usual


def outliers_file(
    model: TableModel, data: Location, output: Location, console: Console, *, level: float = LEVEL
) -> dict[str, Any]:
    """Finds the outliers of a file's table and writes all rows, most unusual first; returns a summary.

    Raises:
        InputError: the table, the output or the level cannot be used; says why.
    """
    check_output(output)
    table: Table = read_table(data)
    for note in table.notes:
        console.note(note)
    found = outliers(model, table.frame, level, str(data))
    with delivered(output) as path:
        write_table(found, path)
    odd = int(found["outlier"].sum())
    console.say(f"{odd:,} of {found.height:,} rows have a p-value of at most {level:g}; of usual rows {level:.0%} do")
    shown = ("row", "log_density", "p_value", "unlikely_because", "would_fit")
    if odd:
        for line in listing(found.select(shown).head(min(odd, SHOWN))):
            console.say(line)
    console.say(f"saved {output}")
    worst = found.head(SHOWN).select("row", "p_value").to_dicts()
    return {"rows": found.height, "outliers": odd, "level": level, "oddest": worst, "output": str(output)}
