"""Which images a model has not been trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...images.labelled import Pictures
from ...tables.errors import InputError
from ..console import Console
from .model import ImageModel

MIN_IMAGES = 50
SHARE = 0.1  # of the images for the reported figures, and as many to stop by
MOST_TEST, MOST_VALIDATION = 5_000, 1_000  # their errors are small then, and images take their time


@dataclass(frozen=True)
class Division:
    """Images to train on, to stop by and to report on, and where the last stand in their file."""

    train: Pictures
    val: Pictures
    test: Pictures
    numbers: np.ndarray


def divide(pictures: Pictures, seed: int) -> Division:
    """The file's own division, or one by the seed.

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
    return Division(train, val, test, numbers if tests else np.arange(len(test)))


def _share(images: int, most: int) -> int:
    return min(max(round(SHARE * images), 1), most)


def held_out_images(model: ImageModel, data: Path, console: Console) -> tuple[Pictures, np.ndarray, Pictures | None]:
    """The images of a file that a model was not trained on, their numbers there, and those that it was trained on.

    A file that the model was fitted to is recognised by a digest. Of any other file all images are used, or those of
    ``test`` where it divides itself; there are no training images then.

    Raises:
        InputError: the file cannot be read, or its images do not fit the model.
    """
    pictures = model.read(data, console)
    if pictures.fingerprint() == model.facts["fingerprint"]:
        divided = divide(pictures, int(model.facts["seed"]))
        console.note(
            f"{data}: {model.path} was fitted to this file; its {len(divided.test):,} held-out images are used"
        )
        return divided.test, divided.numbers, divided.train
    rest = pictures.held_out()
    return rest, np.arange(len(rest)), None
