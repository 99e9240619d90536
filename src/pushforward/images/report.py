"""What fitted images tell their report, and ``info``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.held_out import HeldOut
from ..report.images.build import write_image_report
from ..tables.errors import listed
from .labelled import GIVEN

if TYPE_CHECKING:
    from .density import ImageDensity


def write_page(model: ImageDensity, output: Path, held: HeldOut, **page: Any) -> dict[str, Any]:
    """Writes the report on held-out images; returns its numbers."""
    images, train = held.rows, held.train
    return write_image_report(
        output,
        model.density,
        images.images,
        levels=model.levels,
        names=images.names,
        labels=images.labels,
        classes=model.classes,
        context=model.context(images.labels),
        train=None if train is None else train.images,
        train_context=None if train is None else model.context(train.labels),
        history=model.facts["history"],
        baseline=model.facts["summary"]["held_out"],
        percentile=model.percentile,
        timings=True,
        **page,
    )


def told(model: ImageDensity) -> dict[str, Any]:
    """Labels and values for the top of the report."""
    given = {"Given": f"{GIVEN}, 1 of {len(model.classes)}"} if model.classes else {}
    return {"Levels": model.levels, **given}


def described(model: ImageDensity) -> list[tuple[str, str]]:
    """Labels and values for ``info``."""
    channels, height, width = model.shape
    images = f"{height} x {width}, {'grey' if channels == 1 else 'RGB'}, {model.levels} levels"
    return [("images", images), *([(f"given {GIVEN}", listed(model.classes))] if model.classes else [])]
