"""From a file and the user's options to encoded rows: which columns, which rows, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ..errors import InputError, counted, listed
from ..models.console import Console
from ..models.train import Rows
from .io.parquet import ParquetRows
from .io.table import Table
from .long_tables import LongTable, ShuffledRows, survey
from .options import TableOptions
from .schema.decide import learn_schema
from .schema.learner import Learner
from .schema.numbers import is_text, refuse_text, refuse_twice, require_columns, row_weights, usable_rows
from .schema.relations.stated_formula import stated_formulas
from .schema.schema import Schema
from .splits import MOST_HELD_OUT, TableSplits, divide, refuse_few_rows

TOTAL = r"(?i)\s*(grand |sub-?)?(total|sum|average|mean|median)s?\s*:?\s*$"  # names of rows that are made of others


def choose_columns(table: Table, options: TableOptions) -> TableOptions:
    """The options with the columns to model: those requested, or all that are not conditioned on."""
    frame, source = table.frame, str(table.path)
    weights = [] if options.weights is None else [options.weights]
    named = {
        "columns": options.columns,
        "given": options.given,
        "categories": options.categories,
        "numbers": options.numbers,
        "weights": weights,
        "relations": _related(options),
        "order": [name for pair in options.order for name in pair],
        "bounds": [*options.bounds],
        "circular": [*options.circular],
        "kinds": [*options.kinds],
    }
    for argument, names in ((each, names) for each, names in named.items() if names):
        require_columns(frame.columns, names, source, argument)
        if argument != "order":
            refuse_twice(names, argument)
    for one, other, what in (
        ("columns", "given", "modelled or conditioned on"),
        ("categories", "numbers", "names or numbers on a scale"),
        ("weights", "columns", "either weights or modelled"),
        ("weights", "given", "either weights or conditioned on"),
        ("circular", "bounds", "bounded or has a period"),
    ):
        both = [name for name in named[one] if name in named[other]]
        if both:
            raise InputError(f"{both[0]!r} is in `{other}=` as well; a column is {what}, not both", one)
    refuse_text(frame, weights, source)
    for name, (low, high) in options.circular.items():
        if not low < high:
            raise InputError("its low end must be below its high end", "circular", {name: (low, high)})
    chosen = options.columns or [name for name in frame.columns if name not in [*options.given, *weights]]
    _refuse_stray(named, chosen, frame)
    return replace(options, columns=chosen)


def why_no_row(frame: pl.DataFrame) -> str:
    """Why the last row of a table seems to stand below its rows, and to be none of them: it is the sum of the others in
    at least half of the columns of numbers, has a single cell where all others have more, or the name of a sum or an
    average that no other row has; empty if nothing says so."""
    if frame.height < 2:
        return ""
    last, above = frame[-1:], frame[:-1]
    numbers, filled = pl.selectors.numeric().cast(pl.Float64).fill_null(0.0), pl.sum_horizontal(pl.all().is_not_null())
    x, sums = last.select(numbers), above.select(numbers.sum()).to_numpy()
    in_total = np.array(x.columns)[(np.isclose(x.to_numpy(), sums) & (sums != 0)).any(0)] if x.width else ()
    if len(in_total) and 2 * len(in_total) >= x.width:
        return f"is the sum of the others in {listed(in_total)}"
    if last.select(filled).item() == 1 and above.select((filled > 1).all()).item():
        return f"has a single cell, {next(cell for cell in last.row(0) if cell is not None)!r}"
    for column in last.select(pl.selectors.string()).iter_columns():
        name = column.item() or ""
        if re.match(TOTAL, name) and name not in above[column.name]:
            return f"is {name!r} in {column.name!r}"
    return ""


def _related(options: TableOptions) -> list[str]:
    """The columns that ``relations`` speaks of."""
    named = [*options.unrelated, *options.formulas]
    if options.relations not in ("auto", "none") and len(named) < len(options.relations.split(",")):
        expected = "expected auto, none, columns that follow from no others, as in -price, or price = carat * quality"
        raise InputError(expected, "relations", options.relations)
    return named


def _refuse_stray(named: Mapping[str, Sequence[str]], chosen: Sequence[str], frame: pl.DataFrame) -> None:
    """Refuses options about columns that are not modelled: names the first of them, and those that there are."""
    numbers = [name for name in chosen if name not in named["categories"] and not is_text(frame[name])]
    for argument, what, known in (
        ("bounds", "modelled columns of numbers", numbers),
        ("circular", "modelled columns of numbers", numbers),
        ("categories", "columns of the model", [*chosen, *named["given"]]),
        ("numbers", "modelled columns", chosen),
        ("kinds", "columns of the model", [*chosen, *named["given"]]),
    ):
        stray = [name for name in named[argument] if name not in known]
        if stray:
            raise InputError(f"{stray[0]!r} is not among the {what}, {listed(known)}", argument)


def prepare(table: Table, learner: Learner, console: Console, schema: Schema | None = None) -> TableSplits:
    """Rows and schema for a fit: that of an earlier one, or what is learnt from the rows, with all the columns to model
    in the options."""
    options, source = learner.said, learner.source
    weights = [] if options.weights is None else [options.weights]
    wanted = [*options.columns, *options.given, *weights]
    usable = usable_rows(table.frame, wanted) if options.drop_missing else np.ones(table.frame.height, bool)
    if options.drop_missing:
        table = _complete(table, wanted, console)
    refuse_few_rows(table.frame.height, source)
    frame, split = divide(table, options.training.seed, options.validation)
    weight = weights_of(frame, options.weights, source)
    counts = np.ones(frame.height, bool) if weight is None else (weight > 0).numpy()  # other rows decide nothing
    train, val, test = (part[counts[part]] for part in split)
    if weight is not None and not all(map(len, (train, val, test))):
        raise InputError(f"{source}: column {options.weights!r}: all weights are 0, so no row counts")
    # supports, grids and categories from all rows, so that every row can be encoded; all else from the training rows
    known = frame if counts.all() else frame.filter(counts)
    fresh, schema = schema is None, schema or learn_schema(known, learner)
    encoded = schema.encode(frame, source)
    if encoded.strange[torch.from_numpy(counts)].any():
        raise InputError(encoded.notes[0])
    rows = Rows(encoded.x, encoded.context, weight)
    numbers = np.arange(len(test)) if table.splits else np.flatnonzero(usable)[test]
    splits = TableSplits(schema, rows, (train, val, test), numbers, complete=not table.splits)
    return shaped(splits, options, source) if fresh else splits


def prepare_large(source: ParquetRows, learner: Learner, console: Console) -> TableSplits:
    """The same for files larger than memory: reads all rows once, for the schema, a sample and the held-out rows."""
    options, name = learner.said, learner.source
    share = min(options.validation, MOST_HELD_OUT / source.rows)
    table = LongTable(source, options.training.seed, share, options.drop_missing, options.weights)
    found = survey(table, [*options.columns, *options.given], options.strict)
    if found.unusable:
        console.note(f"{name}: left out: {counted(found.unusable, 'row')} with missing or infinite values")
    refuse_few_rows(source.rows - found.unusable, name)
    parts = [found.sample, found.val, found.test]
    if not all(part.height for part in parts):
        raise InputError(f"{name}: has too few rows to be read in pieces")
    frame = pl.concat(parts, how="vertical_relaxed")
    everything = pl.concat([frame, found.witnesses], how="vertical_relaxed")
    schema = learn_schema(everything, learner)
    encoded = schema.encode(frame, name)
    rows = Rows(encoded.x, encoded.context, weights_of(frame, options.weights, name))
    train, val, test = np.split(np.arange(frame.height), np.cumsum([part.height for part in parts[:2]]))
    stream = ShuffledRows(table, schema, found)
    divided = TableSplits(schema, rows, (train, val, test), np.asarray(found.test_numbers), False, stream)
    return shaped(divided, options, name)


def shaped(splits: TableSplits, options: TableOptions, source: str) -> TableSplits:
    """The rows with a schema that has what is learnt from training rows alone: histograms, and formulas up to a
    remainder."""
    schema, train = splits.schema, splits.train
    found = schema.shaped(train.x, train.weights)
    if options.relations != "none":
        stated = stated_formulas(options.formulas, [*schema.fields, *schema.dependencies.columns], source)
        left = {name: formula for name, formula in stated.items() if {name, *formula.inputs} <= {*schema.names}}
        found = found.with_near(train.x, options.unrelated, left)
    return replace(splits, schema=found, stream=splits.stream and splits.stream.encoded_by(found))


def weights_of(frame: pl.DataFrame, name: str | None, source: str) -> Tensor | None:
    """The weight of each row; None if there is no column of weights."""
    return None if name is None else torch.from_numpy(row_weights(frame, name, source))


def _complete(table: Table, wanted: Sequence[str], console: Console) -> Table:
    """The table without rows that have missing values."""
    whole = table.mapped(lambda frame: frame.filter(usable_rows(frame, wanted)))
    before, after = (sum(part.height for part in each.splits.values() or [each.frame]) for each in (table, whole))
    if before > after:
        console.note(f"{table.path}: left out: {counted(before - after, 'row')} with missing or infinite values")
    return whole
