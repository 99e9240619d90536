"""Which rows of a table a model was not trained on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..models.console import Console
from ..models.held_out import HeldOut
from ..models.train import Rows
from .io.table import Table
from .rows import HELD_OUT, fingerprint, held_out_order

if TYPE_CHECKING:
    from .fitted import FittedTable


def held_out_rows(model: FittedTable, whole: Table, console: Console, drop_missing: bool = False) -> HeldOut:
    """The rows of a table that a model was not trained on.

    A table that the model was fitted to is recognised by a digest, and its held-out rows are used; of a table with its
    own splits, the ``test`` rows; of any other, all rows.

    Raises:
        InputError: its columns do not fit the model.
    """
    table = whole.held_out()
    for note in table.notes:
        console.note(note)
    rows, numbers = _encode(model, table, console, drop_missing)
    if whole.splits:
        train, _ = _encode(model, Table(whole.path, whole.splits["train"]), console, True)
        return HeldOut(rows, numbers, train if fingerprint(train) == model.facts.get("fingerprint") else None)
    if len(rows) == model.facts.get("rows") and fingerprint(rows) == model.facts.get("fingerprint"):
        train_rows, _, chosen = held_out_order(len(rows), model.seed, float(model.facts.get("validation", HELD_OUT)))
        console.note(
            f"{whole.path}: {model.called} was fitted to this file; its {len(chosen):,} held-out rows are used"
        )
        return HeldOut(rows[chosen], numbers[chosen], rows[train_rows])
    return HeldOut(rows, numbers)


def saved_held_out(model: FittedTable) -> HeldOut:
    """The held-out rows that were saved with the model."""
    saved = model.facts["held_out"]
    context = None if saved["context"] is None else torch.tensor(saved["context"], dtype=torch.float32)
    x = [[math.nan if value is None else value for value in row] for row in saved["x"]]  # JSON has no NaN
    return HeldOut(Rows(torch.tensor(x, dtype=torch.float64), context), np.asarray(saved["numbers"]))


def _encode(model: FittedTable, table: Table, console: Console, drop_missing: bool) -> tuple[Rows, np.ndarray]:
    source, frame = str(table.path), table.frame
    model.schema.check(frame, source)
    numbers = np.arange(frame.height)
    if drop_missing:
        numbers = numbers[model.schema.usable(frame)]
        if len(numbers) < frame.height:
            console.note(f"{source}: {frame.height - len(numbers):,} rows with missing or infinite values are left out")
            frame = frame[numbers]
    return Rows(*model.schema.encode(frame, source)), numbers
