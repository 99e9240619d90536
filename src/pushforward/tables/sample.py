"""New rows from a fitted table, with the columns that it is conditioned on held fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch

from ..diagnostics.sampling_quality import closeness, sampling_quality
from ..errors import InputError
from ..models.console import Console, aligned
from ..saving.files import NotSaved
from . import queries
from .given import one_row
from .io.source import Location
from .io.table import check_output, read_table, write_table

if TYPE_CHECKING:
    from .fitted import FittedTable

BATCH = 8192  # rows drawn at once


def draw(model: FittedTable, n: int, fixed: pl.DataFrame, seed: int, temperature: float = 1.0) -> pl.DataFrame:
    """n rows for every row of ``fixed``, the given columns, which come first; n rows if it has no columns.

    Args:
        model: The fitted table.
        n: Number of rows.
        fixed: A value for every column that the model is conditioned on, and for any others.
        seed: Seed of the draws.
        temperature: Temperature of the draws.
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
        return model.schema.decode(model.schema.missingness.drawn(torch.cat(parts), generator))
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
    check: Location | None = None,
    private: bool = False,
) -> dict[str, Any]:
    """Draws n rows and writes them; returns a summary.

    Args:
        model: The fitted table.
        n: Number of rows.
        output: Where to write them.
        given: Values of columns, as text.
        console: Where to print messages.
        seed, temperature: Seed and temperature of the draws.
        check: The table that the model was fitted to, to compare the draws with its training and held-out rows.
        private: Write nothing if more draws than held-out rows are very near to a training row.

    Raises:
        InputError: an argument cannot be used; says why.
        NotSaved: the draws are too near to training rows.
    """
    check_output(output)
    if private and check is None:
        raise InputError("--privacy-check: needs the table that the model was fitted to, as in --check DATA")
    rows = draw(model, n, one_row(model, given), seed, temperature)
    facts = {} if check is None else _checked(model, rows, check, console)
    if private and not facts["closeness"]["private"]:
        raise NotSaved(f"{output}: not written, since draws repeat training rows more than held-out rows do")
    write_table(rows, output)
    console.say(f"{n:,} rows of {rows.width} columns")
    shown = [tuple(rows.columns)] + [tuple(_short(v) for v in row) for row in rows.head(3).iter_rows()]
    for line in aligned(shown):
        console.say(line)
    console.say(f"saved {output}")
    return {"rows": n, "columns": rows.columns, "given": given, "seed": seed, "output": str(output), **facts}


def _checked(model: FittedTable, rows: pl.DataFrame, data: Location, console: Console) -> dict[str, Any]:
    """How the draws compare with the held-out rows and the training rows of a table, printed and returned."""
    held = model.held_out(read_table(data), console)
    if held.train is None:
        raise InputError(f"--check {data}: is not the table that the model {model.called} was fitted to")
    names = [name for name in rows.columns if name in model.schema.names]
    train, held_out = (model.schema.decode(part.x).select(names) for part in (held.train, held.rows))
    drawn = rows.select(names)
    quality = sampling_quality(train, held_out, drawn, seed=model.seed)
    close = closeness(train, held_out, drawn, seed=model.seed)
    for line in [*quality.sentences(), close.sentence()]:
        console.say(line)
    return {"sampling": quality.to_json(), "closeness": close.to_json()}


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
