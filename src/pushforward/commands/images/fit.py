"""``pushforward fit`` on images: from pixels to a saved density of images, with its bits per dimension."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...diagnostics import bits_per_dim
from ...distributions.base import Density
from ...images.baselines import IndependentPixels
from ...images.labelled import Pictures, read_pictures
from ...objectives.divergences import ForwardKL
from ...recipes.images_by_name import IMAGE_FLOWS, default_image_flow, image_flow_by_name
from ...report.images.density import ImageDensity
from ...tables.errors import InputError
from ...transforms.multiscale import possible_squeezes
from ..console import Console, aligned, mean_and_error, plain
from ..device import device_named
from ..fit import FitOptions, check_output, train_on, training_facts
from ..learn import Rows
from ..model import PERCENTS
from ..rescue import save
from .held_out import Division, divide
from .model import GIVEN, one_hot, packed

BATCH, RATE = 64, 3e-3
CLIP = {"glow": 1e4, "realnvp": 1e4, "pixelcnn": 5.0}  # a flow's gradients are large, a sum over all numbers
QUANTILE_IMAGES = 2_000  # training images that percentiles are measured on
KEPT_IMAGES, KEPT_NUMBERS, FEWEST = 1_000, 2**21, 16  # held-out images that are saved with the model, for reports


@dataclass(frozen=True)
class ImageOptions:
    """What the user may choose for images alone; the meaning of each is in the shell's help."""

    flow: str | None = None
    batch_size: int | None = None
    lr: float | None = None
    resize: tuple[int, int] | None = None
    levels: int | None = None
    bits: int | None = None
    scales: int | None = None


def run(
    data: Path, output: Path, wishes: ImageOptions, options: FitOptions, console: Console, command: str
) -> dict[str, Any]:
    """Fits, measures and saves; returns the summary that was saved with the model.

    Raises:
        InputError: the images or the arguments are wrong; says why.
    """
    check_output(output)
    device_named(options.device)
    _refuse_table_options(options)
    options = replace(
        options,
        batch_size=BATCH if wishes.batch_size is None else wishes.batch_size,
        lr=RATE if wishes.lr is None else wishes.lr,
    )
    levels = _levels(wishes)
    started = time.perf_counter()
    pictures = read_pictures(data, resize=wishes.resize).with_bits(wishes.bits)
    pictures.check_levels(levels, f"--levels {levels}")
    classes = _classes(pictures, options, console)
    parts = divide(pictures, options.seed)
    name = wishes.flow or default_image_flow(pictures.shape)
    flow = _flow(name, pictures, levels, len(classes), wishes, options)
    for line in _describe_data(pictures, parts, levels, classes):
        console.say(line)
    train, val = (Rows(part.images.float(), one_hot(part.labels, classes)) for part in (parts.train, parts.val))
    result = train_on(ForwardKL(flow), train, val, output, options, console, CLIP[name])
    if int(os.environ.get("RANK", "0")):
        return {}  # under torchrun, one process measures and saves
    held = _held_out(flow, parts, classes, levels, options.seed)
    summary = {
        "training_images": len(parts.train),
        "validation_images": len(parts.val),
        "shape": list(pictures.shape),
        "levels": levels,
        "given": list(options.given),
        "flow": name,
        "parameters": sum(p.numel() for p in flow.parameters()),
        "held_out": held,
        "seconds": round(time.perf_counter() - started, 1),
        **training_facts(result),
    }
    facts = {
        "kind": "image",
        "shape": list(pictures.shape),
        "levels": levels,
        "resize": wishes.resize,
        "bits": wishes.bits,
        "classes": classes,
        "quantiles": _quantiles(flow, parts.train, classes, levels, options.seed),
        "history": [dict(row) for row in result.history],
        "data": pictures.path.name,
        "seed": options.seed,
        "held_out": _kept(parts, options.seed),
        "fingerprint": pictures.fingerprint(),
        "torch": torch.__version__,
        "summary": summary,
        "command": command,
    }
    save(flow, output, plain(facts))
    for line in describe_held_out(held):
        console.say(line)
    console.say(f"{name}, {summary['parameters']:,} parameters, {summary['seconds']:.0f} s")
    console.say(f"saved {output}")
    return summary


def _refuse_table_options(options: FitOptions) -> None:
    for flag, value in (
        ("--columns", options.columns),
        ("--bounds", options.bounds),
        ("--categories", options.categories),
    ):
        if value:
            raise InputError(f"{flag}: belongs to a table, and the data are images")
    if options.drop_missing:
        raise InputError("--drop-missing: belongs to a table, and the data are images")
    if options.objective != "likelihood":
        raise InputError("--objective: belongs to a table, and the data are images")
    if options.given not in ((), [], [GIVEN]):
        raise InputError(f"--given {','.join(options.given)}: images are conditioned on their class: --given {GIVEN}")


def _levels(wishes: ImageOptions) -> int:
    if wishes.bits is not None and wishes.levels is not None:
        raise InputError("give --levels or --bits, not both: --bits B keeps the first B bits and so 2^B levels")
    if wishes.bits is not None and not 1 <= wishes.bits <= 8:
        raise InputError(f"--bits {wishes.bits}: expected 1 to 8")
    levels = 2**wishes.bits if wishes.bits else wishes.levels or 256
    if not 2 <= levels <= 256:
        raise InputError(f"--levels {levels}: expected 2 to 256, how many values a pixel can have")
    return levels


