"""``pushforward demo``: the whole workflow on a real table, into one folder."""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from ..errors import InputError
from ..images.formats import is_images
from ..models.console import Console
from ..models.options import TrainingOptions
from ..report.write import write
from ..tables.density import TableDensity
from ..tables.io.place import Location
from ..tables.options import TableOptions
from .fitting import fit_table


def run(
    data: Location | None, output: Path, console: Console, *, budget: float | None, seed: int, flow: str
) -> dict[str, Any]:
    """Fits a flow, scores the table, draws as many new rows, asks three questions, and writes the report.

    Raises:
        InputError: there is no table, or it cannot be used; says why.
    """
    data = data or bundled_table()
    if isinstance(data, Path) and is_images(data):
        raise InputError(f"{data}: the demo takes a table; for images: pushforward fit {data} -o MODEL")
    output.mkdir(parents=True, exist_ok=True)
    folder = output / "model"
    names = {kind: output / name for kind, name in FILES.items()}
    training = TrainingOptions(budget=budget, limit=LIMIT if budget is None else None, seed=seed)
    options = TableOptions(flow=flow, training=training)
    length = f"--limit {LIMIT}" if budget is None else f"--budget {budget:g}"
    command = f"pushforward fit {data} -o {folder} --flow {flow} {length} --seed {seed}"
    console.say(f"1. {command}")
    summary = fit_table(data, folder, options, console, command)
    model = TableDensity.load(folder)
    console.say(f"\n2. pushforward score {folder} {data} -o {names['scores']}")
    scored = model.run("score", data, names["scores"], console)
    console.say(f"\n3. pushforward sample {folder} -n {scored['rows']} -o {names['samples']}")
    model.run("sample", scored["rows"], names["samples"], {}, console, seed=seed)
    table = model.read_file(data)
    asked = []
    for step, (where, given) in enumerate(questions(table.frame.select(model.schema.names)), 4):
        words = ["pushforward", "ask", str(folder), where, *(["--given", given] if given else [])]
        console.say(f"\n{step}. {shlex.join(words)}")
        asked.append(model.run("ask", where, {}, console, within=given, seed=seed))
        asked[-1]["counted"] = counted(table.frame, where, given)
        console.say(f"of the table's rows: {asked[-1]['counted']:.4g}")
    console.say(f"\n{4 + len(asked)}. pushforward report {folder} {data} -o {names['report']}")
    write(model, table, names["report"], console, seed=seed)
    console.say(f"\n{summary['verdict']}")
    return {"fit": summary, "score": scored, "ask": asked, **{kind: str(path) for kind, path in names.items()}}


def questions(frame: pl.DataFrame) -> Iterator[tuple[str, str | None]]:
    """Questions that any table can answer, and what is given in each: is the most varied number among its highest, at
    all, among rows of the commonest name, and where the number that goes along with it most is above its median.
    """
    numbers = frame.select(cs.numeric()).cast(pl.Float64)
    if not numbers.width:
        return
    asked, *others = sorted(numbers.columns, key=lambda name: -numbers[name].n_unique())
    where = f"{_quoted(asked)} > {_rounded(numbers[asked].quantile(0.8), 2)}"
    yield where, None
    if names := frame.select(cs.string()).columns:
        common = str(frame[names[0]].drop_nulls().mode().sort()[0]).replace("'", "''")
        yield where, f"{_quoted(names[0])} = '{common}'"
    if others:
        along = max(others, key=lambda name: abs(numbers.select(pl.corr(asked, name)).item() or 0))
        low, high = (_rounded(numbers[along].quantile(share), 3) for share in (0.5, 0.9))
        yield where, f"{_quoted(along)} BETWEEN {low} AND {high}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _rounded(value: float | None, digits: int) -> str:
    return f"{float(f'{value or 0.0:.{digits}g}'):g}"


def counted(frame: pl.DataFrame, where: str, given: str | None) -> float:
    """The share of rows for which a condition holds, among those for which another does."""
    rows = frame if given is None else frame.filter(pl.sql_expr(given))
    return rows.filter(pl.sql_expr(where)).height / max(rows.height, 1)


LIMIT = 60  # seconds for the density, unless it converges before, and for its guide
FILES = {"scores": "scores.parquet", "samples": "samples.parquet", "report": "report.html"}


def bundled_table() -> Path:
    """The diamonds table (53,940 real prices and sizes) inside the plotting package plotnine, without importing it.

    Raises:
        InputError: the package is not installed.
    """
    package = importlib.util.find_spec("plotnine")
    for folder in package.submodule_search_locations or [] if package else []:
        path = Path(folder) / "data" / "diamonds.csv"
        if path.exists():
            return path
    raise InputError(
        "the demo's table ships inside plotnine, which is not installed: pip install 'pushforward[demo]', "
        "or give a table of your own: pushforward demo DATA"
    )
