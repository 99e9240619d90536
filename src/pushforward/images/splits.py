"""Divides images into those to train on, to tell when to stop, and to report on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .labelled import LabelledImages

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
