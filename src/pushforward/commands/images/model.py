"""A saved model of images: the density, what is done to images before it, and what scoring needs beside it."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...diagnostics import bits_per_dim
from ...distributions.base import Density
from ...images.labelled import Pictures, read_pictures
from ...report.images.density import ImageDensity
from ...tables.errors import InputError, listed
from ..console import Console
from ..model import PERCENTS, load_saved

GIVEN = "class"  # the one thing that images can be conditioned on


@dataclass(frozen=True)
class ImageModel:
    """A density of images of whole numbers.

    Args:
        path: Where it is saved.
        flow: The density; log-probabilities are of whole images, exact or, for a flow, a lower bound.
        facts: Everything else that was saved: ``shape``, ``levels``, ``classes``, ``quantiles``, ``summary``, …
    """

    path: Path
    flow: Density
    facts: dict[str, Any]

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> ImageModel:
        """Reads a model that ``pushforward fit`` wrote.

        Raises:
            InputError: there is none at ``path``, or it is damaged or of a table.
        """
        path = Path(path)
        return load_saved(path, "image", device, lambda flow, facts: cls(path, flow, facts))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.flow.event_shape
        return channels, height, width

    @property
    def levels(self) -> int:
        """Numbers run from 0 to levels - 1."""
        return int(self.facts["levels"])

    @property
    def classes(self) -> list[str]:
        """What it is conditioned on; empty where it is not."""
        return list(self.facts["classes"])

    def read(self, data: Path, console: Console) -> Pictures:
        """Images for this model, treated as those that it was fitted to.

        Raises:
            InputError: they cannot be read, or are not of the model's size, levels or classes.
        """
        resize = self.facts["resize"]
        pictures = read_pictures(data, resize=None if resize is None else tuple(resize))
        return self.fitting(pictures.with_bits(self.facts["bits"]), console)

    def fitting(self, pictures: Pictures, console: Console) -> Pictures:
        """The images, if they fit this model; grey ones become coloured where it knows coloured ones.

        Raises:
            InputError: they do not fit.
        """
        channels, height, width = pictures.shape
        if channels == 1 and self.shape[0] == 3:
            console.note(f"{pictures.path}: the images are grey and become coloured, as those of {self.path}")
            pictures = _coloured(pictures)
        elif channels == 3 and self.shape[0] == 1:
            raise InputError(f"{pictures.path}: the images are coloured, but those of {self.path} grey: convert them")
        if (height, width) != self.shape[1:]:
            raise InputError(
                f"{pictures.path}: the images are {height} x {width}, but those of {self.path} {self.shape[1]} x "
                f"{self.shape[2]}: bring them to that size, or fit with --resize, which then holds for scoring too"
            )
        pictures.check_levels(self.levels, f"the model {self.path}")
        if self.classes:
            if pictures.labels is None:
                raise InputError(
                    f"{pictures.path}: the model {self.path} is conditioned on classes, and there are none: it needs "
                    "a folder for each class, an array 'labels' in the .npz, or the labels file beside an idx file"
                )
            unknown = sorted(set(pictures.classes) - set(self.classes))
            if unknown:
                raise InputError(
                    f"{pictures.path}: the class {unknown[0]!r} was not among the training images; the model knows "
                    f"{listed(self.classes)}"
                )
        return pictures

    def context(self, labels: Sequence[str] | None) -> Tensor | None:
        """Classes as one-hot rows (n, classes); None where the model has no classes."""
        return one_hot(labels, self.classes)

    def density(self, seed: int = 0) -> ImageDensity:
        """The density with the seed of what it draws."""
        return ImageDensity(self.flow, self.levels, seed)

    def bits(self, log_prob: np.ndarray) -> np.ndarray:
        """Bits per dimension of log-probabilities."""
        return bits_per_dim(torch.from_numpy(log_prob), self.shape, levels=1).numpy()

    def log_prob(self, pictures: Pictures, *, samples: int = 1, seed: int = 0) -> np.ndarray:
        """log P of every image in nats; for a flow the lower bound that ``samples`` draws of the noise give."""
        return self.density(seed).log_prob(pictures.images, self.context(pictures.labels), samples).numpy()

    def percentile(self, log_prob: np.ndarray) -> np.ndarray:
        """Per cent of the training images that are less likely."""
        return np.interp(log_prob, np.asarray(self.facts["quantiles"], dtype=float), PERCENTS)

    def kept(self) -> tuple[Pictures, np.ndarray]:
        """The held-out images that were saved with the model, and their numbers among the images of the file."""
        saved = self.facts["held_out"]
        raw = np.frombuffer(zlib.decompress(base64.b64decode(saved["images"])), np.uint8)
        images = torch.from_numpy(raw.reshape(-1, *self.shape).copy())
        pictures = Pictures(Path(self.facts["data"]), images, saved["names"], saved["labels"])
        return pictures, np.asarray(saved["numbers"])


def packed(pictures: Pictures, numbers: np.ndarray) -> dict[str, Any]:
    """Images as JSON can hold them: what :meth:`ImageModel.kept` reads."""
    raw = base64.b64encode(zlib.compress(pictures.images.numpy().tobytes(), 9)).decode()
    labels = None if pictures.labels is None else list(pictures.labels)
    return {"images": raw, "names": list(pictures.names), "labels": labels, "numbers": numbers.tolist()}


def one_hot(labels: Sequence[str] | None, classes: Sequence[str]) -> Tensor | None:
    """Classes as rows (n, classes) of zeros and a one; None where there are no classes."""
    if not classes or labels is None:
        return None
    place = {name: k for k, name in enumerate(classes)}
    return F.one_hot(torch.tensor([place[label] for label in labels]), len(classes)).float()


def _coloured(pictures: Pictures) -> Pictures:
    splits = {name: _coloured(part) for name, part in pictures.splits.items()}
    return replace(pictures, images=pictures.images.expand(-1, 3, -1, -1), splits=splits)
