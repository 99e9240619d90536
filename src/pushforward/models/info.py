"""Human-readable descriptions of fitted tables and images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .console import Console, aligned

if TYPE_CHECKING:
    from .base import FittedDensity

KEPT = ("summary", "schema", "shape", "levels", "classes", "command", "data", "seed", "samples", "torch")


def describe(model: FittedDensity, console: Console) -> dict[str, Any]:
    """Prints what was fitted, to what, how well, and with which command."""
    facts, summary = model.facts, model.facts["summary"]
    training = f"{summary[f'training_{model.subject.noun}']:,} training {model.subject.noun}"
    cells = [
        ("data", f"{facts['data']}, {training}"),
        *model.subject.described(),
        ("flow", f"{summary['flow']}, {summary['parameters']:,} parameters, fitted in {summary['seconds']:.0f} s"),
        ("command", facts["command"]),
        *([("training", summary["verdict"])] if "verdict" in summary else []),
    ]
    for line in [*aligned(cells, indent=""), "", *model.subject.detailed()]:
        console.say(line)
    return {"model": model.called, **{name: facts[name] for name in KEPT if name in facts}}
