"""New rows from a fitted table, with the columns that it is conditioned on held fixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch

from ..models.console import Console, aligned
from .errors import InputError, listed
from .formats.source import Location
from .formats.table import check_output, write_table
from .schema.columns import Given

if TYPE_CHECKING:
    from .density import TableDensity

BATCH = 8192  # rows that are drawn at once


def draw(model: TableDensity, n: int, fixed: pl.DataFrame, seed: int, temperature: float = 1.0) -> pl.DataFrame:
    """n rows for every row of ``fixed``, the given columns, which come first; n rows where it has no columns.

    Args:
        model: The fitted table.
        n: Rows.
        fixed: A value for every column that the model is conditioned on.
        seed: Of the draws.
        temperature: Of the draws.
    """
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


def given_values(model: TableDensity, given: Mapping[str, Any]) -> pl.DataFrame:
    """One row with a value for every column that the model is conditioned on.

    Raises:
        InputError: a given column is missing or unknown, or its value is not one the model knows.
    """
    known = check_given(model, list(given))
    values: dict[str, Any] = {}
    for name, value in given.items():
        values[name] = str(value) if known[name].categories else _number(name, value)
    return pl.DataFrame({name: [values[name]] for name in known})


def check_given(model: TableDensity, names: list[str]) -> dict[str, Given]:
    """The columns that the model is conditioned on, if these are all of them.

    Raises:
        InputError: one is missing, or another column is named.
    """
    known = {column.name: column for column in model.schema.given}
    unknown = [name for name in names if name not in known]
    if unknown:
        what = f"conditioned on {listed(known)}" if known else "not conditioned on any column"
        raise InputError(f"--given {unknown[0]}: the model {model.called} is {what}")
    missing = [name for name in known if name not in names]
    if missing:
        raise InputError(
            f"the model {model.called} is conditioned on {listed(known)}; give a value for {listed(missing)}, "
            f"as in --given {missing[0]}={_example(known[missing[0]])}"
        )
    return known


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"--given {name}={value}: {name!r} takes a number") from None
    if not np.isfinite(number):
        raise InputError(f"--given {name}={value}: {name!r} takes a finite number")
    return number


def _example(given: Given) -> str:
    return given.categories[0] if given.categories else f"{given.mean:.3g}"


def sample_file(
    model: TableDensity,
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
    rows = draw(model, n, given_values(model, given), seed, temperature)
    write_table(rows, output)
    console.say(f"{n:,} rows of {rows.width} columns")
    shown = [tuple(rows.columns)] + [tuple(_short(v) for v in row) for row in rows.head(3).iter_rows()]
    for line in aligned(shown):
        console.say(line)
    console.say(f"saved {output}")
    return {"rows": n, "columns": rows.columns, "given": given, "seed": seed, "output": str(output)}


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
