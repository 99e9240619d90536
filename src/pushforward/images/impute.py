"""Draws missing numbers of images given the others."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..diagnostics.averages import effective_draws
from ..distributions.guided.density import FEW
from ..distributions.pixel_filter import fill_pixels
from ..distributions.pixelcnn import PixelCNN
from ..errors import InputError
from ..models.console import Console
from ..posterior.hmc import hmc
from ..tables.io.place import Location
from .labelled import LabelledImages
from .missing import read_with_holes
from .model import ImageModel
from .sample import check_draws, check_images_output, write_images
from .unknown_pixels import unknown_pixels

CANDIDATES = 64
CHAINS = 64  # moved together


def impute(
    model: ImageModel, pictures: LabelledImages, hole: Tensor, draws: int, seed: int, candidates: int = CANDIDATES
) -> tuple[Tensor, Tensor]:
    """Draws of the missing numbers of every image given its others.

    A PixelCNN draws them by a particle filter (:func:`~pushforward.distributions.pixel_filter.fill_pixels`), one for
    each draw; for a flow, each draw is the end of a Markov chain (:mod:`.unknown_pixels`) that starts at one of the
    model's own images. Both are exact in the limit of many candidates.

    Args:
        model: The fitted images.
        pictures: n images that fit it.
        hole: Which of their numbers are missing, ``(n, C, H, W)``.
        draws: Number of draws for each image.
        seed: Seed of the draws.
        candidates: Particles of a filter; steps of a chain, after as many that are discarded.

    Returns:
        Images ``(draws, n, C, H, W)``, uint8, and effective sample sizes of candidates ``(n,)``, float64: infinity for
        an image without missing numbers.

    Raises:
        InputError: ``draws`` is below 1, or ``candidates`` below 4.
    """
    check_draws(draws)
    if candidates < 4:
        raise InputError("expected at least 4", "candidates", candidates)
    filled = pictures.images.repeat(draws, 1, 1, 1, 1)
    effective = torch.full((len(pictures),), math.inf, dtype=torch.float64)
    context = model.context(pictures.labels)
    generator = torch.Generator(model.device).manual_seed(seed)
    fill = _by_particles if isinstance(model.density, PixelCNN) else _by_chains
    size = min(model.pixels().size(), CHAINS)
    size = max(1, size // (draws * candidates if fill is _by_particles else max(draws, 2)))
    for some in hole.flatten(1).any(1).nonzero()[:, 0].split(size):
        given = None if context is None else context[some].to(model.device)
        x, unknown = pictures.images[some].to(model.device), hole[some].to(model.device)
        found, count = fill(model.density, x, unknown, given, draws, candidates, generator)
        found = found.nan_to_num(0).clamp(0, model.levels - 1).to(x.dtype)
        filled[:, some], effective[some] = torch.where(unknown, found, x).cpu(), count.cpu()
    return filled, effective


def _by_particles(
    density: Any, x: Tensor, hole: Tensor, context: Tensor | None, draws: int, particles: int, generator: Any
) -> tuple[Tensor, Tensor]:
    """``(draws, n, C, H, W)``, and the mean effective number of particles, ``(n,)``."""
    context = None if context is None else context.repeat(draws, 1)
    x, hole = (part.repeat(draws, 1, 1, 1) for part in (x, hole))
    found, count = fill_pixels(density, x, hole, context, particles=particles, generator=generator)
    return found.unflatten(0, (draws, -1)), count.view(draws, -1).mean(0)


def _by_chains(
    density: Any, x: Tensor, hole: Tensor, context: Tensor | None, draws: int, steps: int, generator: Any
) -> tuple[Tensor, Tensor]:
    """The same from Markov chains, with the effective sample size of all chains of an image: at least two, so
    that those stuck at their start are noticed."""
    chains = max(draws, 2)
    context = None if context is None else context.repeat(chains, 1)
    points = unknown_pixels(density, x.repeat(chains, 1, 1, 1), hole.repeat(chains, 1, 1, 1), context)
    y, _ = hmc(points.target(), points.draws(generator), steps, steps, generator, points.target)
    paths = y.unflatten(0, (chains, -1)).transpose(0, 1)  # (n, chains, steps, C, H, W)
    count = [effective_draws(path[..., unknown]) for path, unknown in zip(paths, hole, strict=True)]
    return points.numbers(y[:, -1]).unflatten(0, (chains, -1))[:draws], torch.tensor(count, dtype=torch.float64)


def impute_file(
    model: ImageModel,
    data: Location,
    output: Location,
    console: Console,
    *,
    draws: int = 1,
    seed: int = 0,
    mask: Path | None = None,
    candidates: int | None = None,
) -> dict[str, Any]:
    """Fills a file's images and writes them; returns a summary.

    Raises:
        InputError: the images, the mask or the output cannot be used; says why.
    """
    path = check_images_output(output)
    pictures, hole = read_with_holes(model, data, None, mask, console)
    filled, effective = impute(model, pictures, hole, draws, seed, candidates or CANDIDATES)
    labels = None if pictures.labels is None else list(pictures.labels) * draws
    columns = len(pictures) if draws > 1 and len(pictures) <= 24 else None  # a row for each draw
    write_images(path, filled.flatten(0, 1), labels, model.levels, columns)
    counts = effective[effective.isfinite()].numpy()
    few = int((counts < FEW).sum())
    missing = int(hole.sum())
    times = f"{draws} time{'s' if draws > 1 else ''}"
    console.say(f"{missing:,} missing numbers of {len(pictures):,} images, drawn {times}")
    console.say(f"effective number of candidates: median {np.median(counts):.1f}, least {counts.min():.1f}")
    if few:
        console.note(
            f"for {few:,} images fewer than {FEW:g} candidates count, so their draws may not yet be those of the "
            "conditional; give more `candidates=`"
        )
    console.say(f"saved {output}")
    return {
        "images": len(pictures),
        "missing": missing,
        "draws": draws,
        "seed": seed,
        "effective": {"median": float(np.median(counts)), "least": float(counts.min()), "few": few},
        "output": str(output),
    }
