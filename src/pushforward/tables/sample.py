"""New rows from a fitted table, with the columns that it is conditioned on held fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch

from ..models.console import Console, aligned
from . import queries
from .formats.source import Location
from .formats.table import check_output, write_table

if TYPE_CHECKING:
    from .fitted import FittedTable

BATCH = 8192  # rows that are drawn at once


def draw(model: FittedTable, n: int, fixed: pl.DataFrame, seed: int, temperature: float = 1.0) -> pl.DataFrame:
    """n rows for every row of ``fixed``, the given columns, which come first; n rows where it has no columns.

    Args:
        model: The fitted table.
        n: Rows.
        fixed: A value for every column that the model is conditioned on, and for any others.
        seed: Of the draws.
        temperature: Of the draws.
    """
    if any(name not in model.schema.given_names for name in fixed.columns):
        return queries.draw_given(model, n, fixed, seed)
    context = model.schema.context(fixed, "--given")
    generator = torch.Generator(model.device).manual_seed(seed)
    if context is None:
        parts = [
            model.density.sample((min(BATCH, n - start),), generator=generator, temperature=temperature)
            for start in range(0, n, BATCH)
        ]
        return model.schema.decode(torch.cat(parts))
    repeated = context.to(model.device).repeat_interleave(n, 0)
    parts = [
        model.density.sample((), part, generator=generator, temperature=temperature) for part in repeated.split(BATCH)
    ]
    places = np.repeat(np.arange(fixed.height), n)
    return pl.concat([fixed[places], model.schema.decode(torch.cat(parts))], how="horizontal")


def sample_file(
    model: FittedTable,
    n: int,
    output: Location,
    given: dict[str, str],
    console: Console,
    *,
    seed: int = 0,
    temperature: float = 1.0,
) -> dict[str, Any]:
    """Draws n rows and writes them; returns a summary.

    Raises:
        InputError: an argument cannot be used; says why.
    """
    check_output(output)
    rows = draw(model, n, queries.one_row(model, given), seed, temperature)
    write_table(rows, output)
    console.say(f"{n:,} rows of {rows.width} columns")
    shown = [tuple(rows.columns)] + [tuple(_short(v) for v in row) for row in rows.head(3).iter_rows()]
    for line in aligned(shown):
        console.say(line)
    console.say(f"saved {output}")
    return {"rows": n, "columns": rows.columns, "given": given, "seed": seed, "output": str(output)}


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
