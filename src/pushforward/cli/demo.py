"""``pushforward demo``: the whole workflow on a real table, into one folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

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
    """Fits a flow, scores the table, draws as many new rows, and writes the report.

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
    options = TableOptions(flow=flow, queries=False, training=training)
    length = f"--limit {LIMIT}" if budget is None else f"--budget {budget:g}"
    command = f"pushforward fit {data} -o {folder} --flow {flow} {length} --seed {seed} --no-queries"
    console.say(f"1. {command}")
    summary = fit_table(data, folder, options, console, command)
    model = TableDensity.load(folder)
    console.say(f"\n2. pushforward score {folder} {data} -o {names['scores']}")
    scored = model.run("score", data, names["scores"], console)
    console.say(f"\n3. pushforward sample {folder} -n {scored['rows']} -o {names['samples']}")
    model.run("sample", scored["rows"], names["samples"], {}, console, seed=seed)
    console.say(f"\n4. pushforward report {folder} {data} -o {names['report']}")
    write(model, model.read_file(data), names["report"], console, seed=seed)
    console.say(f"\n{summary['verdict']}")
    return {"fit": summary, "score": scored, **{kind: str(path) for kind, path in names.items()}}


LIMIT = 120  # seconds, unless the training converges before
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
