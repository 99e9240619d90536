"""``pushforward info``: what a saved model is, from its own file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .console import Console, aligned
from .fit import first_transform
from .model import TableModel
from .report import overview


def run(model_path: Path, console: Console) -> dict[str, Any]:
    """Prints what was fitted, to what, how well, and with which command.

    Raises:
        InputError: there is no model there.
    """
    model = TableModel.load(model_path)
    facts = model.facts
    for line in aligned([(name, _text(value)) for name, value in overview(model, facts["data"]).items()], indent=""):
        console.say(line)
    console.say(f"command  {facts['command']}")
    console.say()
    cells = [("column", "kind", "from", "to", "first transform")]
    cells += [(c.name, c.kind, f"{c.minimum:g}", f"{c.maximum:g}", first_transform(c)) for c in model.schema.columns]
    for line in aligned(cells):
        console.say(line)
    for given in model.schema.given:
        console.say(f"  given {given.name}: {', '.join(given.categories) if given.categories else 'a number'}")
    kept = ("summary", "schema", "command", "data", "seed", "samples", "torch")
    return {"model": str(model_path), **{name: facts[name] for name in kept}}


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
