"""``pushforward info`` of a model of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...tables.errors import listed
from ..console import Console, aligned
from .fit import describe_held_out
from .model import GIVEN, ImageModel


def run(model_path: Path, console: Console) -> dict[str, Any]:
    """Prints what was fitted, to what, how well, and with which command."""
    model = ImageModel.load(model_path)
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
    return {"model": str(model_path), **{name: facts[name] for name in kept}}
