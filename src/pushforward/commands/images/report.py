"""``pushforward report`` of a model of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...report.images.build import write_image_report
from ..console import Console
from ..describe import report_command
from .held_out import held_out_images
from .model import GIVEN, ImageModel


def run(
    model_path: Path, data: Path | None, output: Path, console: Console, *, seed: int, title: str | None
) -> dict[str, Any]:
    """Writes the report on held-out images: those of a file, or those that were saved with the model.

    Raises:
        InputError: the model or the images cannot be used; says why.
    """
    model = ImageModel.load(model_path)
    train = None
    if data is None:
        pictures = model.kept()[0]
    else:
        pictures, _, train = held_out_images(model, data, console)
    source = data.name if data is not None else str(model.facts["data"])
    found = write_image_report(
        output,
        model.flow,
        pictures.images,
        levels=model.levels,
        names=pictures.names,
        labels=pictures.labels,
        classes=model.classes,
        context=model.context(pictures.labels),
        train=None if train is None else train.images,
        train_context=None if train is None else model.context(train.labels),
        history=model.facts["history"],
        summary=_overview(model, source),
        baseline=model.facts["summary"]["held_out"],
        percentile=model.percentile,
        command=f"{model.facts['command']}\n{report_command(model_path, data, output)}",
        title=title or f"The images of {source}",
        seed=seed,
        timings=True,
    )
    console.say(f"{len(pictures):,} held-out images")
    console.say(f"saved {output}")
    return {"images": len(pictures), "output": str(output), "report": found}


def _overview(model: ImageModel, source: str) -> dict[str, Any]:
    """Labels and values for the top of the report."""
    summary = model.facts["summary"]
    facts = {
        "Data": source,
        "Training images": summary["training_images"],
        "Flow": summary["flow"],
        "Levels": model.levels,
        "Time to fit": f"{summary['seconds']:.0f} s",
    }
    if model.classes:
        facts["Given"] = f"{GIVEN}, 1 of {len(model.classes)}"
    return facts
