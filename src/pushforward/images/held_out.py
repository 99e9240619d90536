"""Checks which images fit a model, and on which it has not been trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, listed
from ..models.console import Console
from ..models.held_out import HeldOut
from .labelled import LabelledImages

if TYPE_CHECKING:
    from .fitted import FittedImages

MIN_IMAGES = 50
SHARE = 0.1  # share of the images for the reported figures, and as many for early stopping
MOST_TEST, MOST_VALIDATION = 5_000, 1_000  # their errors are small then, and images are slow


@dataclass(frozen=True)
class ImageSplits:
    """Training, validation and test images, and the positions of the last in their file."""

    train: LabelledImages
    val: LabelledImages
    test: LabelledImages
    numbers: np.ndarray


def divide(pictures: LabelledImages, seed: int) -> ImageSplits:
    """The file's own division, or a seeded one.

    Raises:
        InputError: there are too few images.
    """
    if len(pictures) < MIN_IMAGES:
        raise InputError(f"{pictures.path}: has {len(pictures)} images to learn from, and {MIN_IMAGES} are needed")
    order = np.random.default_rng(seed).permutation(len(pictures))
    tests = 0 if "test" in pictures.splits else _share(len(pictures), MOST_TEST)
    vals = 0 if "val" in pictures.splits else _share(len(pictures), MOST_VALIDATION)
    numbers = np.sort(order[:tests])
    test = pictures.splits["test"] if "test" in pictures.splits else pictures[numbers]
    val = pictures.splits["val"] if "val" in pictures.splits else pictures[np.sort(order[tests : tests + vals])]
    train = pictures[np.sort(order[tests + vals :])]
    return ImageSplits(train, val, test, numbers if tests else np.arange(len(test)))


def _share(images: int, most: int) -> int:
    return min(max(round(SHARE * images), 1), most)


def held_out_images(model: FittedImages, images: LabelledImages, console: Console) -> HeldOut:
    """The images on which a model was not trained.

    Images that the model was fitted to are recognised by a digest. Of any other images all are used, or those of
    ``test`` if they come divided; there are no training images then.

    Raises:
        InputError: the images do not fit the model.
    """
    images = fitting(model, images, console)
    if images.fingerprint() == model.facts["fingerprint"]:
        splits = divide(images, model.seed)
        held = f"its {len(splits.test):,} held-out images are used"
        console.note(f"{images.path}: {model.called} was fitted to this file; {held}")
        return HeldOut(splits.test, splits.numbers, splits.train)
    rest = images.held_out()
    return HeldOut(rest, np.arange(len(rest)))


def fitting(model: FittedImages, pictures: LabelledImages, console: Console) -> LabelledImages:
    """The images, if they fit a model; grey ones become coloured if it was fitted to coloured ones.

    Raises:
        InputError: they do not fit.
    """
    channels, height, width = pictures.shape
    if channels == 1 and model.shape[0] == 3:
        console.note(f"{pictures.path}: the images are grey and become coloured, as those of {model.called}")
        pictures = _coloured(pictures)
    elif channels == 3 and model.shape[0] == 1:
        raise InputError(
            f"{pictures.path}: the images are coloured, but those of {model.called} are grey: convert them"
        )
    if (height, width) != model.shape[1:]:
        raise InputError(
            f"{pictures.path}: the images are {height} x {width}, but those of {model.called} are {model.shape[1]} x "
            f"{model.shape[2]}: bring them to that size, or fit with --resize, which then holds for scoring too"
        )
    pictures.check_levels(model.levels, f"the model {model.called}")
    if model.classes:
        if pictures.labels is None:
            raise InputError(
                f"{pictures.path}: the model {model.called} is conditioned on classes, but these have none: it needs "
                "a folder for each class, an array 'labels' in the .npz, or the labels file beside an idx file"
            )
        unknown = sorted(set(pictures.classes) - set(model.classes))
        if unknown:
            raise InputError(
                f"{pictures.path}: the class {unknown[0]!r} was not among the training images; the model knows "
                f"{listed(model.classes)}"
            )
    return pictures


def _coloured(pictures: LabelledImages) -> LabelledImages:
    splits = {name: _coloured(part) for name, part in pictures.splits.items()}
    return replace(pictures, images=pictures.images.expand(-1, 3, -1, -1), splits=splits)
