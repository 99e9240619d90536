"""Outlying rows: p-values from rows that the model has not seen, and the cells to blame, most unusual first."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ...errors import InputError
from ...models.console import Console, aligned
from ..io.place import Location
from ..io.table import Piece
from ..io.write import check_output, write_table
from ..model import TableModel
from .explain import explain, log_tails, unseen
from .query import Query

LEVEL = 0.05
BESIDE, FEW = 0.1, 10  # the part of the level for tails where densities decide; unseen rows that tell none
STEADY = 10  # unseen rows within the level, from which the share of fresh ones that is flagged varies by a third
SHOWN = 5
SEEN = "the model was fitted to most of these rows, which may look more usual than fresh ones do"


def outliers(
    model: TableModel, frame: pl.DataFrame, level: float = LEVEL, source: str = "table"
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    r"""Every row's conformal p-value, most unusual first, with the cell to blame if it is at most ``level``.

    With n rows that the model did not see (:mod:`~pushforward.tables.measure`), k of which are at least as odd as
    the row, its p-value is :math:`(1 + k) / (1 + n)`: a share of ``level`` of ordinary rows is flagged, however good or
    bad the model is, up to a relative error of :math:`1 / \sqrt{n \cdot \text{level}}`. A row is as odd as the product
    of its cells' tail probabilities is small (:mod:`.explain`). Without a guide, or where its unseen rows are few for
    the level, and fewer than those of the density, it is as odd as its log-density is low; but a value that many rows
    share adds to that more than a slip elsewhere takes away, so a tenth of the level is kept for rows whose tails are
    below what a gamma distribution, fitted to those of the guide's unseen rows, allows. As densities of fewer values do
    not compare, neither rows that lack what every training row has are judged so, nor tables that lack numbers.

    Returns:
        ``row`` (from 1), ``log_density``, ``p_value``, ``outlier``, ``unlikely_because``, ``would_fit``,
        ``also_unlikely`` and ``gain`` (by how much less odd the row is without these cells, in nats); the last four are
        null for ordinary rows. And notes on the rows.
    """
    if not 0 < level < 1:
        raise InputError("expected a probability between 0 and 1, such as 0.05", "level", level)
    query = Query.of(model, Piece(frame, source))
    value = query.answer(model).value
    tails, usual = None if model.guided is None else unseen(model, "log_tails"), unseen(model, "log_density")
    steady = 1 if model.schema.missingness.occurs else STEADY
    if tails and len(tails[0]) < min(len(usual[0]), steady / level - 1):
        by_tails = model.schema.lacking(query.rows.x).any(1).numpy()
    else:
        by_tails, usual = np.full(len(value), tails is not None), tails or usual
    if ((n := len(usual[0])) + 1) * level < 1:
        few = f"has {n} rows that it did not see, which allow no p-value below {1 / (n + 1):.2g}"
        raise InputError(f"the model {model.called} {few}; fit more rows, or ask for a higher level", "level", level)
    score, p_value = value.clone(), _p_values(value, *usual)
    if tails:
        own = log_tails(model, query.rows).sum(1)
        score[by_tails] = own.where(value.isfinite(), value)[by_tails]
        beside = np.fmin(p_value / (1 - BESIDE), np.fmax(_beyond(own, *tails) / BESIDE, 1 / (1 + n))).clip(max=1)
        p_value = np.where(by_tails, _p_values(score, *tails), np.where(np.isnan(p_value), np.nan, beside))
    odd = p_value <= level
    why = explain(model, query.rows, np.flatnonzero(odd), model.seed, query.encoded)
    scores = {"row": np.arange(1, len(value) + 1), "log_density": value.numpy(), "p_value": p_value, "outlier": odd}
    found = pl.DataFrame(scores).hstack(why.select("unlikely_because", "would_fit", "also_unlikely", "gain"))
    seen = (f"{source}: {SEEN}",) if model.was_fitted_to(query.rows) else ()
    return found[np.lexsort((score.numpy(), p_value))], (*query.notes, *seen)  # NaN last


def _p_values(score: Tensor, usual: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Conformal p-values beside sorted scores of usual rows, with their weights; NaN where a score is."""
    less = np.concatenate([[0.0], weight.cumsum()])[np.searchsorted(usual, score.numpy(), side="right")]
    return np.where(score.isnan(), np.nan, (1 + less) / (1 + weight.sum()))


def _beyond(score: Tensor, usual: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The share of rows that are as odd as each score, by a gamma distribution that has the mean and the variance of
    those of usual rows: that of sums of log tail probabilities, if these are of independent cells; 1 if there are few.
    """
    if len(usual) < FEW:
        return np.ones(len(score))
    mean = -np.average(usual, weights=weight)
    rate = mean / np.average((usual + mean) ** 2, weights=weight)
    return torch.special.gammaincc(score.new_tensor(mean * rate), -score * rate).numpy()


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