def _classes(pictures: Pictures, options: FitOptions, console: Console) -> list[str]:
    """What to condition on, as the user asked."""
    classes = pictures.classes
    if options.given and len(classes) < 2:
        what = f"only one, {classes[0]!r}" if classes else "none"
        raise InputError(
            f"--given {GIVEN}: {pictures.path} has {what}: give every class a folder, put an array 'labels' into the "
            ".npz, or the labels file beside the idx file"
        )
    unlabelled = [split for split, part in pictures.splits.items() if part.labels is None]
    if options.given and unlabelled:
        raise InputError(f"--given {GIVEN}: {pictures.path} has no labels for {unlabelled[0]!r}")
    if len(classes) > 1 and not options.given:
        console.note(f"{pictures.path}: has {len(classes)} classes; --given {GIVEN} makes the model one of each class")
    return classes if options.given else []


def _flow(
    name: str, pictures: Pictures, levels: int, context: int, wishes: ImageOptions, options: FitOptions
) -> Density:
    if name not in IMAGE_FLOWS:
        raise InputError(f"--flow {name}: there is no such flow of images; choose one of {', '.join(IMAGE_FLOWS)}")
    _, height, width = pictures.shape
    possible, scales = possible_squeezes(pictures.shape), 1 if wishes.scales is None else wishes.scales
    if name == "glow" and not 1 <= scales <= possible:
        multiple = 2 ** max(scales, 1)
        size = [-(-side // multiple) * multiple for side in (height, width)]
        fewer = f"use --scales {possible} at most, or " if possible else "use --flow realnvp, or "
        raise InputError(
            f"{pictures.path}: the images are {height} x {width}, which can be halved {possible} times, but "
            f"--flow glow with --scales {scales} was asked for: {fewer}--resize {size[0]}"
            + (f",{size[1]}" if height != width else "")
        )
    try:
        return image_flow_by_name(
            name,
            pictures.shape,
            levels=levels,
            context=context,
            scales=wishes.scales,
            layers=options.layers,
            hidden=options.hidden,
            seed=options.seed,
        )
    except ValueError as error:
        raise InputError(f"--flow {name}: {error}") from None


def _describe_data(pictures: Pictures, parts: Division, levels: int, classes: list[str]) -> list[str]:
    channels, height, width = pictures.shape
    kind = "grey" if channels == 1 else "RGB"
    train, val, test = len(parts.train), len(parts.val), len(parts.test)
    given = f", given their {GIVEN} (1 of {len(classes)})" if classes else ""
    return [
        f"{pictures.path.name}: {train + val + test:,} images of {height} x {width}, {kind}, {levels} levels{given}",
        f"{train:,} images to train on, {val:,} to tell when to stop, {test:,} held out",
        "",
    ]


def _held_out(flow: Density, parts: Division, classes: list[str], levels: int, seed: int) -> dict[str, Any]:
    """Bits per dimension of the held-out images, beside those of independent pixels, image by image."""
    shape = parts.test.shape
    ours = ImageDensity(flow, levels, seed).log_prob(parts.test.images, one_hot(parts.test.labels, classes))
    theirs = IndependentPixels(parts.train.images, levels)(parts.test.images)
    bits, their_bits = (bits_per_dim(values, shape, levels=1) for values in (ours, theirs))
    found: dict[str, Any] = {"images": len(parts.test)}
    names = (("bits_per_dim", bits), ("independent_bits_per_dim", their_bits), ("gain", their_bits - bits))
    for name, values in (*names, ("log_likelihood", ours)):
        found[name], found[f"{name}_standard_error"] = mean_and_error(values)
    return found


def describe_held_out(held: Mapping[str, Any]) -> list[str]:
    """How good a fit is, for people."""

    def shown(name: str) -> str:
        value = held[name]
        if value is None or not np.isfinite(value):
            return "not finite: some held-out images have no density"
        return f"{value:.4f} ± {held[f'{name}_standard_error']:.4f}"

    return aligned(
        [
            (f"{held['images']:,} held-out images, bits per dimension", shown("bits_per_dim")),
            ("  of independent pixels", shown("independent_bits_per_dim")),
            ("  the flow's gain, image by image", shown("gain")),
        ],
        indent="",
    )


def _quantiles(flow: Density, train: Pictures, classes: list[str], levels: int, seed: int) -> list[float]:
    some = train[np.arange(0, len(train), max(len(train) // QUANTILE_IMAGES, 1))]
    scores = ImageDensity(flow, levels, seed).log_prob(some.images, one_hot(some.labels, classes))
    return np.quantile(scores.clamp_min(-1e30).numpy(), PERCENTS / 100).tolist()


def _kept(parts: Division, seed: int) -> dict[str, Any]:
    """Some held-out images, for reports without the data: any, not the first, because files may be sorted."""
    most = min(KEPT_IMAGES, max(KEPT_NUMBERS // parts.test.images[0].numel(), FEWEST))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(parts.test))[:most])
    return packed(parts.test[chosen], parts.numbers[chosen])
