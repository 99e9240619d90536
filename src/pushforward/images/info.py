"""What fitted images are, in lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..models.console import Console, aligned
from ..tables.errors import listed
from .fit import describe_held_out
from .labelled import GIVEN

if TYPE_CHECKING:
    from .density import ImageDensity


def describe_model(model: ImageDensity, console: Console) -> dict[str, Any]:
    """Says what was fitted, to what, how well, and with which command."""
    facts, (channels, height, width) = model.facts, model.shape
    summary = facts["summary"]
    rows = [
        ("data", f"{facts['data']}, {summary['training_images']:,} training images"),
        ("images", f"{height} x {width}, {'grey' if channels == 1 else 'RGB'}, {model.levels} levels"),
        ("flow", f"{summary['flow']}, {summary['parameters']:,} parameters, fitted in {summary['seconds']:.0f} s"),
        ("command", facts["command"]),
    ]
    if model.classes:
        rows.insert(2, (f"given {GIVEN}", listed(model.classes)))
    for line in [*aligned(rows, indent=""), "", *describe_held_out(summary["held_out"])]:
        console.say(line)
    kept = ("summary", "shape", "levels", "classes", "command", "data", "seed", "torch")
    return {"model": model.called, **{name: facts[name] for name in kept}}
