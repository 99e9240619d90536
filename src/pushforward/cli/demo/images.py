"""The demo of images: 1,797 handwritten digits, their densities given the digit, and digits that nobody wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import InputError
from ..options import PrintOptions
from .steps import Steps, length

STEPS, RATE, LAYERS, HIDDEN = 300, 3e-3, 5, 48  # half a minute
LEVELS = 17  # the digits' pixels are counts of 0 to 16


def run(output: Path, printing: PrintOptions, *, budget: float | None, seed: int) -> None:
    """Fits the digits, scores them, draws ten of each, and writes the report."""
    data, folder, steps = output / "digits.npz", output / "model", Steps(output, printing)
    scores, drawn, report = (output / name for name in ("scores.csv", "drawn.png", "report.html"))
    images, labels = bundled_digits()
    np.savez(data, images=images, labels=labels)
    about = ("--flow", "pixelcnn", "--layers", LAYERS, "--hidden", HIDDEN, "--given", "class", "--levels", LEVELS)
    summary = steps.run("fit", data, "-o", folder, *about, *length(STEPS, budget), "--lr", RATE, "--seed", seed)
    scored = steps.run("score", folder, data, "-o", scores)
    steps.run("sample", folder, "-n", 100, "-o", drawn, "--seed", seed)
    steps.run("report", folder, data, "-o", report, "--seed", seed)
    steps.end(
        {"fit": summary, "score": scored, "samples": str(drawn), "report": str(report)},
        f"look at {drawn}: ten of each digit, and at {report}",
        "fit pictures of your own: a folder of them, with a folder for each class: pushforward fit PHOTOS -o MODEL",
        "draw faster: --flow glow; in Python, and to fill pixels or find odd patches: pushforward.ImageDensity",
    )


def bundled_digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 digits of 8 x 8 pixels with their classes, inside scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError(
            "the digits ship inside scikit-learn, which is not installed: pip install 'pushforward[demo]'"
        ) from None
    digits = load_digits()
    return digits.images.astype(np.uint8), digits.target
