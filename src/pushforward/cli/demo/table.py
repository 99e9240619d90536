"""The demo of a table: fit, score, blame an odd row, draw, ask, report; into one folder."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from ...errors import InputError
from ...images.formats import is_images
from ...tables.io.database import quoted_word
from ...tables.io.place import Location
from ..options import PrintOptions, opened
from .steps import Steps

LIMIT = 50  # seconds for the density, unless it converges before, and for its guide
ODD = 0.05  # the percentile up to which rows are explained
DRAWS = 10_000


def run(
    data: Location | None, output: Path, printing: PrintOptions, *, budget: float | None, seed: int, flow: str | None
) -> None:
    """Fits a flow, scores the table, says why its oddest row is odd, draws new rows, asks three questions, and writes
    the report."""
    data = data or bundled_table()
    if isinstance(data, Path) and is_images(data):
        raise InputError(f"{data}: the demo takes a table; for images: pushforward fit {data} -o MODEL")
    folder, steps = output / "model", Steps(output, printing, data)
    scores, samples, report = (output / name for name in ("scores.parquet", "samples.parquet", "report.html"))
    length = ("--limit", LIMIT) if budget is None else ("--budget", f"{budget:g}")
    summary = steps.run("fit", data, "-o", folder, "--flow", flow or "nsf", *length, "--seed", seed)
    model = opened(folder)
    frame = model.read_file(data).frame

    scored = steps.run("score", folder, data, "-o", scores, "--explain-below", ODD)
    odd = oddest(frame, pl.read_parquet(scores))
    steps.say(told(odd))
    steps.run("sample", folder, "-n", DRAWS, "-o", samples, "--seed", seed)
    asked = []
    for where, given in questions(frame.select(model.schema.names)):
        answer = steps.run("ask", folder, where, *(["--given", given] if given else []), "--seed", seed)
        asked.append({**answer, "counted": counted(frame, where, given)})
        steps.say(f"of the table's rows: {asked[-1]['counted']:.4g}")
    steps.run("report", folder, data, "-o", report, "--seed", seed)
    steps.say(f"\n{summary['verdict']}")
    files = {"scores": str(scores), "samples": str(samples), "report": str(report)}
    steps.end(
        {"fit": summary, "score": scored, "odd": odd, "ask": asked, **files},
        f"open {report} in a browser: how good the density is, and pictures of it",
        f"ask a question of your own as above, or fill holes: pushforward impute {folder} ROWS -o FILLED",
        "fit a table of your own: pushforward demo MY.csv, or step by step: pushforward fit MY.csv -o MODEL",
        f"answer others' questions: pushforward serve {folder}",
    )


def oddest(frame: pl.DataFrame, scores: pl.DataFrame) -> dict[str, Any]:
    """The least likely row, counted from 1: its cells, which one makes it so, and what would fit there."""
    row = scores["log_density"].arg_min() or 0
    found = scores.row(row, named=True)
    return {
        "row": row + 1,
        "cells": frame.row(row, named=True),
        "column": found.get("unlikely_because"),
        "would_fit": found.get("would_fit"),
        "also": found.get("also_unlikely"),
        "log_density": found["log_density"],
    }


def told(odd: dict[str, Any]) -> str:
    """The least likely row in two sentences."""
    cells = ", ".join(f"{name} {value}" for name, value in odd["cells"].items())
    row = f"the oddest row is number {odd['row']:,}: {cells}."
    if odd["column"] is None:
        return f"{row} No single cell makes it so."
    column = odd["column"]
    also = f" So would {odd['also']}." if odd["also"] else ""
    return f"{row} To blame is its {column}: {odd['cells'][column]}, where {odd['would_fit']} would fit the rest.{also}"


def questions(frame: pl.DataFrame) -> Iterator[tuple[str, str | None]]:
    """Questions that any table can answer, and what is given in each: is the most varied number among its highest, at
    all, among rows of the commonest name, and where the number that goes along with it most is above its median.
    """
    numbers = frame.select(cs.numeric()).cast(pl.Float64)
    if not numbers.width:
        return
    asked, *others = sorted(numbers.columns, key=lambda name: -numbers[name].n_unique())
    where = f"{_named(asked)} > {_rounded(numbers[asked].quantile(0.8), 2)}"
    yield where, None
    if names := frame.select(cs.string()).columns:
        common = str(frame[names[0]].drop_nulls().mode().sort()[0]).replace("'", "''")
        yield where, f"{_named(names[0])} = '{common}'"
    if others:
        along = max(others, key=lambda name: abs(numbers.select(pl.corr(asked, name)).item() or 0))
        low, high = (_rounded(numbers[along].quantile(share), 3) for share in (0.5, 0.9))
        yield where, f"{_named(along)} BETWEEN {low} AND {high}"


def _named(name: str) -> str:
    """A column in SQL, in quotes if it needs them."""
    with contextlib.suppress(pl.exceptions.PolarsError):
        if pl.sql_expr(f"{name} > 0").meta.eq(pl.col(name) > 0):
            return name
    return quoted_word(name)


def _rounded(value: float | None, digits: int) -> str:
    return f"{float(f'{value or 0.0:.{digits}g}'):g}"


def counted(frame: pl.DataFrame, where: str, given: str | None) -> float:
    """The share of rows for which a condition holds, among those for which another does."""
    rows = frame if given is None else frame.filter(pl.sql_expr(given))
    return rows.filter(pl.sql_expr(where)).height / max(rows.height, 1)


def bundled_table() -> Path:
    """The diamonds table (53,940 real prices and sizes) inside the plotting package plotnine, without importing it."""
    package = importlib.util.find_spec("plotnine")
    for folder in package.submodule_search_locations or [] if package else []:
        path = Path(folder) / "data" / "diamonds.csv"
        if path.exists():
            return path
    raise InputError(
        "the demo's table ships inside plotnine, which is not installed: pip install 'pushforward[demo]', "
        "or give a table of your own: pushforward demo DATA"
    )
