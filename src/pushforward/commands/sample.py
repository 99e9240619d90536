"""``pushforward sample``: synthetic rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..tables.errors import InputError
from ..tables.formats.table import check_output, write_table
from .console import Console, aligned
from .model import TableModel, kind_of


def run(
    model_path: Path,
    n: int,
    output: Path,
    given: dict[str, str],
    console: Console,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    device: str = "cpu",
) -> dict[str, Any]:
    """Draws n rows and writes them; returns a summary.

    Raises:
        InputError: an argument or the model cannot be used; says why.
    """
    if n < 1:
        raise InputError(f"-n {n}: expected at least 1 row")
    if not 0 < temperature < float("inf"):
        raise InputError(f"--temperature {temperature}: expected a positive number; 1 samples the density itself")
    if kind_of(model_path) == "image":
        from .images import sample

        return sample.run(model_path, n, output, given, console, seed=seed, temperature=temperature, device=device)
    model = TableModel.load(model_path, device)
    check_output(output)
    rows = model.sample(n, given, seed, temperature)
    for column in model.schema.numeric.columns:
        below = int((rows[column.name] < 0).sum()) if column.minimum >= 0 else 0
        if below:
            console.note(
                f"{below:,} of {n:,} rows have a negative {column.name!r}, which no training row has; "
                f"a model fitted with --bounds {column.name}={'0' if column.has_cells else 'LOW'}, gives none"
            )
    write_table(rows, output)
    console.say(f"{n:,} rows of {rows.width} columns")
    shown = [tuple(rows.columns)] + [tuple(_short(v) for v in row) for row in rows.head(3).iter_rows()]
    for line in aligned(shown):
        console.say(line)
    console.say(f"saved {output}")
    return {"rows": n, "columns": rows.columns, "given": given, "seed": seed, "output": str(output)}


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
