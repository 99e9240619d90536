"""Images with missing numbers: NaN in an array of floats, or marked by a mask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError
from ..models.console import Console
from ..tables.io.place import Source
from .formats import PICTURES, arrays_of, channels_first
from .labelled import IMAGE_KEYS, LABEL_KEYS, LabelledImages, numbered
from .model import ImageModel


def read_with_holes(
    model: ImageModel, images: Any, labels: Any, mask: Any, console: Console
) -> tuple[LabelledImages, Tensor]:
    """Images as a model takes them, and which of their numbers are missing, bool, ``(n, C, H, W)``.

    Args:
        model: The fitted images.
        images: As for a fit; or floats in which NaN is missing, an array, a ``.npy`` or a ``.npz``.
        labels: The class of each, if ``images`` is an array.
        mask: Where pixels are missing: ``(H, W)`` for all images, ``(n, H, W)``, or of the images' own shape; or such a
            picture or ``.npy``. None if only NaN marks them.
        console: Where notes are printed.

    Raises:
        InputError: the images do not fit the model, the mask does not fit the images, or nothing is missing.
    """
    found = _floats(images)
    if found is None:
        pictures = model.raw(images, labels).held_out()
        hole = torch.zeros(pictures.images.shape, dtype=torch.bool)
    else:
        where, array, own = found
        known, gone = _divided(array, where)
        own = labels if labels is not None else own
        pictures = numbered(where, channels_first(known, where), None if own is None else np.asarray(own))
        pictures = pictures.with_bits(model.facts["bits"])
        hole = channels_first(gone.astype(np.uint8), where).bool()
    if mask is not None:
        hole = hole | _mask(mask, pictures)
    if not hole.any():
        raise InputError(
            f"{pictures.path}: no number is missing: give floats with NaN, or a `mask=`, not 0 where a pixel is missing"
        )
    pictures = replace(pictures, images=pictures.images.masked_fill(hole, 0))
    pictures = model.fitting(pictures, console)
    return pictures, hole.expand(pictures.images.shape)


def _floats(images: Any) -> tuple[Path, np.ndarray, Any] | None:
    """The source of floats, the array, and the labels beside it; None if the images do not hold floats."""
    labels = None
    if isinstance(images, Source) or (isinstance(images, str | Path) and Path(images).suffix not in (".npy", ".npz")):
        return None
    if isinstance(images, str | Path):
        where = Path(images)
        try:
            arrays = arrays_of(where)
        except InputError:
            return None  # the error is reported when the images are read
        array = next((arrays[key] for key in IMAGE_KEYS if key in arrays), None)
        labels = next((arrays[key] for key in LABEL_KEYS if key in arrays), None)
    else:
        where, array = Path("images"), images.numpy() if isinstance(images, Tensor) else np.asarray(images)
    return None if array is None or array.dtype.kind != "f" else (where, array, labels)


def _divided(array: np.ndarray, where: Path) -> tuple[np.ndarray, np.ndarray]:
    """The known numbers as uint8, and which are missing."""
    hole = np.isnan(array)
    known = np.where(hole, 0, array)
    if not ((known >= 0) & (known <= 255) & (known == np.floor(known))).all():
        raise InputError(
            f"{where}: holds floats that are neither NaN nor whole numbers from 0 to 255; scale them first"
        )
    return known.astype(np.uint8), hole


def _mask(mask: Any, pictures: LabelledImages) -> Tensor:
    """``(n or 1, C or 1, H, W)``, bool."""
    array = _mask_file(Path(mask)) if isinstance(mask, str | Path) else np.asarray(mask)
    n, (channels, height, width) = len(pictures), pictures.shape
    missing = torch.from_numpy(array != 0)
    if missing.dim() == 4 and missing.shape[1:] == (height, width, channels):
        missing = missing.permute(0, 3, 1, 2)
    shapes = {(height, width): (1, 1), (n, height, width): (n, 1), (n, channels, height, width): (n, channels)}
    first = shapes.get(tuple(missing.shape))
    if first is None:
        raise InputError(
            f"has shape {tuple(array.shape)}, but a mask of these {n} images is ({height}, {width}), "
            f"({n}, {height}, {width}) or ({n}, {channels}, {height}, {width})",
            "mask",
        )
    return missing.view(*first, height, width) if missing.is_contiguous() else missing


def _mask_file(path: Path) -> np.ndarray:
    try:
        if path.suffix.lower() in PICTURES:
            with Image.open(path) as picture:
                return np.array(picture.convert("L"))
        return next(iter(arrays_of(path).values()))
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for broken pictures, and our own
        raise InputError(f"is not a readable picture or NumPy file ({error})", "mask", str(path)) from None
