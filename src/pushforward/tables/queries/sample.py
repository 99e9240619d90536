"""Rows drawn from a fitted table: new ones, given columns and whatever else is known, and missing cells of others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ...diagnostics.sampling_quality import closeness, sampling_quality
from ...errors import InputError, counted, listed, positive_integers, refuse_beyond_memory
from ...models.console import Console, aligned
from ...models.train import Rows
from ...saving.files import NotSaved
from ..io.place import Location
from ..io.write import check_output, write_table
from ..model import TableModel
from ..schema.columns import Column
from ..schema.notes import Note
from ..schema.numbers import missing
from ..schema.reading import OTHER
from .known import Known
from .probability import as_known, gapped, holds, near_draws, no_numbers
from .query import completed, condition_on, encode_partly, fill, most_draws
from .region import narrowed
from .told import Told

BATCH = 2048  # rows drawn at once
COMMON = 0.02  # share of the density's draws from which those that are as known are taken from them
MOST, POINTS = 4096, 65_536  # draws from which those of a row, and of all rows, are resampled


def draw(model: TableModel, n: int, known: Known, seed: int, temperature: float = 1.0) -> pl.DataFrame:
    """n rows for each of those of which something is known."""
    if known.strange.numel() and known.strange.all():
        raise InputError(known.notes[-1].removeprefix("given: "), "given")
    refuse_beyond_memory(16.0 * n * known.rows.x.numel(), "n", n)
    rows = model.schema.decode(drawn(model, n, known, seed, temperature).flatten(0, 1))
    for row, where in enumerate(known.wheres):
        if where.rest and not known.strange[row] and not where.counts(rows[row * n : (row + 1) * n]).all():
            raise InputError("too few rows are so for any to be drawn", "given")
    if not model.schema.given:
        return rows
    told = [_told(given.column, known.cells[given.name]) for given in model.schema.given]
    return pl.concat([pl.DataFrame(told)[np.repeat(np.arange(len(known)), n)], rows], how="horizontal")


def _told(column: Column, cells: pl.Series) -> pl.Series:
    """A given column as the table has it; nothing in place of what no training row had."""
    codes = column.read(cells)
    found = column.written(np.where(column.kind.can(codes), codes, np.nan))
    return found if OTHER not in column.labels else found.zip_with(found.ne_missing(OTHER), cells.cast(found.dtype))


def drawn(model: TableModel, n: int, known: Known, seed: int, temperature: float = 1.0) -> Tensor:
    """The same rows as encoded, ``(len(known), n, features)``; NaN given a category that no training row had."""
    if not known.nothing:
        return torch.cat([_drawn_given(model, n, some, seed + row) for row, some in enumerate(known.apart())])
    generator, count = torch.Generator(model.device).manual_seed(seed), len(known.rows.x)
    each = torch.arange(count).repeat_interleave(n)
    x = torch.cat([near_draws(model, known.rows[some], generator, temperature) for some in each.split(BATCH)])
    x = model.schema.missingness.drawn(x, generator).view(count, n, x.shape[1])
    return x.masked_fill(known.strange[:, None, None].to(x.device), torch.nan)


def _drawn_given(model: TableModel, n: int, known: Known, seed: int) -> Tensor:
    """n rows for each of those known, whose cells are kept; ranges and missing cells are drawn, as are all other
    columns; beside one row's, other cells may be missing, unless something known follows from them; in rows of a table
    none is."""
    schema, strange = model.schema, known.strange
    x = torch.full((len(known), n, len(schema.columns)), torch.nan, dtype=torch.float64)
    if strange.all():
        return x
    if (found := _as_known(model, n, known, seed)) is not None:
        return found
    rows, regions = known.rows[~strange], [known.where(row).region for row in (~strange).nonzero()[:, 0].tolist()]
    narrow, region = narrowed(rows.x, regions, schema)
    whole = not known.one or bool(known.bound.any())  # then no cell is missing
    rows = Rows(schema.missingness.forgotten(narrow, 0.0) if whole else narrow, rows.context)
    told, bound = known.told[~strange], known.bound[~strange]
    if region is not None and any(known.where(row).region.parts for row in known.bound.nonzero()[:, 0].tolist()):
        raise InputError("takes no range beside a value of a column that follows from others", "given")
    most, where = most_draws(len(rows), most=MOST, points=POINTS), known.wheres[0]
    drawn = fill(model, rows, told, n, seed, missing=not whole, region=region, where=where, candidates=most)
    if drawn[:, bound].isnan().any():
        raise InputError("too few rows are so for any to be drawn", "given")
    if not whole:
        drawn = gapped(model, drawn[:, 0], known.rows, known.where(0).region, seed)[:, None]
    x[~strange] = torch.where(rows.x.isnan(), drawn, rows.x).transpose(0, 1)
    return x


def _as_known(model: TableModel, n: int, known: Known, seed: int) -> Tensor | None:
    """n draws of the density that are as is known of one row, ``(1, n, features)``, without any error of the guide;
    None where these are rare, or a number is known, or what follows from others."""
    row, where = known.rows, known.where(0)
    if not known.one or len(known) > 1 or known.bound.any() or not no_numbers(model, row).all():
        return None
    generator, found = torch.Generator(model.device).manual_seed(seed), list[Tensor]()
    while not found or sum(map(len, found)) < n:
        drawn = near_draws(model, row[torch.zeros(BATCH, dtype=torch.long)], generator).cpu()
        x = gapped(model, drawn, row, where.region, seed + len(found))
        found.append(x[holds(model, where, x) & as_known(x, row)])
        if len(found[0]) < COMMON * BATCH:
            return None
    return torch.cat(found)[None, :n]


def sample_file(
    model: TableModel,
    n: int,
    output: Location,
    given: dict[str, str],
    console: Console,
    *,
    where: str | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    check: Location | None = None,
    privacy_check: bool = False,
) -> dict[str, Any]:
    """Draws n rows and writes them; returns a summary.

    They are compared with the rows of ``check``, the table that was fitted; with ``privacy_check`` nothing is written
    if more draws than held-out rows are very near to a training row.
    """
    check_output(output)
    if privacy_check and check is None:
        raise InputError("needs the table that the model was fitted to, in `check=`", "privacy_check")
    known = Known.of(model, given, where)
    rows = draw(model, n, known, seed, temperature)
    console.note(*known.notes)
    facts = {} if check is None else _checked(model, rows, check, console)
    if privacy_check and not facts["closeness"]["private"]:
        raise NotSaved(f"{output}: not written, since draws repeat training rows more than held-out rows do")
    write_table(rows, output)
    first = aligned([rows.columns, *rows.head(3).rows()])
    console.say(f"{n:,} rows of {rows.width} columns", *first, f"saved {output}")
    asked = {"given": given, "where": where, "seed": seed, "output": str(output)}
    return {"rows": n, "columns": rows.columns, **asked, **facts}


def _checked(model: TableModel, rows: pl.DataFrame, data: Location, console: Console) -> dict[str, Any]:
    """How the draws compare with the held-out rows and the training rows of a table, printed and returned."""
    held = model.held_out(model.read_file(data), console)
    if held.train is None:
        raise InputError(f"is not the table that the model {model.called} was fitted to", "check", str(data))
    names = [name for name in rows.columns if name in model.schema.names]
    others = [model.schema.decode(completed(model, part).x) for part in (held.train, held.rows)]
    compared = [model.schema.amounts(table.select(names)) for table in (*others, rows)]
    quality = sampling_quality(*compared, seed=model.seed)
    close = closeness(*compared, seed=model.seed)
    console.say(*quality.sentences(), close.sentence())
    return {"sampling": quality.to_json(), "closeness": close.to_json()}


def impute(
    model: TableModel, frame: pl.DataFrame, draws: int, seed: int, source: str = "table"
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The rows with their missing cells drawn from p(missing | observed), ``draws`` copies one below the other, and
    notes on those whose cells stay missing, given what no training row was.

    Columns unknown to the model are left as they are; columns that the table lacks are drawn as well.
    """
    positive_integers(draws=draws)
    schema = model.schema
    found = encode_partly(model, frame, source)
    x, strange, notes = condition_on(model, found, schema.names, frame, source, 0)
    rows = Rows(schema.missingness.forgotten(x, 0.0), found.context)  # once drawn, the values are present
    told = Told(schema, found.follow, empty=False)
    filled = fill(model, rows, told, draws, seed)
    denied = told.denied(rows.x, filled)
    filled = filled.masked_fill(strange[:, None] | denied, math.nan)
    written = schema.decode(filled.flatten(0, 1), into=frame, told=rows.x.repeat(draws, 1))
    before = pl.concat([frame] * draws) if draws > 1 else frame
    holes = {column.name: rows.x[:, j].isnan().repeat(draws).numpy() for j, column in enumerate(schema.columns)}
    for name in [*schema.names, *schema.follow_names]:  # some holes were completed from sums
        if name in before.columns:
            holes[name] = holes.get(name, False) | missing(before[name])
    for each in schema.in_part:  # what was drawn is known exactly
        holes |= dict.fromkeys(each.aside, holes[each.name])
    columns = []
    for name, hole in holes.items():
        if name in written.columns and name not in before.columns:
            columns.append(written[name])
        elif name in written.columns and (hole := hole & ~strange.repeat(draws).numpy()).any():
            columns.append(_filled(before[name], written[name], pl.Series(hole)))
    if (torn := denied.any(1) & ~strange).any():
        what = f"what it says of {listed(map(repr, schema.follow_names))}"
        notes = (*notes, Note.of(torn, f": no draw agrees with {what}, so its cells stay missing", source))
    return before.with_columns(columns), notes


