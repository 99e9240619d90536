"""Fits a density of images to pixels, and measures its bits per dimension."""

from __future__ import annotations

import copy
import dataclasses
import os
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..diagnostics import bits_per_dim
from ..diagnostics.averages import mean_and_error
from ..distributions.base import Density
from ..errors import InputError, listed
from ..models.base import PERCENTS
from ..models.console import Console
from ..models.options import device_named
from ..models.train import joined, train_on, training_facts
from ..numerics import threads
from ..objectives.divergences import ForwardKL
from ..recipes.by_name import default_image_flow, image_flow_by_name
from ..transforms.multiscale import possible_squeezes
from .labelled import GIVEN, ImageSplits, LabelledImages, divide, packed
from .model import ImageModel, describe_held_out
from .options import ImageOptions
from .pixels import PixelDensity

BATCH, RATE = 64, 3e-3
CLIP, CLIP_PIXELCNN = 1e4, 5.0  # gradients of flows are large: sums over all numbers
DROPPED = 0.1  # share of a tarflow's images trained without their class, for guidance
QUANTILE_IMAGES = 2_000  # held-out images on which percentiles are measured
KEPT_IMAGES, KEPT_NUMBERS, FEWEST = 1_000, 2**21, 16  # held-out images saved with the model, for reports


