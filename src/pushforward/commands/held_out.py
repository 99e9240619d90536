"""Which rows of a table a model has not been trained on."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..tables.errors import InputError
from ..tables.formats.table import Table, read_table
from .console import Console
from .learn import Rows, fingerprint, held_out_order
from .model import TableModel


@dataclass(frozen=True)
class HeldOut:
    """Encoded rows that a model was not trained on.

    Attributes:
        rows: The rows.
        numbers: Where they stand in the file, or in the part of it that is held out, from 0.
        train: The rows that the model was trained on, where the file has them too.
    """

    rows: Rows
    numbers: np.ndarray
    train: Rows | None = None


def held_out_rows(model: TableModel, data: Path, console: Console, drop_missing: bool = False) -> HeldOut:
    """The rows of a file that a model was not trained on.

    A file that the model was fitted to is recognised by a digest, and its held-out rows are used; of a divided file,
    the rows of ``test``; of any other file, all rows.

    Raises:
        InputError: the file cannot be read, or its columns do not fit the model.
    """
    whole = read_table(data)
    table = whole.held_out()
    for note in table.notes:
        console.note(note)
    rows, numbers = _encode(model, table, console, drop_missing)
    if whole.splits:
        train, _ = _encode(model, Table(whole.path, whole.splits["train"]), console, True)
        return HeldOut(rows, numbers, train if fingerprint(train) == model.facts.get("fingerprint") else None)
    if len(rows) == model.facts.get("rows") and fingerprint(rows) == model.facts.get("fingerprint"):
        train_rows, _, chosen = held_out_order(len(rows), int(model.facts["seed"]))
        console.note(f"{data}: {model.path} was fitted to this file; its {len(chosen):,} held-out rows are used")
        return HeldOut(rows[chosen], numbers[chosen], rows[train_rows])
    return HeldOut(rows, numbers)


def held_out_of_all(
    models: Sequence[TableModel], data: Path, console: Console, drop_missing: bool = False
) -> list[HeldOut]:
    """The rows of a file that none of several models was trained on, as each of them encodes them.

    Raises:
        InputError: the file does not fit a model, or fewer than two rows are left.
    """
    found = [held_out_rows(model, data, console, drop_missing) for model in models]
    common = functools.reduce(np.intersect1d, [held.numbers for held in found])
    if len(common) < 2:
        paths = " and ".join(str(model.path) for model in models)
        raise InputError(f"{data}: {paths} have {len(common)} held-out rows in common, and 2 are needed")
    shared = [np.isin(held.numbers, common) for held in found]
    return [HeldOut(held.rows[at], held.numbers[at], held.train) for held, at in zip(found, shared, strict=True)]


def saved_held_out(model: TableModel) -> HeldOut:
    """The held-out rows that were saved with the model."""
    saved = model.facts["held_out"]
    context = None if saved["context"] is None else torch.tensor(saved["context"], dtype=torch.float32)
    return HeldOut(Rows(torch.tensor(saved["x"], dtype=torch.float64), context), np.asarray(saved["numbers"]))


def _encode(model: TableModel, table: Table, console: Console, drop_missing: bool) -> tuple[Rows, np.ndarray]:
    source, frame = str(table.path), table.frame
    model.schema.check(frame, source)
    numbers = np.arange(frame.height)
    if drop_missing:
        numbers = numbers[model.schema.usable(frame)]
        if len(numbers) < frame.height:
            console.note(f"{source}: {frame.height - len(numbers):,} rows with missing or infinite values are left out")
            frame = frame[numbers]
    return Rows(*model.schema.encode(frame, source)), numbers
