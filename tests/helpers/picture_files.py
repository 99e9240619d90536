"""Small images of two kinds, bright on the left or on the right, as files of every form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SMALL = ["--layers", "1", "--hidden", "8", "--batch-size", "32", "--quiet"]
QUICK, BRIEF = [*SMALL, "--steps", "40"], [*SMALL, "--steps", "2"]


def halves(n: int = 120, side: int = 8, colours: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, side, side[, 3]), uint8, and their classes 0 (left) and 1 (right)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    shape = (n, side, side) + ((3,) if colours == 3 else ())
    images = rng.integers(0, 60, shape)
    for image, label in zip(images, labels, strict=True):
        image[:, label * side // 2 : (label + 1) * side // 2] += 150
    return images.astype(np.uint8), labels


def folder_of(path: Path, images: np.ndarray, labels: np.ndarray | None = None) -> Path:
    """A folder of PNGs, in folders for their classes where there are labels."""
    for k, image in enumerate(images):
        place = path if labels is None else path / ["left", "right"][labels[k]]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{k:03}.png")
    return path
