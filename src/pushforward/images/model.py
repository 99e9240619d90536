"""Fitted images as comparisons, reports, ``info`` and notebooks see them; the verbs are in ``density.py``."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from ..errors import InputError, listed, refuse
from ..models.base import FittedDensity, HeldOut
from ..models.compare import with_error
from ..models.console import Console, aligned
from ..report.evidence import Evidence, Page
from ..report.words import plus_minus
from ..tables.io.place import Location
from .formats import png
from .labelled import GIVEN, LabelledImages, divide, full_range, one_hot, read_any, unpacked
from .pixels import PixelDensity


class ImageModel(FittedDensity):
    """A density of images with the facts of its fit."""

    kind: ClassVar[str] = "image"
    noun: ClassVar[str] = "images"
    measure: ClassVar[str] = "bits_per_dim"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.density.event_shape
        return channels, height, width

    @property
    def levels(self) -> int:
        """Numbers run from 0 to levels - 1."""
        return int(self.facts["levels"])

    @property
    def classes(self) -> list[str]:
        """The classes that the model is conditioned on; empty if it is unconditional."""
        return list(self.facts["classes"])

    def raw(self, images: Any, labels: Any = None) -> LabelledImages:
        """Images brought to the size and the bits of those of the fit."""
        resize = self.facts["resize"]
        return read_any(images, labels, None if resize is None else tuple(resize)).with_bits(self.facts["bits"])

    def read(self, images: Any, labels: Any = None, console: Console | None = None) -> LabelledImages:
        """Images for this model, preprocessed like those that it was fitted to."""
        return self.fitting(self.raw(images, labels), console or Console(quiet=True))

    def fitting(self, pictures: LabelledImages, console: Console) -> LabelledImages:
        """The images, if they fit the model; grey ones become coloured if it was fitted to coloured ones."""
        (channels, *size), (ours, *wanted) = pictures.shape, self.shape
        if channels == 1 and ours == 3:
            console.note(f"{pictures.path}: the images are grey and become coloured, as those of {self.called}")
            pictures = pictures.changed(lambda images: images.expand(-1, 3, -1, -1))
        elif channels == 3 and ours == 1:
            raise InputError(
                f"{pictures.path}: the images are coloured, but those of {self.called} are grey: convert them"
            )
        if size != wanted:
            raise InputError(
                f"{pictures.path}: the images are {size[0]} x {size[1]}, but those of {self.called} are {wanted[0]} x "
                f"{wanted[1]}: bring them to that size, or fit with `resize=`, which then holds for scoring too"
            )
        pictures.check_levels(self.levels, f"the model {self.called}")
        if self.classes:
            self._check_classes(pictures)
        return pictures

    def _check_classes(self, pictures: LabelledImages) -> None:
        if pictures.labels is None:
            raise InputError(
                f"{pictures.path}: the model {self.called} is conditioned on classes, but these have none: it needs "
                "a folder for each class, an array 'labels' in the .npz, or the labels file beside an idx file"
            )
        unknown = sorted(set(pictures.classes) - set(self.classes))
        if unknown:
            raise InputError(
                f"{pictures.path}: the class {unknown[0]!r} was not among the training images; the model knows "
                f"{listed(self.classes)}"
            )

    def classes_of(self, n: int, given: dict[str, str]) -> list[str] | None:
        """The class of each of n new images: the requested one, or all in turn."""
        odd = [name for name in given if name != GIVEN or not self.classes]
        if odd:
            what = f"conditioned on {GIVEN}" if self.classes else "not conditioned on anything"
            raise InputError(f"the model {self.called} is {what}", "given", odd[0])
        if not self.classes:
            return None
        if GIVEN not in given:
            return [self.classes[k % len(self.classes)] for k in range(n)]
        if given[GIVEN] not in self.classes:
            known = f"the model {self.called} knows the classes {listed(self.classes)}"
            raise InputError(known, "given", {GIVEN: given[GIVEN]})
        return [given[GIVEN]] * n

    def draw(
        self, n: int, given: dict[str, str], seed: int, temperature: float = 1.0, guidance: float = 0.0
    ) -> tuple[Tensor, list[str] | None]:
        """New images (n, C, H, W), and the class of each if the model has any."""
        flow, labels = self.facts["summary"]["flow"], self.classes_of(n, given)
        if guidance and (flow != "tarflow" or not self.classes):
            raise InputError(
                f"needs a tarflow that is conditioned on {GIVEN}, but {self.called} is a "
                f"{flow}{'' if self.classes else ' without classes'}",
                "guidance",
                guidance,
            )
        return self.pixels(seed).sample(n, one_hot(labels, self.classes), temperature, guidance), labels

    def pixels(self, seed: int = 0) -> PixelDensity:
        """The density, with a seed for its draws."""
        return PixelDensity(self.density, self.levels, seed)

    def log_prob(self, images: LabelledImages, *, samples: int = 1, seed: int = 0) -> np.ndarray:
        """log P of every image in nats; for a flow the lower bound from ``samples`` draws of the noise."""
        rows = images.rows(self.classes)
        return self.pixels(seed).log_prob(rows.x, rows.context, samples).numpy()

    def bits(self, log_prob: np.ndarray) -> np.ndarray:
        """Bits per dimension of log-probabilities."""
        return self.pixels().bits(torch.from_numpy(log_prob)).numpy()

    def read_file(self, data: Location) -> LabelledImages:
        return self.raw(data)

    def held_out(self, data: LabelledImages, console: Console, drop_missing: bool = False) -> HeldOut:
        """The images on which the model was not trained.

        Images that it was fitted to are recognised by a digest. Of any other images all are used, or those of ``test``
        if they come divided; there are no training images then."""
        refuse("applies to tables, but these are images", {"drop_missing": drop_missing})
        images = self.fitting(data, console)
        if images.fingerprint() == self.facts["fingerprint"]:
            splits = divide(images, self.seed)
            held = f"its {len(splits.test):,} held-out images are used"
            console.note(f"{images.path}: {self.called} was fitted to this file; {held}")
            return HeldOut(splits.test, splits.numbers, splits.train)
        rest = images.held_out()
        return HeldOut(rest, np.arange(len(rest)))

    def saved_held_out(self) -> HeldOut:
        return HeldOut(*unpacked(self.facts["held_out"], self.shape, Path(self.facts["data"])))

    def judged(self, rows: LabelledImages, samples: int | None, seed: int) -> np.ndarray:
        return self.bits(self.log_prob(rows, samples=samples or 1, seed=seed))

    def caveat(self, samples: int | None) -> dict[str, Any]:
        return {"exact": self.pixels().exact}

    def evidence(self, held: HeldOut, page: Page) -> Evidence:
        from ..report.images.evidence import ImageEvidence  # imports matplotlib, which is slow

        images, train = held.rows, held.train
        return ImageEvidence(
            page=page,
            model=self.pixels(page.seed),
            held=images.rows(self.classes),
            names=images.names,
            train=None if train is None else train.rows(self.classes),
            labels=images.labels,
            classes=self.classes,
            at_fit=self.facts["summary"]["held_out"],
            percentile=self.percentile,
            others=self.others,
        )

    def about(self) -> dict[str, Any]:
        channels, height, width = self.shape
        given = {"Given": f"{GIVEN}, one of {listed(self.classes)}"} if self.classes else {}
        return {"Images": f"{height} x {width}, {'grey' if channels == 1 else 'RGB'}, {self.levels} levels", **given}

    def figures(self) -> dict[str, str]:
        held = self.facts["summary"]["held_out"]
        names = {"Held-out bits per dimension": "bits_per_dim", "Gain over independent pixels": "gain"}
        found = {label: (held[name], held[f"{name}_standard_error"]) for label, name in names.items()}
        return {label: "not finite" if None in pair else plus_minus(*pair) for label, pair in found.items()}

    def detailed(self) -> list[str]:
        return describe_held_out(self.facts["summary"]["held_out"])

    def picture(self) -> str:
        content = base64.b64encode(png(full_range(self.draw(12, {}, self.seed)[0], self.levels), columns=12)).decode()
        image = '<img src="data:image/png;base64,{}" alt="Images drawn from the model." style="max-width:100%">'
        return Markup(image).format(content)

    def refuse_unlike(self, other: ImageModel) -> None:
        super().refuse_unlike(other)
        for what in ("shape", "levels", "resize", "bits"):
            if (ours := self.facts[what]) != (theirs := other.facts[what]):
                raise InputError(
                    f"{self.called} and {other.called} are not of the same images ({what} {ours} and {theirs}), "
                    "so their bits cannot be compared"
                )


def describe_held_out(held: Mapping[str, Any]) -> list[str]:
    """The quality of a fit, in words."""
    names = {
        f"{held['images']:,} held-out images, bits per dimension": "bits_per_dim",
        "  of independent pixels": "independent_bits_per_dim",
        "  the flow's gain, image by image": "gain",
    }
    said = {label: with_error(held, name, f"{name}_standard_error", "images") for label, name in names.items()}
    return aligned([*said.items()], indent="")
