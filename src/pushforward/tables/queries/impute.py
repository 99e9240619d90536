"""Missing cells drawn from their density given the rest of their row."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from ...errors import InputError, listed
from ...models.console import Console
from ...models.train import Rows
from ..io.place import Location
from ..io.write import check_output, write_table
from ..model import TableModel
from ..schema.numbers import missing, more
from .query import encode_partly, fill
from .told import Told


def impute(
    model: TableModel, frame: pl.DataFrame, draws: int, seed: int, source: str = "table"
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The rows with their missing cells drawn from p(missing | observed), ``draws`` copies one below the other, and
    notes on those whose cells stay missing, given what no training row was.

    Columns unknown to the model are left as they are; columns that the table lacks are drawn as well.
    """
    if draws < 1:
        raise InputError("expected at least 1", "draws", draws)
    schema = model.schema
    found = encode_partly(model, frame, source)
    rows = Rows(schema.missingness.forgotten(found.x, 0.0), found.context)  # once drawn, the values are present
    filled = fill(model, rows, Told(schema, found.follow), draws, seed)
    torn = filled.isnan().any(-1).any(0) & ~found.strange
    strange = found.strange | torn
    filled = filled.masked_fill(strange[:, None], math.nan)
    written = schema.decode(filled.flatten(0, 1), recorded=False)
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
    notes = found.notes
    if torn.any():
        here = f"{source}: row {int(torn.byte().argmax()) + 1}{more(int(torn.sum()))}"
        what = listed(map(repr, schema.follow_names))
        notes = (*notes, f"{here}: no draw agrees with what it says of {what}, so its cells stay missing")
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
    absent = [name for name in model.schema.names if name not in there]
    write_table(filled, output)
    console.say(f"{cells:,} missing cells of {table.frame.height:,} rows, drawn {draws} time{'s' if draws > 1 else ''}")
    if absent:
        console.say(f"columns that the table lacks, drawn whole: {listed(absent)}")
    console.say(f"saved {output}")
    asked = {"draws": draws, "seed": seed, "output": str(output)}
    return {"rows": table.frame.height, "missing": cells, "absent": absent, **asked}
