"""``pushforward compare`` of two models of images: the paired difference of their bits per dimension."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...tables.errors import InputError
from ..console import Console, aligned, mean_and_error
from .held_out import held_out_images
from .model import ImageModel


def run(
    paths: tuple[Path, Path], data: Path, console: Console, *, samples: int | None, seed: int, device: str
) -> dict[str, Any]:
    """Which of two models codes the images that neither was trained on in fewer bits.

    Raises:
        InputError: the models are not of the same images, or the data do not fit them.
    """
    models = [ImageModel.load(path, device) for path in paths]
    _check(models)
    held = [held_out_images(model, data, console)[:2] for model in models]
    common = np.intersect1d(held[0][1], held[1][1])
    if len(common) < 2:
        raise InputError(f"{data}: the two models have {len(common)} held-out images in common, and 2 are needed")
    shared = [pictures[np.flatnonzero(np.isin(numbers, common))] for pictures, numbers in held]
    bits = [
        model.bits(model.log_prob(pictures, samples=samples or 1, seed=seed))
        for model, pictures in zip(models, shared, strict=True)
    ]
    difference, error = mean_and_error(bits[0] - bits[1])
    means = [mean_and_error(each) for each in bits]
    summary = {
        "images": len(common),
        "models": [
            {"model": str(path), "bits_per_dim": mean, "standard_error": se, "exact": model.density().exact}
            for path, model, (mean, se) in zip(paths, models, means, strict=True)
        ],
        "difference": difference,
        "standard_error": error,
        "better": None if not abs(difference) > 2 * error else str(paths[0 if difference < 0 else 1]),
    }
    for line in _describe(summary):
        console.say(line)
    return summary


def _check(models: list[ImageModel]) -> None:
    first, second = models
    for what in ("shape", "levels", "resize", "bits"):
        ours, theirs = first.facts[what], second.facts[what]
        if ours != theirs:
            raise InputError(
                f"{first.path} and {second.path} are not of the same images ({what} {ours} and {theirs}), so their "
                "bits cannot be compared"
            )


def _describe(summary: dict[str, Any]) -> list[str]:
    lines = aligned(
        [
            *(
                (
                    m["model"],
                    f"{m['bits_per_dim']:.4f} ± {m['standard_error']:.4f}" + ("" if m["exact"] else " (a bound)"),
                )
                for m in summary["models"]
            ),
            ("difference, image by image", f"{summary['difference']:.4f} ± {summary['standard_error']:.4f}"),
        ],
        indent="",
    )
    better = summary["better"]
    verdict = f"{better} is the better one" if better else "no clear difference: it is within two standard errors"
    return [f"bits per dimension over {summary['images']:,} images that neither was trained on", *lines, verdict]
