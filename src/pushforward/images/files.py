"""The shell's verbs on files of images: their scores, one row each; new ones; and what is missing of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor

from ..diagnostics.averages import mean_and_error
from ..distributions.guided.density import FEW
from ..errors import InputError, counted, listed
from ..models.console import Console, aligned
from ..saving.files import check_file, write_atomically
from ..tables.io.place import Location
from ..tables.io.write import check_output, write_table
from .explain import explain, oddest, patch_of
from .formats import enlarged, png
from .impute import CANDIDATES, impute, read_with_holes
from .labelled import GIVEN, LabelledImages, full_range
from .model import ImageModel

SHOWN = 5  # least likely images printed


def score_file(
    model: ImageModel,
    data: Location,
    output: Location,
    console: Console,
    *,
    samples: int | None = None,
    seed: int = 0,
    explain_below: float | None = None,
) -> dict[str, Any]:
    """Scores images, and explains those up to a percentile; returns a summary."""
    check_output(output)
    exact = model.pixels().exact
    if samples is not None and exact:
        raise InputError(f"the probabilities of {model.called} are exact and take no samples", "samples", samples)
    pictures = model.read(data, console=console).held_out()
    value = model.log_prob(pictures, samples=samples or 1, seed=seed)
    columns: dict[str, Any] = {"image": list(pictures.names)}
    if model.classes:
        columns[GIVEN] = pictures.labels
    columns |= {"log_density": value, "bits_per_dim": model.bits(value), "percentile": model.percentile(value)}
    if explain_below is not None:
        columns |= _explained(model, pictures, columns["percentile"] <= explain_below, seed)
    scores = pl.DataFrame(columns)
    bits, error = mean_and_error(columns["bits_per_dim"])
    summary = {
        "images": len(pictures),
        "bits_per_dim": bits,
        "standard_error": error,
        "log_likelihood": float(value.mean()),
        "median_bits_per_dim": float(np.median(columns["bits_per_dim"])),
        "below_1_percent": float((columns["percentile"] < 1).mean()),
        "percentiles_among": model.others,
        "impossible": int(np.isneginf(value).sum()),
        "exact": exact,
    }
    write_table(scores, output)
    console.say(*_describe(scores, summary, data), f"saved {output}")
    return {**summary, "output": str(output)}


def _explained(model: ImageModel, pictures: LabelledImages, chosen: np.ndarray, seed: int) -> dict[str, pl.Series]:
    """The oddest patch and its excess in nats for the chosen images; null for the others."""
    places: list[Any] = [None] * len(pictures)
    excess: list[Any] = [None] * len(pictures)
    if chosen.any():
        side = patch_of(model, None)
        found = oddest(explain(model, pictures[np.flatnonzero(chosen)], side, seed).excess, side)
        for i, name, nats in zip(np.flatnonzero(chosen), *found, strict=True):
            places[i], excess[i] = name, nats
    return {"unlikely_because": pl.Series(places, dtype=pl.String), "excess": pl.Series(excess, dtype=pl.Float64)}


def _describe(scores: pl.DataFrame, summary: dict[str, Any], data: Location) -> list[str]:
    bound = "" if summary["exact"] else " (an upper bound)"
    spread = "" if np.isnan(summary["standard_error"]) else f" ± {summary['standard_error']:.4f}"
    median, mean = summary["median_bits_per_dim"], summary["bits_per_dim"]
    lines = [
        f"{data.name}: {summary['images']:,} images",
        f"bits per dimension: median {median:.4f}, mean {mean:.4f}{spread}{bound}",
        f"{summary['below_1_percent']:.1%} of the images are below the first percentile of "
        f"{summary['percentiles_among']}",
    ]
    if summary["impossible"]:
        lines.append(f"{summary['impossible']:,} images get no probability from the model (log_density is -inf)")
    worst = scores.sort("log_density").head(SHOWN)
    return [*lines, "", "the least likely images", *aligned([worst.columns, *worst.rows()]), ""]


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
    """Draws n images and writes them; returns a summary."""
    path = check_images_output(output)
    images, labels = model.draw(n, given, seed, temperature, guidance)
    in_turn = bool(labels) and not given and 4 <= len(model.classes) <= 16
    write_images(path, images, labels, model.levels, len(model.classes) if in_turn else None)  # one column for each
    told = (
        "" if not labels else f" of class {labels[0]}" if given else f", classes in turn: {listed(model.classes[:n])}"
    )
    _, height, width = model.shape
    console.say(f"{n:,} images of {height} x {width}{told}", f"saved {output}")
    return {"images": n, "shape": list(model.shape), "given": given, "seed": seed, "output": str(output)}


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
    """Fills a file's images and writes them; returns a summary."""
    path = check_images_output(output)
    pictures, hole = read_with_holes(model, data, None, mask, console)
    filled, effective = impute(model, pictures, hole, draws, seed, candidates or CANDIDATES)
    labels = None if pictures.labels is None else list(pictures.labels) * draws
    columns = len(pictures) if draws > 1 and len(pictures) <= 24 else None  # a row for each draw
    write_images(path, filled.flatten(0, 1), labels, model.levels, columns)
    counts = effective[effective.isfinite()].numpy()
    few, missing = int((counts < FEW).sum()), int(hole.sum())
    which = counted(len(pictures), "image")
    console.say(f"{missing:,} missing numbers of {which}, drawn {counted(draws, 'time')}")
    console.say(f"effective number of candidates: median {np.median(counts):.1f}, least {counts.min():.1f}")
    if few:
        doubt = "whose draws may not yet be those of the conditional; give more `candidates=`"
        console.note(f"fewer than {FEW:g} candidates count for {few:,} of {which}, {doubt}")
    console.say(f"saved {output}")
    return {
        "images": len(pictures),
        "missing": missing,
        "draws": draws,
        "seed": seed,
        "effective": {"median": float(np.median(counts)), "least": float(counts.min()), "few": few},
        "output": str(output),
    }


def check_images_output(output: Location) -> Path:
    """The path to which images are written, if its ending and its folder are right."""
    path = Path(str(output))
    check_file(path, (".png", ".npy", ".npz"))
    return path


def write_images(
    output: Path, images: Tensor, labels: Sequence[str] | None, levels: int, columns: int | None = None
) -> None:
    """Images as one PNG, in the given number of columns, or as numbers: a .npy, or a .npz with their labels."""
    if output.suffix.lower() == ".png":
        content = png(enlarged(full_range(images, levels)), columns)
    else:
        buffer = io.BytesIO()
        told: dict[str, Any] = {} if labels is None else {"labels": np.array(labels)}
        if output.suffix.lower() == ".npy":
            np.save(buffer, images.numpy())
        else:
            np.savez_compressed(buffer, images=images.numpy(), **told)
        content = buffer.getvalue()
    write_atomically(output, lambda path: path.write_bytes(content))
