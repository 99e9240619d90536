"""One HTML file about fitted images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.console import Console
from ..report.images.build import write_image_report
from ..tables.describe import report_command
from ..tables.formats.table import check_output
from .held_out import held_out_images
from .labelled import GIVEN, LabelledImages

if TYPE_CHECKING:
    from .density import ImageDensity


def write(
    model: ImageDensity,
    images: LabelledImages | None,
    output: Path,
    console: Console,
    *,
    seed: int = 0,
    title: str | None = None,
) -> dict[str, Any]:
    """Writes the report on held-out images: of those that are given, or those that were saved with the model.

    Raises:
        InputError: the images cannot be used; says why.
    """
    check_output(output, (".html", ".htm"))
    train = None
    if images is None:
        pictures = model.kept()[0]
    else:
        pictures, _, train = held_out_images(model, images, console)
    source = str(model.facts["data"]) if images is None else images.path.name
    command = report_command(model.called, None if images is None else images.path, output)
    found = write_image_report(
        output,
        model.density,
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
        command=f"{model.facts['command']}\n{command}",
        title=title or f"The images of {source}",
        seed=seed,
        timings=True,
    )
    console.say(f"{len(pictures):,} held-out images")
    console.say(f"saved {output}")
    return {"images": len(pictures), "output": str(output), "report": found}


def _overview(model: ImageDensity, source: str) -> dict[str, Any]:
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
