"""What a fitted table is, in lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..models.console import Console, aligned
from .describe import describe_columns, describe_held_out, describe_target

if TYPE_CHECKING:
    from .density import TableDensity


def describe_model(model: TableDensity, console: Console) -> dict[str, Any]:
    """Says what was fitted, to what, how well, and with which command."""
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
    return {"model": model.called, **{name: facts[name] for name in kept}}
