"""From a file and the user's options to encoded rows: which columns, which rows, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ..models.console import Console
from ..models.train import Rows
from .errors import InputError, listed
from .formats.table import Table
from .options import TableOptions
from .rows import divide, refuse_few_rows
from .schema.categories import learn_category
from .schema.infer import learn_schema
from .schema.numbers import (
    holds_names,
    is_text,
    refuse_gaps,
    refuse_spoilt,
    refuse_text,
    require_columns,
    to_numbers,
    usable_rows,
)
from .schema.schema import Schema
from .stream.shuffle import ShuffledRows


@dataclass(frozen=True)
class TableSplits:
    """Encoded training, validation and test rows, and the schema that encoded them."""

    schema: Schema
    train: Rows  # of a stream, a sample
    val: Rows
    test: Rows
    whole: Rows | None  # all usable rows in the file's order; None where the file divides itself, and of a stream
    numbers: np.ndarray  # where the usable rows stand in the file, from 0; of a stream, the rows of test
    stream: ShuffledRows | None = None  # the rows to train on, where they do not fit in memory

    @property
    def training_rows(self) -> int:
        return len(self.train) if self.stream is None else self.stream.rows


def choose_columns(table: Table, options: TableOptions, console: Console) -> list[str]:
    """The columns to model: those asked for, or all that are not conditioned on.

    Raises:
        InputError: a column is missing, named twice, or numbers but for a few cells; or no numbers are left.
    """
    frame, source = table.frame, str(table.path)
    columns, given, categories = options.columns, options.given, options.categories
    weights = [] if options.weights is None else [options.weights]
    for flag, names in (
        ("--columns", columns),
        ("--given", given),
        ("--categories", categories),
        ("--weights", weights),
    ):
        require_columns(frame, names, source, flag)
        twice = [name for name in dict.fromkeys(names) if list(names).count(name) > 1]
        if twice:
            raise InputError(f"{flag}: {twice[0]!r} is named twice")
    both = [name for name in columns if name in given]
    if both:
        raise InputError(
            f"{both[0]!r} is in --columns and in --given; a column is modelled or conditioned on, not both"
        )
    if options.weights in [*columns, *given]:
        raise InputError(
            f"--weights {options.weights}: is in --columns or --given; it weighs the rows, or is one of them"
        )
    names = list(columns) or [name for name in frame.columns if name not in [*given, *weights]]
    if not options.strict and not columns:
        left = [name for name in names if holds_names(frame[name]) and not _is_category(frame[name])]
        names = [name for name in names if name not in left]
        if left:
            console.note(f"{source}: {listed(left)} hold too many different texts to be categories, and are left out")
    if all(name in categories or holds_names(frame[name]) for name in names):
        raise InputError(f"{source}: no column of numbers is left to model; it has {listed(frame.columns)}")
    refuse_text(frame, weights, source)
    refuse_spoilt(frame, [name for name in [*names, *given] if name not in categories], source)
    return names


def _is_category(column: pl.Series) -> bool:
    try:
        learn_category(column.drop_nulls(), "")
    except InputError:
        return False
    return True


def prepare(table: Table, options: TableOptions, console: Console) -> TableSplits:
    """Rows and schema for a fit.

    Raises:
        InputError: the table cannot be fitted as it is; says why and how to mend it.
    """
    source = str(table.path)
    numeric, named = kinds(table.frame, options, source)
    numbers = np.flatnonzero(usable_rows(table.frame, numeric, named))
    table = _complete(table, numeric, named, options.drop_missing, console)
    refuse_few_rows(table.frame.height, len(options.columns), source)
    # supports, grids and categories from all rows, so that every row can be encoded; all else from the training rows
    everything = pl.concat(table.splits.values()) if table.splits else table.frame
    schema = learn_schema(everything, options.columns, options.given, source, options.bounds, options.categories)
    train, val, test = divide(table, options.training.seed, options.validation)
    train_rows, val_rows, test_rows = (
        Rows(*schema.encode(frame, source), weights_of(frame, options.weights, source)) for frame in (train, val, test)
    )
    whole = None if table.splits else Rows(*schema.encode(table.frame, source))
    return TableSplits(schema, train_rows, val_rows, test_rows, whole, numbers)


def kinds(frame: pl.DataFrame, options: TableOptions, source: str) -> tuple[list[str], list[str]]:
    """The columns that hold numbers, and those whose values are names; refuses options about other columns."""
    require_columns(frame, list(options.bounds), source, "--bounds")
    columns, given, categories = options.columns, options.given, options.categories
    named = [name for name in columns if name in categories or holds_names(frame[name])]
    named += [name for name in given if name in categories or is_text(frame[name])]
    numbers = [name for name in [*columns, *given] if name not in named]
    _refuse_stray(
        "--bounds", options.bounds, "modelled columns of numbers", [name for name in columns if name in numbers]
    )
    _refuse_stray("--categories", categories, "columns of the model", [*columns, *given])
    return numbers + ([] if options.weights is None else [options.weights]), named


def weights_of(frame: pl.DataFrame, name: str | None, source: str) -> Tensor | None:
    """How much each row counts; None where no column says it.

    Raises:
        InputError: a weight is negative, or all are 0.
    """
    if name is None:
        return None
    weights = to_numbers(frame, [name])[:, 0]
    bad = np.flatnonzero(weights < 0)
    if len(bad):
        raise InputError(f"{source}: column {name!r}: {weights[bad[0]]:g} is negative, and weights are not")
    if not weights.any():
        raise InputError(f"{source}: column {name!r}: all weights are 0, so no row counts")
    return torch.from_numpy(weights)


def _refuse_stray(flag: str, names: Iterable[str], what: str, known: Sequence[str]) -> None:
    stray = [name for name in names if name not in known]
    if stray:
        raise InputError(f"{flag}: {stray[0]!r} is not among the {what}, {listed(known)}")


def _complete(table: Table, numbers: list[str], text: list[str], drop: bool, console: Console) -> Table:
    """The table without rows that lack a value, or a refusal."""
    source = str(table.path)
    frames: dict[str, pl.DataFrame] = {"": table.frame, **table.splits}
    dropped = 0
    for key, frame in frames.items():
        usable = usable_rows(frame, numbers, text)
        if usable.all():
            continue
        if not drop:
            refuse_gaps(frame, numbers, text, source)
        frames[key] = frame.filter(usable)
        if key or not table.splits:
            dropped += int((~usable).sum())
    if dropped:
        console.note(f"{source}: {dropped:,} rows with missing or infinite values are left out")
    first = frames.pop("")
    return replace(table, frame=first, splits=frames)
