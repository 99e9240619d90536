"""New rows from a fitted table, with the columns that it is conditioned on held fixed, and any others."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ...diagnostics.sampling_quality import closeness, sampling_quality
from ...errors import InputError
from ...models.console import Console
from ...models.train import Rows
from ...saving.files import NotSaved
from ..io.place import Location
from ..io.read import read_table
from ..io.write import check_output, write_table
from ..model import TableModel
from ..schema.schema import Encoded
from .conditions import check_known, condition_on, one_row
from .query import FEWEST, Query, encode_partly, most_draws
from .score_file import listing

BATCH = 8192  # rows drawn at once
ROUNDS = 20  # of redrawing


def draw(
    model: TableModel,
    n: int,
    fixed: pl.DataFrame,
    seed: int,
    temperature: float = 1.0,
    notes: list[str] | None = None,
    *,
    missing: bool = True,
) -> pl.DataFrame:
    """n rows for every row of ``fixed``, the given columns, which come first; n rows if it has no columns.

    Args:
        model: The fitted table.
        n: Number of rows.
        fixed: A value for every column that the model is conditioned on, and for any others.
        seed: Seed of the draws.
        temperature: Temperature of the draws.
        notes: Gets notes on the given values.
        missing: Whether cells beside given ones may be missing, as often as in the table.
    """
    if not set(fixed.columns) <= set(model.schema.given_names):
        return _draw_given(model, n, fixed, seed, [] if notes is None else notes, missing)
    context = model.schema.context(fixed, "given") if model.schema.given else None
    generator = torch.Generator(model.device).manual_seed(seed)
    whole = torch.empty(n, 0) if context is None else context.to(model.device).repeat_interleave(n, 0)
    x = torch.cat([_drawn(model, part, generator, temperature) for part in whole.split(BATCH)])
    return _beside(fixed, n, model.schema.decode(model.schema.missingness.drawn(x, generator)))


def _drawn(model: TableModel, context: Tensor, generator: torch.Generator, temperature: float) -> Tensor:
    """A draw for each context, ``(n, context features)``; draws far from the training rows are drawn again."""

    def draws(some: Tensor) -> Tensor:
        shape, given = ((), some) if some.shape[1] else ((len(some),), None)
        return model.density.sample(shape, given, generator=generator, temperature=temperature)

    x = draws(context)
    for _ in range(ROUNDS):
        far = (model.schema.far(x).to(x.device) | ~x.isfinite().all(1)).nonzero()[:, 0]
        if not len(far):
            break
        x[far] = draws(context[far])
    return x


def _draw_given(
    model: TableModel, n: int, fixed: pl.DataFrame, seed: int, notes: list[str], missing: bool
) -> pl.DataFrame:
    """n rows for every row of ``fixed``, whose cells are kept; missing ones are drawn, as are all other columns.
    Nothing is drawn for rows of a category that no training row had.

    Raises:
        InputError: a column or all values are unknown, a value cannot be, or the model has no guide.
    """
    schema = model.schema
    check_known(model, fixed.columns)
    encoded = encode_partly(model, fixed, "given")
    _refuse_broken(model, encoded)
    x, strange, found = condition_on(model, encoded.x, fixed.columns, fixed, "given", 0)
    if strange.all():
        raise InputError(found[-1].removeprefix("given: "), "given")
    notes += found
    seen = schema.missingness.forgotten(schema.seen(x), torch.nan if missing else 0.0)
    rows = Rows(seen, encoded.context)[~strange]
    most = max(FEWEST, most_draws(len(rows)))
    filled = Query.holes(rows).draw(model, n, seed, missing=missing, candidates=most)
    if missing:
        filled = schema.missingness.drawn(filled, torch.Generator().manual_seed(seed))
    x = torch.full((fixed.height, n, len(schema.columns)), torch.nan, dtype=torch.float64)
    x[~strange] = torch.where(rows.x.isnan(), filled, rows.x).transpose(0, 1)
    written = schema.decode(x.flatten(0, 1))
    return _beside(fixed.select(name for name in fixed.columns if name in schema.given_names), n, written)


def _refuse_broken(model: TableModel, rows: Encoded) -> None:
    """Refuses given values that contradict a relation between columns.

    Raises:
        InputError: names the first such row, and the relation.
    """
    for relation, broken in zip(model.schema.relations, model.schema.broken(rows), strict=True):
        if broken.any():
            raise InputError(f"given: row {int(broken.argmax()) + 1} contradicts this: {relation}")


def _beside(given: pl.DataFrame, n: int, rows: pl.DataFrame) -> pl.DataFrame:
    """Drawn rows, n for each of the given ones, with the columns that the model is conditioned on."""
    if not given.width:
        return rows
    return pl.concat([given[np.repeat(np.arange(given.height), n)], rows], how="horizontal")


def sample_file(
    model: TableModel,
    n: int,
    output: Location,
    given: dict[str, str],
    console: Console,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    check: Location | None = None,
    privacy_check: bool = False,
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
        privacy_check: Write nothing if more draws than held-out rows are very near to a training row.

    Raises:
        InputError: an argument cannot be used; says why.
        NotSaved: the draws are too near to training rows.
    """
    check_output(output)
    if privacy_check and check is None:
        raise InputError("needs the table that the model was fitted to, in `check=`", "privacy_check")
    notes: list[str] = []
    rows = draw(model, n, one_row(model, given), seed, temperature, notes)
    for note in notes:
        console.note(note)
    facts = {} if check is None else _checked(model, rows, check, console)
    if privacy_check and not facts["closeness"]["private"]:
        raise NotSaved(f"{output}: not written, since draws repeat training rows more than held-out rows do")
    write_table(rows, output)
    console.say(f"{n:,} rows of {rows.width} columns")
    for line in listing(rows.head(3)):
        console.say(line)
    console.say(f"saved {output}")
    return {"rows": n, "columns": rows.columns, "given": given, "seed": seed, "output": str(output), **facts}


def _checked(model: TableModel, rows: pl.DataFrame, data: Location, console: Console) -> dict[str, Any]:
    """How the draws compare with the held-out rows and the training rows of a table, printed and returned."""
    held = model.held_out(read_table(data, model.read_options), console)
    if held.train is None:
        raise InputError(f"is not the table that the model {model.called} was fitted to", "check", str(data))
    names = [name for name in rows.columns if name in model.schema.names]
    train, held_out = (model.schema.decode(part.x).select(names) for part in (held.train, held.rows))
    drawn = rows.select(names)
    quality = sampling_quality(train, held_out, drawn, seed=model.seed)
    close = closeness(train, held_out, drawn, seed=model.seed)
    for line in [*quality.sentences(), close.sentence()]:
        console.say(line)
    return {"sampling": quality.to_json(), "closeness": close.to_json()}
