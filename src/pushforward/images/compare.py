"""Two models of images compared: the paired difference of their bits per dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.console import Console, aligned, mean_and_error
from ..tables.errors import InputError
from .held_out import held_out_images
from .labelled import LabelledImages

if TYPE_CHECKING:
    from .density import ImageDensity


def compare_models(
    models: tuple[ImageDensity, ImageDensity],
    images: LabelledImages,
    console: Console,
    *,
    samples: int = 1,
    seed: int = 0,
) -> dict[str, Any]:
    """Which of two models codes the images that neither was trained on in fewer bits.

    Raises:
        InputError: the models are not of the same images, or the images do not fit them.
    """
    _check(models)
    held = [held_out_images(model, images, console)[:2] for model in models]
    common = np.intersect1d(held[0][1], held[1][1])
    if len(common) < 2:
        raise InputError(
            f"{images.path}: the two models have {len(common)} held-out images in common, and 2 are needed"
        )
    shared = [pictures[np.flatnonzero(np.isin(numbers, common))] for pictures, numbers in held]
    bits = [
        model.bits(model.log_prob(pictures, samples=samples, seed=seed))
        for model, pictures in zip(models, shared, strict=True)
    ]
    difference, error = mean_and_error(bits[0] - bits[1])
    means = [mean_and_error(each) for each in bits]
    summary = {
        "images": len(common),
        "models": [
            {"model": model.called, "bits_per_dim": mean, "standard_error": se, "exact": model.model().exact}
            for model, (mean, se) in zip(models, means, strict=True)
        ],
        "difference": difference,
        "standard_error": error,
        "better": None if not abs(difference) > 2 * error else models[0 if difference < 0 else 1].called,
    }
    for line in _describe(summary):
        console.say(line)
    return summary


def _check(models: tuple[ImageDensity, ImageDensity]) -> None:
    first, second = models
    for what in ("shape", "levels", "resize", "bits"):
        ours, theirs = first.facts[what], second.facts[what]
        if ours != theirs:
            raise InputError(
                f"{first.called} and {second.called} are not of the same images ({what} {ours} and {theirs}), so their "
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
