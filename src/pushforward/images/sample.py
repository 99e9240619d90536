"""New images: a PNG with all of them, or their numbers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import InputError, listed
from ..models.console import Console
from ..saving.files import check_file, write_atomically
from ..tables.io.place import Location
from .formats import png
from .labelled import GIVEN, full_range
from .model import ImageModel


def sample_file(
    model: ImageModel,
    n: int,
    output: Location,
    given: dict[str, str],
    console: Console,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    guidance: float = 0.0,
) -> dict[str, Any]:
    """Draws n images and writes them; returns a summary.

    Raises:
        InputError: an argument cannot be used; says why.
    """
    path, labels = check_images_output(output), model.classes_of(n, given)
    images = model.pixels(seed).sample(n, model.context(labels), temperature, check_guidance(model, guidance))
    in_turn = bool(labels) and not given and 4 <= len(model.classes) <= 16
    write_images(path, images, labels, model.levels, len(model.classes) if in_turn else None)  # one column for each
    _, height, width = model.shape
    console.say(f"{n:,} images of {height} x {width}" + (_told(labels, given) if labels else ""))
    console.say(f"saved {output}")
    return {"images": n, "shape": list(model.shape), "given": given, "seed": seed, "output": str(output)}


def check_images_output(output: Location) -> Path:
    """The path to which images are written, if it is one.

    Raises:
        InputError: the file's extension or its folder is wrong.
    """
    path = Path(str(output))
    check_file(path, (".png", ".npy", ".npz"))
    return path


def write_images(
    output: Path, images: Tensor, labels: Sequence[str] | None, levels: int, columns: int | None = None
) -> None:
    """Images as one PNG, in the given number of columns, or as numbers: a .npy, or a .npz with their labels."""
    if output.suffix.lower() == ".png":
        content = png(full_range(images, levels), columns)
    else:
        arrays = {"images": images.numpy()} | ({} if labels is None else {"labels": np.array(labels)})
        content = _numpy(arrays, output.suffix.lower())
    write_atomically(output, lambda path: path.write_bytes(content))


def check_draws(draws: int) -> int:
    """Checks the number of draws.

    Raises:
        InputError: it is below 1.
    """
    if draws < 1:
        raise InputError("expected at least 1", "draws", draws)
    return draws


def check_guidance(model: ImageModel, guidance: float) -> float:
    """Checks the guidance, for a model that was fitted for it.

    Raises:
        InputError: it was not.
    """
    if guidance and (model.facts["summary"]["flow"] != "tarflow" or not model.classes):
        raise InputError(
            f"needs a tarflow that is conditioned on {GIVEN}, but {model.called} is a "
            f"{model.facts['summary']['flow']}{'' if model.classes else ' without classes'}",
            "guidance",
            guidance,
        )
    return guidance


def _told(labels: list[str], given: dict[str, str]) -> str:
    return f" of class {labels[0]}" if given else f", classes in turn: {listed(dict.fromkeys(labels))}"


def _numpy(arrays: dict[str, Any], ending: str) -> bytes:
    buffer = io.BytesIO()
    if ending == ".npy":
        np.save(buffer, arrays["images"])
    else:
        np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
