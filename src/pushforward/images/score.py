"""Scores of images: one row for every image."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ..diagnostics.averages import mean_and_error
from ..errors import InputError
from ..models.console import Console, aligned
from ..tables.io.place import Location
from ..tables.io.write import check_output, write_table
from .explain import explain, oddest, patch_of
from .labelled import GIVEN, LabelledImages
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
    """Scores images, and explains those up to a percentile; returns a summary.

    Raises:
        InputError: the images or the output cannot be used; says why.
    """
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
    for line in _describe(scores, summary, data):
        console.say(line)
    console.say(f"saved {output}")
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
    cells = [tuple(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row) for row in worst.iter_rows()]
    return [*lines, "", "the least likely images", *aligned([tuple(worst.columns), *cells]), ""]
