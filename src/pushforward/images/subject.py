"""What fitted images provide to comparisons, reports, ``info`` and notebooks."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from markupsafe import Markup

from ..errors import InputError, listed
from ..models.console import Console
from ..models.held_out import HeldOut
from ..models.subject import Subject
from ..report.words import plus_minus
from ..tables.io.source import Location
from .fit import describe_held_out
from .formats import png
from .held_out import held_out_images
from .labelled import GIVEN, LabelledImages, unpacked
from .sample import classes_of, full_range

if TYPE_CHECKING:
    from .fitted import FittedImages


class ImageSubject(Subject):
    """Fitted images as the subject of comparisons and reports.

    Args:
        model: The fitted images.
    """

    noun: ClassVar[str] = "images"
    measure: ClassVar[str] = "bits_per_dim"

    def __init__(self, model: FittedImages) -> None:
        self.model = model

    def read_file(self, data: Location) -> LabelledImages:
        return self.model.raw(data)

    def refuse_unlike(self, other: FittedImages) -> None:
        for what in ("shape", "levels", "resize", "bits"):
            ours, theirs = self.model.facts[what], other.facts[what]
            if ours != theirs:
                raise InputError(
                    f"{self.model.called} and {other.called} are not of the same images ({what} {ours} and {theirs}), "
                    "so their bits cannot be compared"
                )

    def held_out(self, data: LabelledImages, console: Console, drop_missing: bool = False) -> HeldOut:
        return held_out_images(self.model, data, console)

    def kept(self) -> HeldOut:
        return HeldOut(*unpacked(self.model.facts["held_out"], self.model.shape, Path(self.model.facts["data"])))

    def judged(self, rows: LabelledImages, samples: int | None, seed: int) -> np.ndarray:
        return self.model.bits(self.model.log_prob(rows, samples=samples or 1, seed=seed))

    def caveat(self, samples: int | None) -> dict[str, Any]:
        return {"exact": self.model.model().exact}

    def write_page(self, output: Path, held: HeldOut, against: dict[str, np.ndarray], **page: Any) -> dict[str, Any]:
        """Writes the report on held-out images; returns its numbers."""
        from ..report.images.build import write_image_report  # imports matplotlib, which is slow

        images, train = held.rows, held.train
        return write_image_report(
            output,
            self.model.density,
            images.images,
            levels=self.model.levels,
            names=images.names,
            labels=images.labels,
            classes=self.model.classes,
            context=self.model.context(images.labels),
            train=None if train is None else train.images,
            train_context=None if train is None else self.model.context(train.labels),
            history=self.model.facts["history"],
            baseline=self.model.facts["summary"]["held_out"],
            percentile=self.model.percentile,
            timings=True,
            **page,
        )

    def told(self) -> dict[str, Any]:
        """Labels and values for the top of the report."""
        given = {"Given": f"{GIVEN}, 1 of {len(self.model.classes)}"} if self.model.classes else {}
        return {"Levels": self.model.levels, **given}

    def described(self) -> list[tuple[str, str]]:
        """Labels and values for ``info``."""
        channels, height, width = self.model.shape
        images = f"{height} x {width}, {'grey' if channels == 1 else 'RGB'}, {self.model.levels} levels"
        return [("images", images), *([(f"given {GIVEN}", listed(self.model.classes))] if self.model.classes else [])]

    def figures(self) -> dict[str, str]:
        """The held-out bits per dimension, and the gain over independent pixels."""
        held = self.model.facts["summary"]["held_out"]
        names = {"Held-out bits per dimension": "bits_per_dim", "Gain over independent pixels": "gain"}
        found = {label: (held[name], held[f"{name}_standard_error"]) for label, name in names.items()}
        return {label: "not finite" if None in pair else plus_minus(*pair) for label, pair in found.items()}

    def picture(self) -> str:
        """A dozen images of the model."""
        drawn = self.model.model(self.model.seed).sample(12, self.model.context(classes_of(self.model, 12, {})))
        address = (
            "data:image/png;base64," + base64.b64encode(png(full_range(drawn, self.model.levels), columns=12)).decode()
        )
        return Markup('<img src="{}" alt="Images drawn from the model." style="max-width:100%">').format(address)

    def detailed(self) -> list[str]:
        return describe_held_out(self.model.facts["summary"]["held_out"])
