"""From a file and the user's options to encoded rows: which columns, which rows, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ..errors import InputError, listed
from ..models.console import Console
from ..models.train import Rows
from .io.table import Table
from .options import TableOptions
from .rows import divide, refuse_few_rows
from .schema.decide import learn_schema
from .schema.histogram import with_histograms
from .schema.numbers import refuse_gaps, refuse_text, require_columns, row_weights, usable_rows
from .schema.reading import is_text
from .schema.schema import Schema
from .streaming.shuffled_rows import ShuffledRows


@dataclass(frozen=True)
class TableSplits:
    """Encoded training, validation and test rows, and the schema that encoded them."""

    schema: Schema
    train: Rows  # of a stream, a sample
    val: Rows
    test: Rows
    whole: Rows | None  # all usable rows in the file's order; None if the file has its own splits, or for a stream
    numbers: np.ndarray  # positions of the usable rows in the file, from 0; for a stream, those of the test rows
    stream: ShuffledRows | None = None  # the rows to train on, where they do not fit in memory

    @property
    def training_rows(self) -> int:
        return len(self.train) if self.stream is None else self.stream.rows

    @property
    def train_source(self) -> Rows | ShuffledRows:
        """The rows to train on."""
        return self.train if self.stream is None else self.stream

    @property
    def together(self) -> Rows:
        """The training rows, followed by the validation rows."""
        pairs = [(getattr(self.train, name), getattr(self.val, name)) for name in ("x", "context", "weights")]
        return Rows(*(None if first is None else torch.cat([first, second]) for first, second in pairs))  # type: ignore[arg-type]

    def ignoring(self) -> TableSplits:
        """The rows without the columns that flag values missing at random; see :meth:`Schema.ignoring`."""
        schema, ignore = self.schema.ignoring(), self.schema.ignore
        train, val, test = (replace(rows, x=ignore(rows.x)) for rows in (self.train, self.val, self.test))
        whole = None if self.whole is None else replace(self.whole, x=ignore(self.whole.x))
        stream = None if self.stream is None else self.stream.encoded_by(schema)
        return replace(self, schema=schema, train=train, val=val, test=test, whole=whole, stream=stream)


def choose_columns(table: Table, options: TableOptions) -> list[str]:
    """The columns to model: those requested, or all that are not conditioned on.

    Raises:
        InputError: a column is missing, or named twice.
    """
    frame, source = table.frame, str(table.path)
    columns, given = options.columns, options.given
    weights = [] if options.weights is None else [options.weights]
    asked = {
        "--columns": columns,
        "--given": given,
        "--categories": options.categories,
        "--numbers": options.numbers,
        "--weights": weights,
    }
    for flag, names in asked.items():
        require_columns(frame, names, source, flag)
        twice = [name for name in dict.fromkeys(names) if list(names).count(name) > 1]
        if twice:
            raise InputError(f"{flag}: {twice[0]!r} is named twice")
    for one, other, what in (
        ("--columns", "--given", "modelled or conditioned on"),
        ("--categories", "--numbers", "names or numbers on a scale"),
    ):
        both = [name for name in asked[one] if name in asked[other]]
        if both:
            raise InputError(f"{both[0]!r} is in {one} and in {other}; a column is {what}, not both")
    if options.weights in [*columns, *given]:
        raise InputError(
            f"--weights {options.weights}: is in --columns or --given; a column is either weights or one of these"
        )
    refuse_text(frame, weights, source)
    return list(columns) or [name for name in frame.columns if name not in [*given, *weights]]


def prepare(
    table: Table, options: TableOptions, console: Console, *, asked: bool = False, schema: Schema | None = None
) -> TableSplits:
    """Rows and schema for a fit.

    Args:
        table: The rows.
        options: The user's choices, with all the columns to model.
        console: Where to print messages.
        asked: Whether the user named these columns, so that none of them may be left out.
        schema: The schema of an earlier fit; None to learn it from the rows.

    Raises:
        InputError: the table cannot be fitted as it is; says why and how to mend it.
    """
    source = str(table.path)
    weights = [] if options.weights is None else [options.weights]
    wanted = [*options.columns, *options.given, *weights]
    refuse_stray(options, table.frame, source)
    usable = usable_rows(table.frame, wanted) if options.drop_missing else np.ones(table.frame.height, bool)
    if options.drop_missing:
        table = _complete(table, wanted, console)
    refuse_gaps(table.frame, weights, source)
    refuse_few_rows(table.frame.height, source)
    # supports, grids and categories from all rows, so that every row can be encoded; all else from the training rows
    fresh = schema is None
    everything = pl.concat(table.splits.values()) if table.splits else table.frame
    if schema is None:
        schema = learn(everything, options, source, console, asked)
    train, val, test = divide(table, options.training.seed, options.validation)
    train_rows, val_rows, test_rows = (
        Rows(*schema.encode(frame, source), weights_of(frame, options.weights, source)) for frame in (train, val, test)
    )
    if fresh:
        schema = with_histograms(schema, train_rows.x, train_rows.weights)
    whole = None if table.splits else Rows(*schema.encode(table.frame, source))
    return TableSplits(schema, train_rows, val_rows, test_rows, whole, np.flatnonzero(usable))


def learn(frame: pl.DataFrame, options: TableOptions, source: str, console: Console, asked: bool) -> Schema:
    """The schema of some rows; reports what was decided about their columns."""
    schema = learn_schema(
        frame,
        options.columns,
        options.given,
        source,
        options.bounds,
        options.categories,
        options.numbers,
        circular=options.circular,
        asked=asked,
        strict=options.strict,
    )
    for note in schema.notes:
        console.note(note)
    return schema


def weights_of(frame: pl.DataFrame, name: str | None, source: str) -> Tensor | None:
    """The weight of each row; None if there is no column of weights.

    Raises:
        InputError: a weight is missing or negative, or all are 0.
    """
    if name is None:
        return None
    weights = row_weights(frame, name, source)
    if not weights.any():
        raise InputError(f"{source}: column {name!r}: all weights are 0, so no row counts")
    return torch.from_numpy(weights)


def refuse_stray(options: TableOptions, frame: pl.DataFrame, source: str) -> None:
    """Refuses options about columns that are not modelled.

    Raises:
        InputError: names the first of them, and those that there are.
    """
    for flag, named in (("--bounds", options.bounds), ("--circular", options.circular)):
        require_columns(frame, list(named), source, flag)
    for name, (low, high) in options.circular.items():
        if not low < high or name in options.bounds:
            raise InputError(f"--circular {name}={low:g},{high:g}: needs LOW below HIGH, and no --bounds for it")
    numbers = [name for name in options.columns if name not in options.categories and not is_text(frame[name])]
    for flag, names, what, known in (
        ("--bounds", options.bounds, "modelled columns of numbers", numbers),
        ("--circular", options.circular, "modelled columns of numbers", numbers),
        ("--categories", options.categories, "columns of the model", [*options.columns, *options.given]),
        ("--numbers", options.numbers, "modelled columns", options.columns),
    ):
        stray = [name for name in names if name not in known]
        if stray:
            raise InputError(f"{flag}: {stray[0]!r} is not among the {what}, {listed(known)}")


def _complete(table: Table, wanted: Sequence[str], console: Console) -> Table:
    """The table without rows that have missing values."""
    frames: dict[str, pl.DataFrame] = {"": table.frame, **table.splits}
    dropped = 0
    for key, frame in frames.items():
        usable = usable_rows(frame, wanted)
        frames[key] = frame.filter(usable)
        if key or not table.splits:
            dropped += int((~usable).sum())
    if dropped:
        console.note(f"{table.path}: {dropped:,} rows with missing or infinite values are left out")
    first = frames.pop("")
    return replace(table, frame=first, splits=frames)
