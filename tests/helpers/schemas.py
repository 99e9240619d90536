"""Schemas learnt from small tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from pushforward.models.console import Console
from pushforward.tables.io.read import read_any
from pushforward.tables.options import TableOptions
from pushforward.tables.prepare import choose_columns, prepare
from pushforward.tables.schema.decide import learn_schema
from pushforward.tables.schema.learner import Learner
from pushforward.tables.schema.schema import Schema


def schema_of(table: pl.DataFrame | Mapping[str, Any], *, asked: bool = True, **options: Any) -> Schema:
    """The schema of a table: of all its columns, unless the options name some."""
    frame = pl.DataFrame(table, strict=False)
    said = TableOptions(**{"columns": frame.columns, **options})
    return learn_schema(frame, Learner(said, "t.csv", asked=asked))


def prepared_schema(table: Any, **options: Any) -> Schema:
    """The schema that a fit has, some of which is learnt from its training rows alone; nothing is trained."""
    read = read_any(table)
    said = choose_columns(read, TableOptions(**options))
    return prepare(read, Learner(said, str(read.path), asked=False), Console(quiet=True)).schema