def _filled(old: pl.Series, new: pl.Series, hole: pl.Series) -> pl.Series:
    """The drawn values in place of the holes, in the column's own type if it can hold them: one of NaN alone, or of
    nothing, says nothing of it."""
    blank = old.dtype in (pl.Null, pl.Boolean) or (old.dtype.is_numeric() and not new.dtype.is_numeric())
    if blank and missing(old).all():
        old = pl.Series(old.name, [None] * len(old), dtype=new.dtype)
    new = new.cast(old.dtype, strict=False) if old.dtype != new.dtype and not new.dtype.is_float() else new
    if old.dtype.is_integer() and new.dtype.is_float():
        old = old.cast(new.dtype)
    return new.zip_with(hole, old.cast(new.dtype, strict=False)).alias(old.name)


def impute_file(
    model: TableModel, data: Location, output: Location, console: Console, *, draws: int = 1, seed: int = 0
) -> dict[str, Any]:
    """Fills the missing cells of a file's table and writes it; returns a summary."""
    check_output(output)
    table = model.read_file(data)
    console.note(*table.notes)
    filled, notes = impute(model, table.frame, draws, seed, str(data))
    console.note(*notes)
    there = [name for name in model.schema.names if name in table.frame.columns]
    before, after = table.frame, filled.head(table.frame.height)  # rows without an answer keep their holes
    cells = sum(before[name].null_count() - after[name].null_count() for name in there)
    absent = model.schema.lacks(before.columns)
    write_table(filled, output)
    console.say(f"{cells:,} missing cells of {table.frame.height:,} rows, drawn {counted(draws, 'time')}")
    if absent:
        console.say(f"columns that the table lacks, drawn whole: {listed(absent)}")
    console.say(f"saved {output}")
    asked = {"draws": draws, "seed": seed, "output": str(output)}
    return {"rows": table.frame.height, "missing": cells, "absent": absent, **asked}
