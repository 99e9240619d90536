"""The demo of images: 1,797 handwritten digits, their densities given the digit, and digits that nobody wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...images.density import ImageDensity
from ...images.labelled import read_pictures
from ...images.options import ImageOptions
from ...models.console import Console
from ...models.options import TrainingOptions
from ...report.write import write
from ..fitting import fit_images
from .steps import Steps, length

STEPS, RATE, LAYERS, HIDDEN = 300, 3e-3, 5, 48  # half a minute
LEVELS = 17  # the digits' pixels are counts of 0 to 16


def run(output: Path, console: Console, *, budget: float | None, seed: int) -> dict[str, Any]:
    """Fits the digits, scores them, draws ten of each, and writes the report.

    Raises:
        InputError: the digits are not installed.
    """
    output.mkdir(parents=True, exist_ok=True)
    data, folder, steps = output / "digits.npz", output / "model", Steps(console)
    scores, drawn, report = (output / name for name in ("scores.csv", "drawn.png", "report.html"))
    images, labels = bundled_digits()
    np.savez(data, images=images, labels=labels)
    about = ("--flow", "pixelcnn", "--layers", LAYERS, "--hidden", HIDDEN, "--given", "class", "--levels", LEVELS)
    command = steps.begin("fit", data, "-o", folder, *about, *length(STEPS, budget), "--lr", RATE, "--seed", seed)
    training = TrainingOptions(steps=None if budget else STEPS, budget=budget, lr=RATE, seed=seed)
    options = ImageOptions(
        flow="pixelcnn", layers=LAYERS, hidden=(HIDDEN,), given=("class",), levels=LEVELS, training=training
    )
    summary = fit_images(data, folder, options, console, command)
    model = ImageDensity.load(folder)
    steps.begin("score", folder, data, "-o", scores)
    scored = model.run("score", data, scores, console)
    steps.begin("sample", folder, "-n", 100, "-o", drawn)
    model.run("sample", 100, drawn, {}, console, seed=seed)
    steps.begin("report", folder, data, "-o", report)
    write(model, read_pictures(data), report, console, seed=seed)
    steps.end(
        f"look at {drawn}: ten of each digit, and at {report}",
        "fit pictures of your own: a folder of them, with a folder for each class: pushforward fit PHOTOS -o MODEL",
        "which density suits them, and what bits per dimension mean: docs/images.md",
    )
    return {"fit": summary, "score": scored, "samples": str(drawn), "report": str(report)}


def bundled_digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 digits of 8 x 8 pixels with their classes, inside scikit-learn.

    Raises:
        InputError: the package is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError(
            "the digits ship inside scikit-learn, which is not installed: pip install 'pushforward[demo]'"
        ) from None
    digits = load_digits()
    return digits.images.astype(np.uint8), digits.target
