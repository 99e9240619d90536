"""Missing numbers of images, NaN in an array of floats or marked by a mask, drawn given the others."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..diagnostics.averages import effective_draws
from ..distributions.pixel_filter import fill_pixels
from ..distributions.pixelcnn import PixelCNN
from ..errors import InputError, positive_integers
from ..models.console import Console
from ..posterior.hmc import hmc
from ..tables.io.place import Source
from ..training.batches import Rows
from .formats import PICTURES, arrays_of, channels_first
from .labelled import IMAGE_KEYS, LABEL_KEYS, LabelledImages, numbered
from .model import ImageModel
from .unknown_pixels import unknown_pixels

CANDIDATES = 64
CHAINS = 64  # moved together


def impute(
    model: ImageModel, pictures: LabelledImages, hole: Tensor, draws: int, seed: int, candidates: int = CANDIDATES
) -> tuple[Tensor, Tensor]:
    """Draws of the missing numbers of n images given their others; which these are says ``hole``, ``(n, C, H, W)``.

    A PixelCNN draws them by a particle filter (:func:`~pushforward.distributions.pixel_filter.fill_pixels`), one for
    each draw; for a flow, each draw is the end of a Markov chain (:mod:`.unknown_pixels`) that starts at one of the
    model's own images. Both are exact in the limit of many candidates: particles, or steps after as many discarded.

    Returns:
        Images ``(draws, n, C, H, W)``, uint8, and effective sample sizes of candidates ``(n,)``, float64: infinity for
        an image without missing numbers.
    """
    positive_integers(draws=draws)
    if candidates < 4:
        raise InputError("expected at least 4", "candidates", candidates)
    filled = pictures.images.repeat(draws, 1, 1, 1, 1)
    effective = torch.full((len(pictures),), math.inf, dtype=torch.float64)
    rows = pictures.rows(model.classes)
    generator = torch.Generator(model.device).manual_seed(seed)
    fill = _by_particles if isinstance(model.density, PixelCNN) else _by_chains
    size = min(model.pixels().size(), CHAINS)
    size = max(1, size // (draws * candidates if fill is _by_particles else max(draws, 2)))
    for some in hole.flatten(1).any(1).nonzero()[:, 0].split(size):
        part, unknown = rows[some].to(model.device), hole[some].to(model.device)
        found, count = fill(model.density, part, unknown, draws, candidates, generator)
        found = found.nan_to_num(0).clamp(0, model.levels - 1).to(part.x.dtype)
        filled[:, some], effective[some] = torch.where(unknown, found, part.x).cpu(), count.cpu()
    return filled, effective


def _by_particles(
    density: Any, rows: Rows, hole: Tensor, draws: int, particles: int, generator: Any
) -> tuple[Tensor, Tensor]:
    """``(draws, n, C, H, W)``, and the mean effective number of particles, ``(n,)``."""
    repeated, hole = Rows.stacked([rows] * draws), hole.repeat(draws, 1, 1, 1)
    found, count = fill_pixels(density, repeated.x, hole, repeated.context, particles=particles, generator=generator)
    return found.unflatten(0, (draws, -1)), count.view(draws, -1).mean(0)


def _by_chains(density: Any, rows: Rows, hole: Tensor, draws: int, steps: int, generator: Any) -> tuple[Tensor, Tensor]:
    """The same from Markov chains, with the effective sample size of all chains of an image: at least two, so
    that those stuck at their start are noticed."""
    chains = max(draws, 2)
    points = unknown_pixels(density, Rows.stacked([rows] * chains), hole.repeat(chains, 1, 1, 1))
    y, _ = hmc(points.target(), points.draws(generator), steps, steps, generator, points.target)
    paths = y.unflatten(0, (chains, -1)).transpose(0, 1)  # (n, chains, steps, C, H, W)
    count = [effective_draws(path[..., unknown]) for path, unknown in zip(paths, hole, strict=True)]
    return points.numbers(y[:, -1]).unflatten(0, (chains, -1))[:draws], torch.tensor(count, dtype=torch.float64)


def read_with_holes(
    model: ImageModel, images: Any, labels: Any, mask: Any, console: Console
) -> tuple[LabelledImages, Tensor]:
    """Images as a model takes them, and which of their numbers are missing, bool, ``(n, C, H, W)``: where the mask is
    not 0, and in floats (an array, a ``.npy`` or a ``.npz``) NaN."""
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
