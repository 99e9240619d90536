"""From a file and the user's wishes to encoded rows: which columns, which rows, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from ..data.errors import InputError, listed
from ..data.learn import learn_schema
from ..data.numbers import is_text, refuse_gaps, refuse_text, require_columns, usable_rows
from ..data.schema import Schema
from ..data.shuffle import ShuffledRows
from ..data.table import Table
from .console import Console
from .learn import Rows, divide, refuse_few_rows


@dataclass(frozen=True)
class Prepared:
    """Encoded rows to train on, to stop by and to report on, and the schema that encoded them."""

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


def choose_columns(
    table: Table, columns: Sequence[str], given: Sequence[str], console: Console, leave_text: bool = False
) -> list[str]:
    """The columns to model: those asked for, or all that are not conditioned on.

    Raises:
        InputError: a column is missing, named twice, or holds text.
    """
    frame, source = table.frame, str(table.path)
    for flag, names in (("--columns", columns), ("--given", given)):
        require_columns(frame, names, source, flag)
        twice = [name for name in dict.fromkeys(names) if list(names).count(name) > 1]
        if twice:
            raise InputError(f"{flag}: {twice[0]!r} is named twice")
    both = [name for name in columns if name in given]
    if both:
        raise InputError(
            f"{both[0]!r} is in --columns and in --given; a column is modelled or conditioned on, not both"
        )
    names = list(columns) or [name for name in frame.columns if name not in given]
    if leave_text and not columns:
        left = [name for name in names if is_text(frame[name])]
        names = [name for name in names if name not in left]
        if left:
            console.note(f"{source}: {listed(left)} hold text and are left out")
    if not names:
        raise InputError(f"{source}: no column is left to model; it has {listed(frame.columns)}")
    refuse_text(frame, names, source, given)
    return names


def prepare(
    table: Table,
    columns: Sequence[str],
    given: Sequence[str],
    bounds: dict[str, tuple[float, float | None]],
    drop_missing: bool,
    seed: int,
    console: Console,
) -> Prepared:
    """Rows and schema for a fit.

    Raises:
        InputError: the table cannot be fitted as it is; says why and how to mend it.
    """
    source = str(table.path)
    require_modelled(table.frame, bounds, columns, source)
    numeric = [*columns, *(name for name in given if not is_text(table.frame[name]))]
    text = [name for name in given if name not in numeric]
    numbers = np.flatnonzero(usable_rows(table.frame, numeric, text))
    table = _complete(table, numeric, text, drop_missing, console)
    refuse_few_rows(table.frame.height, len(columns), source)
    # supports, grids and categories from all rows, so that every row can be encoded; all else from the training rows
    everything = pl.concat(table.splits.values()) if table.splits else table.frame
    schema = learn_schema(everything, list(columns), list(given), source, bounds)
    train, val, test = divide(table, seed)
    train_rows, val_rows, test_rows = (Rows(*schema.encode(frame, source)) for frame in (train, val, test))
    whole = None if table.splits else Rows(*schema.encode(table.frame, source))
    return Prepared(schema, train_rows, val_rows, test_rows, whole, numbers)


def require_modelled(frame: pl.DataFrame, bounds: Iterable[str], columns: Sequence[str], source: str) -> None:
    """Refuses bounds of columns that are not there, or not modelled."""
    require_columns(frame, list(bounds), source, "--bounds")
    stray = [name for name in bounds if name not in columns]
    if stray:
        raise InputError(f"--bounds: {stray[0]!r} is not among the modelled columns {listed(columns)}")


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
