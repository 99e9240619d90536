"""Which rows of a table a model has not been trained on."""

from __future__ import annotations

import numpy as np

from ..data.table import read_table
from .console import Console
from .learn import Rows, fingerprint, held_out_order
from .model import TableModel


def encode_held_out(model: TableModel, data, console: Console, drop_missing: bool = False) -> tuple[Rows, np.ndarray]:
    """The encoded rows of a file that the model was not trained on, and their numbers in the file (from 0).

    A file that the model was fitted to is recognised by a digest, and its held-out rows are used; of a divided file,
    the rows of ``test``; of any other file, all rows.
    """
    table = read_table(data).held_out()
    for note in table.notes:
        console.note(note)
    source, frame = str(table.path), table.frame
    model.schema.check(frame, source)
    numbers = np.arange(frame.height)
    if drop_missing:
        numbers = numbers[model.schema.usable(frame)]
        if len(numbers) < frame.height:
            console.note(f"{source}: {frame.height - len(numbers):,} rows with missing or infinite values are left out")
            frame = frame[numbers]
    rows = Rows(*model.schema.encode(frame, source))
    if len(rows) == model.facts.get("rows") and fingerprint(rows) == model.facts.get("fingerprint"):
        chosen = held_out_order(len(rows), int(model.facts["seed"]))[2]
        console.note(f"{source}: {model.path} was fitted to this file; its {len(chosen):,} held-out rows are used")
        return rows[chosen], numbers[chosen]
    return rows, numbers


def saved_held_out(model: TableModel) -> Rows:
    """The held-out rows that were saved with the model."""
    import torch

    saved = model.facts["held_out"]
    context = None if saved["context"] is None else torch.tensor(saved["context"], dtype=torch.float32)
    return Rows(torch.tensor(saved["x"], dtype=torch.float64), context)
