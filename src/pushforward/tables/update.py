"""New rows for a fitted table: the model goes on from what it knows, and the old rows are not needed.

What it knew is kept by draws of the model itself, some for each row that it has seen, and by rows that were saved on
request (``keep=``); draws and new rows also tell when to stop. The held-out rows that every model saves stay unseen,
and are in the figures beside new rows in proportion, however many updates there are. A flow goes on from its weights.
Where new categories, impossible values or new missing cells change what a column is, and for averages, the density is
fitted anew to the same rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ..errors import InputError, listed
from ..models.console import Console
from ..recipes.by_name import learning_rate
from .fit import is_average, options_as_fitted
from .io.table import Table
from .options import TableOptions
from .queries.drift import FEWEST, drift
from .queries.known import Known
from .queries.sample import draw
from .schema.columns import Column
from .schema.kinds.unseen import is_unseen
from .schema.numbers import missing

if TYPE_CHECKING:
    from .fitted import FittedTable

DRAWS = 50_000  # old rows, at most, in whose place draws are
TIMES = 4  # draws in the place of a row, and so often each new row: what is learnt again of draws loses the less
SHORTER = 3  # times: the training of an update, beside that of the fit
SLOWER = 2  # times: its learning rate
RARE = 0.01  # share of rows with numbers beside the few that a column had, which count as the nearest of these
ANOTHER = 1.0  # nats by which every column of another table has moved


@dataclass(frozen=True)
class Plan:
    """What an update trains on, and how.

    Attributes:
        table: Old and new rows, divided.
        options: How to train.
        anew: Whether the density is fitted anew.
        record: What the model remembers of the update.
        kept: The rows to save for later updates, if any are saved.
    """

    table: Table
    options: TableOptions
    anew: bool
    record: dict[str, Any]
    kept: pl.DataFrame | None

    @property
    def training_rows(self) -> int:
        """How many rows have been trained on, from the first fit on."""
        return int(self.record["updates"][-1]["known"]) - self.table.splits["test"].height


def plan_update(model: FittedTable, new: Table, options: TableOptions, console: Console) -> Plan:
    """Compares new rows with what a model knows, and divides both.

    Args:
        model: The fitted table.
        new: The new rows.
        options: How to train: its length, if it is given.
        console: Where notes go.

    Raises:
        InputError: it is another table, or has too few rows.
    """
    schema, source = model.schema, str(new.path)
    frame = pl.concat(new.splits.values()) if new.splits else new.frame
    schema.check(frame, source)
    if schema.in_part:
        raise InputError(f"{source}: cells are known in part (`limits=`, `censored=`, `noise=`); fit all rows again")
    if frame.height < FEWEST:
        raise InputError(f"{source}: has {frame.height} rows, and an update needs at least {FEWEST}")
    moved = drift(model, Table(new.path, frame), Console(quiet=True))
    if len(moved.columns) > 1 and bool((moved.measures["nats"] > ANOTHER).all()):
        raise InputError(f"{source}: is another table: {moved.verdict}; fit it by itself")
    console.note(f"{source}: {moved.verdict}")
    notes = [note for column in schema.fields for note in _news(column, frame[column.name])]
    for note in notes:
        console.note(note)
    known, summary = _known_rows(model), model.facts["summary"]
    steps, anew = int(model.facts.get("first_steps", summary["training"]["steps"])), is_average(summary) or bool(notes)
    record = {
        "data": new.path.name,
        "rows": frame.height,
        "known": known + frame.height,
        "notes": notes,
        **{name: getattr(moved, name) for name in ("p_value", "effect", "verdict", "columns")},
    }
    return Plan(
        Table(new.path, frame, _divided(model, frame, known, anew), kind=new.kind, decimal=new.decimal),
        _as_it_was(model, options, anew, steps),
        anew,
        {"updates": [*model.facts.get("updates", ()), record], "first_steps": steps},
        _kept(model, frame, known),
    )


def _as_it_was(model: FittedTable, options: TableOptions, anew: bool, steps: int) -> TableOptions:
    """The options of the fit, and how long to train: as told, or for a third of its steps with smaller ones."""
    options = replace(options_as_fitted(model, options), queries=model.guided is not None, weights=None, keep=0)
    training = replace(options.training, epochs=None, steps=None, limit=None)
    if training.budget is None:
        training = replace(training, steps=steps if anew else max(steps // SHORTER, 1))
    if not anew and training.lr is None:
        training = replace(training, lr=learning_rate(options.flow) / SLOWER)
    return replace(options, training=training)


def _news(column: Column, cells: pl.Series) -> list[str]:
    """What the new rows have in a column that the model has no place for, a sentence each: values that it cannot hold,
    missing ones if none was, and numbers that none of few was, unless they are as rare as those that are expected."""
    values, there = column.read(cells), ~missing(cells)
    between = is_unseen(values) & (values > 0) & (column.kind.classes > 0)
    odd = there & ~column.kind.can(values) & ~(between & (between.mean() <= RARE))
    gone, found = ~there & (column.holes.share == 0), []
    if odd.any():
        names = cells.filter(pl.Series(odd)).unique(maintain_order=True).cast(pl.String).to_list()
        found.append(f"column {column.name!r}: {listed(map(repr, names), 5)} in {int(odd.sum()):,} rows: taken in")
    if gone.any():
        found.append(f"column {column.name!r}: missing in {int(gone.sum()):,} rows, as in none before: taken in")
    return found


def _known_rows(model: FittedTable) -> int:
    """How many rows the model has been told of."""
    if updates := model.facts.get("updates"):
        return int(updates[-1]["known"])
    summary = model.facts["summary"]
    return int(summary["training_rows"] + 2 * summary["validation_rows"])


def _divided(model: FittedTable, new: pl.DataFrame, known: int, anew: bool) -> dict[str, pl.DataFrame]:
    """Old and new rows to train on, to stop by and to report on; these are rows that were seen by nothing."""
    random = np.random.default_rng([model.seed, known])
    held = model.saved_held_out().rows
    part = max(min(round(len(held) * new.height / known), new.height // 4), 1)
    rows, old = _read_alike(model, new)[random.permutation(new.height)], model.schema.frame(held.x, held.context)
    saved = [] if "kept" not in model.facts else [_saved(model)]
    share = min(DRAWS / known, 1.0)
    count = TIMES * max(round(share * known) - sum(each.height for each in saved), 1)
    drawn = _drawn(model, old, count + old.height, known)
    columns, near = rows.columns, rows if anew else rows.with_columns(_nearest(model, rows))
    parts = {
        "train": [*TIMES * [near[2 * part :][: math.ceil(share * new.height)], *saved], drawn[:count]],
        "val": [near[:part], drawn[count:]],
        "test": [rows[part : 2 * part], old],
    }
    return {name: pl.concat([p.select(columns) for p in some], how="vertical_relaxed") for name, some in parts.items()}


def _nearest(model: FittedTable, rows: pl.DataFrame) -> list[pl.Series]:
    """The columns with numbers beside the few that they had, as the nearest of these."""
    named = [column for column in model.schema.fields if column.classes]
    return [column.written(np.floor(column.read(rows[column.name]))) for column in named]


def _kept(model: FittedTable, new: pl.DataFrame, known: int) -> pl.DataFrame | None:
    """As many rows to save as there are, old and new ones in proportion."""
    if "kept" not in model.facts:
        return None
    random, old = np.random.default_rng([model.seed, known, 1]), _saved(model)
    rows = _read_alike(model, new).select(old.columns)
    share = min(round(old.height * new.height / (known + new.height)), new.height)
    parts = [frame[random.permutation(frame.height)[:n]] for frame, n in ((old, old.height - share), (rows, share))]
    return pl.concat(parts, how="vertical_relaxed")


def _saved(model: FittedTable) -> pl.DataFrame:
    """The rows that were saved with the model on request."""
    rows = model.saved_rows("kept")
    return model.schema.frame(rows.x, rows.context)


def _read_alike(model: FittedTable, frame: pl.DataFrame) -> pl.DataFrame:
    """New rows with their values written as the model writes its own."""
    schema = model.schema
    known = [*schema.fields, *(given.column for given in schema.given), *schema.dependencies.columns]
    there = [column for column in known if column.name in frame.columns]
    return pl.DataFrame([c.reading.cells(c.name, c.reading.values(frame[c.name])) for c in there])


def _drawn(model: FittedTable, old: pl.DataFrame, n: int, seed: int) -> pl.DataFrame:
    """Draws of the model in the place of old rows; given what held-out rows are, if it is conditioned on columns."""
    names = model.schema.given_names
    if not names:
        return draw(model, n, Known.of(model), model.seed + seed)
    fixed = old.select(names)[np.random.default_rng(model.seed + seed).integers(0, old.height, n)]
    return draw(model, 1, Known.of(model, fixed), model.seed + seed)
