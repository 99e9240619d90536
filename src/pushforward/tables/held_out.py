"""Which rows of a table a model has not been trained on."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..models.console import Console
from ..models.train import Rows
from .errors import InputError
from .formats.table import Table
from .rows import HELD_OUT, fingerprint, held_out_order

if TYPE_CHECKING:
    from .density import TableDensity


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


def held_out_rows(model: TableDensity, whole: Table, console: Console, drop_missing: bool = False) -> HeldOut:
    """The rows of a table that a model was not trained on.

    A table that the model was fitted to is recognised by a digest, and its held-out rows are used; of a divided one,
    the rows of ``test``; of any other, all rows.

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


def held_out_of_all(
    models: Sequence[TableDensity], table: Table, console: Console, drop_missing: bool = False
) -> list[HeldOut]:
    """The rows of a table that none of several models was trained on, as each of them encodes them.

    Raises:
        InputError: the table does not fit a model, or fewer than two rows are left.
    """
    found = [held_out_rows(model, table, console, drop_missing) for model in models]
    common = functools.reduce(np.intersect1d, [held.numbers for held in found])
    if len(common) < 2:
        paths = " and ".join(model.called for model in models)
        raise InputError(f"{table.path}: {paths} have {len(common)} held-out rows in common, and 2 are needed")
    shared = [np.isin(held.numbers, common) for held in found]
    return [HeldOut(held.rows[at], held.numbers[at], held.train) for held, at in zip(found, shared, strict=True)]


def saved_held_out(model: TableDensity) -> HeldOut:
    """The held-out rows that were saved with the model."""
    saved = model.facts["held_out"]
    context = None if saved["context"] is None else torch.tensor(saved["context"], dtype=torch.float32)
    return HeldOut(Rows(torch.tensor(saved["x"], dtype=torch.float64), context), np.asarray(saved["numbers"]))


def _encode(model: TableDensity, table: Table, console: Console, drop_missing: bool) -> tuple[Rows, np.ndarray]:
    source, frame = str(table.path), table.frame
    model.schema.check(frame, source)
    numbers = np.arange(frame.height)
    if drop_missing:
        numbers = numbers[model.schema.usable(frame)]
        if len(numbers) < frame.height:
            console.note(f"{source}: {frame.height - len(numbers):,} rows with missing or infinite values are left out")
            frame = frame[numbers]
    return Rows(*model.schema.encode(frame, source)), numbers
