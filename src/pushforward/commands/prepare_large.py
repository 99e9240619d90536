"""From files larger than memory, and the user's wishes, to a stream of encoded rows and the rows that are held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from ..tables.errors import InputError
from ..tables.formats.parquet import ParquetRows
from ..tables.formats.table import Table, read_table
from ..tables.schema.infer import learn_schema
from ..tables.stream.large import is_many, open_parquet
from ..tables.stream.shuffle import ShuffledRows
from ..tables.stream.survey import Division, survey
from .console import Console
from .learn import HELD_OUT, MOST_HELD_OUT, Rows, refuse_few_rows
from .prepare import Prepared, Wishes, kinds

LARGE = 50_000_000  # cells of a table that is read in pieces: in memory it would take some 2 GiB


def read_rows(data: Path, stream: bool) -> tuple[Table, ParquetRows | None]:
    """The table, or its first rows and the files that it is read from in pieces.

    Args:
        data: A file, a folder or a pattern.
        stream: Whether to read in pieces what would fit in memory, too.

    Raises:
        InputError: it cannot be read, or not in pieces.
    """
    if not is_many(data) and data.suffix.lower() != ".parquet":
        if stream:
            raise InputError(f"{data}: only Parquet files are read in pieces")
        return read_table(data), None
    if not is_many(data) and not (data.is_file() and data.stat().st_size):
        return read_table(data), None  # which says why not
    source = open_parquet(data)
    if stream or source.rows * len(source.columns) >= LARGE:
        return Table(data, source.head()), source
    if not is_many(data):
        return read_table(data), None
    pieces = list(source.read(0, source.rows))
    try:
        return Table(data, pl.concat([piece.frame for piece in pieces], how="vertical_relaxed")), None
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{data}: its files have not the same columns: {str(error).splitlines()[0]}") from None


def prepare_large(source: ParquetRows, head: pl.DataFrame, wishes: Wishes, console: Console) -> Prepared:
    """Reads all rows once: for the schema, the held-out rows, and how many there are to train on.

    Raises:
        InputError: the table cannot be fitted as it is; says why and how to mend it.
    """
    name = str(source.path)
    numbers, named = kinds(head, wishes, name)
    division = Division(source.rows, wishes.seed, min(HELD_OUT, MOST_HELD_OUT / source.rows))
    found = survey(source, division, numbers, named, wishes.drop_missing)
    if found.unusable:
        console.note(f"{name}: {found.unusable:,} rows with missing or infinite values are left out")
    refuse_few_rows(source.rows - found.unusable, len(wishes.columns), name)
    everything = pl.concat([found.sample, found.val, found.test, found.witnesses], how="vertical_relaxed")
    schema = learn_schema(everything, wishes.columns, wishes.given, name, wishes.bounds, wishes.categories)
    sample, val, test = (Rows(*schema.encode(frame, name)) for frame in (found.sample, found.val, found.test))
    stream = ShuffledRows(source, schema, division, found.kept, wishes.seed)
    if not (len(val) and len(test) and len(sample)):
        raise InputError(f"{name}: has too few rows to be read in pieces")
    return Prepared(schema, sample, val, test, None, np.asarray(found.test_numbers), stream)
