"""Writes the report of a model of images: one HTML file with its pictures inside."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...distributions.base import Density
from ...images.pixels import PixelDensity
from ...saving.jsonable import jsonable
from ...tables.io.table import write_atomically
from ..build import render
from .evidence import ImageEvidence, gather
from .sections import all_sections


def write_image_report(
    path: str | os.PathLike[str],
    flow: Density,
    images: Tensor,
    *,
    levels: int = 256,
    names: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    classes: Sequence[str] = (),
    context: Tensor | None = None,
    train: Tensor | None = None,
    train_context: Tensor | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    summary: Mapping[str, Any] | None = None,
    baseline: Mapping[str, Any] | None = None,
    percentile: Callable[[Any], Any] | None = None,
    command: str = "",
    title: str = "",
    seed: int = 0,
    timings: bool = False,
) -> dict[str, Any]:
    """Evaluates a model on held-out images and writes the findings as one offline HTML file.

    The file is written whole or not at all and, without ``timings``, is byte-for-byte reproducible for equal arguments.

    Args:
        path: The HTML file.
        flow: A density of whole numbers: :func:`pushforward.pixels` of a flow, or a PixelCNN.
        images: Held-out images (n, C, H, W), uint8.
        levels: Numbers run from 0 to levels - 1.
        names: The name of each image; its number by default.
        labels: The class of each, if there are classes.
        classes: The classes that the model is conditioned on, in the order of the context's features.
        context: Contexts (n, classes) of the images, for a conditional model.
        train: Training images, some of which are scored for comparison with the held-out ones.
        train_context: Their contexts.
        history: Records of the training, with losses in nats: ``step``, ``train_loss``, ``validation_loss``, …
        summary: Labels and values to show in the overview.
        baseline: Results of the fit: ``bits_per_dim``, ``independent_bits_per_dim`` and ``gain`` with their
            ``…_standard_error``, and ``images``.
        percentile: Maps log-probabilities (k,) to percentiles among the training images.
        command: The command that reproduces the report, to be copied from it.
        title: The heading.
        seed: Seed of all random draws.
        timings: Whether to report how long scoring and sampling took; the file is then not reproducible.

    Returns:
        The numbers of the report, by section, as JSON.

    Raises:
        ValueError: the images do not have the model's shape, or the lists do not match them.
    """
    if images.dim() != 4 or tuple(images.shape[1:]) != tuple(flow.event_shape) or not len(images):
        wanted = f"(n, {', '.join(map(str, flow.event_shape))}) with n >= 1"
        raise ValueError(f"images must have shape {wanted}, got {tuple(images.shape)}")
    names = [str(k) for k in range(len(images))] if names is None else names
    for what, values in (("names", names), ("labels", labels)):
        if values is not None and len(values) != len(images):
            raise ValueError(f"{what} has {len(values)} entries, but there are {len(images)} images")
    density = PixelDensity(flow, levels, seed)
    evidence = ImageEvidence(
        density=density,
        images=images,
        names=names,
        labels=labels,
        classes=classes,
        context=context,
        history=history,
        summary=dict(summary or {}),
        baseline=baseline,
        percentile=percentile,
        command=command,
        seed=seed,
        timings=timings,
        **gather(density, images, context, train, train_context, len(classes)),
    )
    parts = all_sections(evidence)
    shown = jsonable({part.id: part.numbers for part in parts if part.numbers})
    text = render(title or "What the model learnt", parts, shown)
    write_atomically(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return shown
