"""From files larger than memory, and the user's options, to a stream of encoded rows and the held-out rows."""

from __future__ import annotations

import numpy as np
import polars as pl

from ..errors import InputError
from ..models.console import Console
from ..models.train import Rows
from .io.parquet import ParquetRows
from .options import TableOptions
from .prepare import TableSplits, learn, refuse_stray, weights_of
from .rows import MOST_HELD_OUT, refuse_few_rows
from .schema.histogram import with_histograms
from .streaming.shuffled_rows import ShuffledRows
from .streaming.survey import HashedSplits, survey


def prepare_large(
    source: ParquetRows, head: pl.DataFrame, options: TableOptions, console: Console, *, asked: bool = False
) -> TableSplits:
    """Reads all rows once: for the schema, the held-out rows, and how many there are to train on.

    Raises:
        InputError: the table cannot be fitted as it is; says why and how to mend it.
    """
    name = str(source.path)
    refuse_stray(options, head, name)
    wanted = [*options.columns, *options.given]
    splits = HashedSplits(source.rows, options.training.seed, min(options.validation, MOST_HELD_OUT / source.rows))
    found = survey(source, splits, wanted, options.drop_missing, options.strict, options.weights)
    if found.unusable:
        console.note(f"{name}: {found.unusable:,} rows with missing or infinite values are left out")
    refuse_few_rows(source.rows - found.unusable, name)
    everything = pl.concat([found.sample, found.val, found.test, found.witnesses], how="vertical_relaxed")
    schema = learn(everything, options, name, console, asked)
    sample, val, test = (
        Rows(*schema.encode(frame, name), weights_of(frame, options.weights, name))
        for frame in (found.sample, found.val, found.test)
    )
    schema = with_histograms(schema, sample.x, sample.weights)
    seed, weights = options.training.seed, options.weights
    stream = ShuffledRows(source, schema, splits, found.kept, seed, options.drop_missing, weights, found.weight)
    if not (len(val) and len(test) and len(sample)):
        raise InputError(f"{name}: has too few rows to be read in pieces")
    return TableSplits(schema, sample, val, test, None, np.asarray(found.test_numbers), stream)