def fit_images(
    pictures: LabelledImages, options: ImageOptions, console: Console, earlier: ImageModel | None = None
) -> tuple[Density, dict[str, Any]] | None:
    """Fits the images as read, or trains a fitted model further, and measures.

    Returns:
        The density, and the facts saved beside it; None on all processes of torchrun but the first.
    """
    device_named(options.training.device)
    if earlier is not None:
        options = _options_of(earlier, options)
    levels = _levels(options)
    started = time.perf_counter()
    pictures = pictures.with_bits(options.bits)
    pictures.check_levels(levels, f"`levels={levels}`")
    if options.levels is options.bits is None and (note := pictures.fewer_levels(levels)):
        console.note(note)
    classes = _classes(pictures, options, console)
    splits = divide(pictures, options.training.seed)
    name = default_image_flow(pictures.shape) if options.flow == "auto" else options.flow
    if earlier is None:
        flow = _flow(name, pictures, levels, len(classes), options)
    else:
        _refuse_others(earlier, pictures, classes)
        flow = copy.deepcopy(earlier.density)
    console.say(*_describe_data(pictures, splits, levels, classes))
    train, val = splits.train.rows(classes), splits.val.rows(classes)
    objective = ForwardKL(flow, drop=DROPPED if name == "tarflow" and classes else 0.0)
    clip, fresh = CLIP_PIXELCNN if name == "pixelcnn" else CLIP, earlier is None
    result = train_on(
        objective, train, val, options.training, console, batch_size=BATCH, lr=RATE, clip=clip, fresh=fresh
    )
    if int(os.environ.get("RANK", "0")):
        return None  # under torchrun, one process measures and saves
    with threads.using(result.threads):  # the number that training found fastest
        test = splits.test.rows(classes)
        ours = PixelDensity(flow, levels, options.training.seed).log_prob(test.x, test.context)
    held = _held_out(ours, splits, levels)
    scores = ours[:: max(len(ours) // QUANTILE_IMAGES, 1)].clamp_min(-1e30)
    summary = {
        **training_facts(result),
        "training_images": len(splits.train),
        "validation_images": len(splits.val),
        "shape": list(pictures.shape),
        "levels": levels,
        "given": list(options.given),
        "flow": name,
        "parameters": sum(p.numel() for p in flow.parameters()),
        "held_out": held,
        "seconds": round(time.perf_counter() - started, 1),
    }
    console.say(str(summary["verdict"]), *describe_held_out(held))
    console.say(f"{name}, {summary['parameters']:,} parameters, {summary['seconds']:.0f} s")
    history = joined(() if earlier is None else earlier.facts["history"], result.history)
    facts = _facts(pictures, splits, levels, classes, options)
    return flow, {
        **facts,
        "unseen": {"images": min(len(splits.test), QUANTILE_IMAGES)},
        "quantiles": np.quantile(scores.numpy(), PERCENTS / 100).tolist(),
        "history": history,
        "summary": summary,
    }


def _facts(
    pictures: LabelledImages, splits: ImageSplits, levels: int, classes: list[str], options: ImageOptions
) -> dict[str, Any]:
    """The facts saved beside the flow, other than measurements: among them some held-out images, for reports without
    the data, chosen at random, because files may be sorted."""
    most = min(KEPT_IMAGES, max(KEPT_NUMBERS // splits.test.images[0].numel(), FEWEST))
    kept = np.sort(np.random.default_rng(options.training.seed).permutation(len(splits.test))[:most])
    return {
        "kind": "image",
        "shape": list(pictures.shape),
        "levels": levels,
        "resize": options.resize,
        "bits": options.bits,
        "classes": classes,
        "data": pictures.path.name,
        "seed": options.training.seed,
        "held_out": packed(splits.test[kept], splits.numbers[kept]),
        "fingerprint": pictures.fingerprint(),
        "torch": torch.__version__,
    }


def _options_of(earlier: ImageModel, options: ImageOptions) -> ImageOptions:
    """The choices of the fitted model, with new ones for training."""
    summary, bits = earlier.facts["summary"], earlier.facts.get("bits")
    return dataclasses.replace(
        options,
        flow=summary["flow"],
        given=tuple(summary["given"]),
        levels=None if bits else summary["levels"],
        bits=bits,
        training=dataclasses.replace(options.training, seed=earlier.seed),  # so that the images are divided as before
    )


def _refuse_others(earlier: ImageModel, pictures: LabelledImages, classes: list[str]) -> None:
    if list(pictures.shape) != list(earlier.shape) or classes != list(earlier.classes):
        raise InputError(
            f"{pictures.path}: images of shape {tuple(pictures.shape)} with classes {listed(classes) or 'none'}, but "
            f"the model was trained on {tuple(earlier.shape)} and {listed(earlier.classes) or 'none'}"
        )


def _levels(options: ImageOptions) -> int:
    if options.bits is not None and options.levels is not None:
        raise InputError("give no `levels=` as well: this many bits have 2^bits levels", "bits", options.bits)
    if options.bits is not None and not 1 <= options.bits <= 8:
        raise InputError("expected 1 to 8", "bits", options.bits)
    levels = 2**options.bits if options.bits else options.levels or 256
    if not 2 <= levels <= 256:
        raise InputError("expected 2 to 256, how many values a pixel can have", "levels", levels)
    return levels


def _classes(pictures: LabelledImages, options: ImageOptions, console: Console) -> list[str]:
    """The classes to condition on, as requested by the user."""
    classes = pictures.classes
    if options.given and len(classes) < 2:
        what = f"only one class, {classes[0]!r}" if classes else "no classes"
        raise InputError(
            f"{pictures.path} has {what}: give every class a folder, put an array 'labels' into the .npz, or the "
            "labels file beside the idx file",
            "given",
            GIVEN,
        )
    unlabelled = [split for split, part in pictures.splits.items() if part.labels is None]
    if options.given and unlabelled:
        raise InputError(f"{pictures.path} has no labels for {unlabelled[0]!r}", "given", GIVEN)
    if len(classes) > 1 and not options.given:
        console.note(f"{pictures.path}: has {len(classes)} classes; `given={GIVEN!r}` conditions the model on them")
    return classes if options.given else []


def _flow(name: str, pictures: LabelledImages, levels: int, context: int, options: ImageOptions) -> Density:
    _, height, width = pictures.shape
    possible, scales = possible_squeezes(pictures.shape), 1 if options.scales is None else options.scales
    if name == "glow" and not 1 <= scales <= possible:
        multiple = 2 ** max(scales, 1)
        size = [-(-side // multiple) * multiple for side in (height, width)]
        fewer = f"use `scales={possible}` at most" if possible else "use `model='realnvp'`"
        resize = size[0] if height == width else tuple(size)
        raise InputError(
            f"the images of {pictures.path} are {height} x {width}, of which glow can halve {possible} times: {fewer}, "
            f"or `resize={resize}`",
            "scales",
            scales,
        )
    try:
        own = {option: getattr(options, option) for option in ("scales", "layers", "patch", "noise")}
        sizes: dict[str, Any] = {"levels": levels, "context": context, "hidden": options.hidden}
        return image_flow_by_name(name, pictures.shape, **sizes, options=own, seed=options.training.seed)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error), "model", name) from None


def _describe_data(pictures: LabelledImages, splits: ImageSplits, levels: int, classes: list[str]) -> list[str]:
    channels, height, width = pictures.shape
    kind = "grey" if channels == 1 else "RGB"
    train, val, test = len(splits.train), len(splits.val), len(splits.test)
    given = f", given their {GIVEN} (1 of {len(classes)})" if classes else ""
    return [
        f"{pictures.path.name}: {train + val + test:,} images of {height} x {width}, {kind}, {levels} levels{given}",
        f"{train:,} images to train on, {val:,} to tell when to stop, {test:,} held out",
        "",
    ]


def _held_out(ours: Tensor, splits: ImageSplits, levels: int) -> dict[str, Any]:
    """Bits per dimension of the held-out images, by their log-probabilities, beside independent pixels one by one."""
    theirs = IndependentPixels(splits.train.images, levels)(splits.test.images)
    bits, their_bits = (bits_per_dim(values, splits.test.shape, levels=1) for values in (ours, theirs))
    found: dict[str, Any] = {"images": len(splits.test)}
    names = (("bits_per_dim", bits), ("independent_bits_per_dim", their_bits), ("gain", their_bits - bits))
    for name, values in (*names, ("log_likelihood", ours)):
        found[name], found[f"{name}_standard_error"] = mean_and_error(values)
    return found


class IndependentPixels:
    r"""Images without structure: every number follows its own histogram over the training images.

    .. math:: P(x) = \prod_j \frac{n_j(x_j) + 1}{n + K}

    Args:
        images: Training images (n, C, H, W), whole numbers.
        levels: K; numbers run from 0 to K - 1.
    """

    def __init__(self, images: Tensor, levels: int) -> None:
        self.levels = levels
        self.places = levels * torch.arange(images[0].numel())
        counts = torch.ones(len(self.places) * levels)
        for part in images.split(256):
            cells = (self.places + part.flatten(1)).flatten()
            counts += torch.bincount(cells, minlength=len(counts))
        self.log_table = (counts / (len(images) + levels)).log()

    def __call__(self, images: Tensor) -> Tensor:
        """log P of images (n, C, H, W) in nats, of shape (n,), float64."""
        parts = [self.log_table[self.places + part.flatten(1)].double().sum(1) for part in images.split(256)]
        return torch.cat(parts)
