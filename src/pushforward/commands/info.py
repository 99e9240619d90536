"""``pushforward info``: what a saved model is, from its own file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .console import Console, aligned
from .describe import describe_columns, describe_held_out, describe_target
from .model import TableModel, kind_of


def run(model_path: Path, console: Console) -> dict[str, Any]:
    """Prints what was fitted, to what, how well, and with which command.

    Raises:
        InputError: there is no model there.
    """
    if kind_of(model_path) == "image":
        from .images import info

        return info.run(model_path, console)
    model = TableModel.load(model_path)
    facts = model.facts
    summary = facts["summary"]
    for line in aligned(
        [
            ("data", f"{facts['data']}, {summary['training_rows']:,} training rows"),
            ("flow", f"{summary['flow']}, {summary['parameters']:,} parameters, fitted in {summary['seconds']:.0f} s"),
            ("command", facts["command"]),
        ],
        indent="",
    ):
        console.say(line)
    console.say()
    if "target" in summary:
        for line in [*aligned(describe_target(summary["target"]), indent=""), ""]:
            console.say(line)
    for line in [*describe_columns(model.schema), "", *describe_held_out(summary["held_out"])]:
        console.say(line)
    kept = ("summary", "schema", "command", "data", "seed", "samples", "torch")
    return {"model": str(model_path), **{name: facts[name] for name in kept}}
