"""What fitted images tell their report, and ``info``."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ..models.held_out import HeldOut
from ..report.images.build import write_image_report
from ..report.words import plus_minus
from ..tables.errors import listed
from .formats import png
from .labelled import GIVEN
from .sample import classes_of, full_range

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


def figures(model: ImageDensity) -> dict[str, str]:
    """The held-out bits per dimension, and the gain over independent pixels."""
    held = model.facts["summary"]["held_out"]
    names = {"Held-out bits per dimension": "bits_per_dim", "Gain over independent pixels": "gain"}
    found = {label: (held[name], held[f"{name}_standard_error"]) for label, name in names.items()}
    return {label: "not finite" if None in pair else plus_minus(*pair) for label, pair in found.items()}


def picture(model: ImageDensity) -> str:
    """A dozen images of the model."""
    drawn = model.model(model.seed).sample(12, model.context(classes_of(model, 12, {})))
    address = "data:image/png;base64," + base64.b64encode(png(full_range(drawn, model.levels), columns=12)).decode()
    return Markup('<img src="{}" alt="Images drawn from the model." style="width:100%;max-width:48rem">').format(
        address
    )
