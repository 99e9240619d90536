"""The sections of the report of a model of images, one function each."""

from __future__ import annotations

import base64
import math
from collections import Counter
from typing import Any

import torch
from torch import Tensor

from ... import plot
from ...diagnostics.averages import mean_and_error
from ...images.formats import png
from .. import common
from ..blocks import Cell, Column, Facts, Figure, Picture, Section, Table, Text
from ..cost import cost_section, is_number
from ..figures import to_svg
from ..words import count, fixed, number, plain, plus_minus, seconds, whole
from . import findings
from . import prose as words
from .evidence import ImageEvidence, shown

SIDE = 64  # the least side of an image on the page, in pixels
UNLIKELY = 12


def all_sections(s: ImageEvidence) -> list[Section]:
    """Every section that applies to this model, in reading order."""
    makers = (
        overview,
        data,
        training,
        likelihood,
        samples,
        reconstructions,
        completions,
        interpolations,
        by_class,
        unlikely,
        values,
        cost,
        limits,
    )
    return [section for section in (make(s) for make in makers) if section is not None]


def overview(s: ImageEvidence) -> Section:
    """What was fitted and how well."""
    mean, error, missing = s.mean_bits
    channels, height, width = s.images.shape[1:]
    kind = "grey" if channels == 1 else "colour"
    bound = "" if s.density.exact else " It is a bound: the true value is no larger."
    says = (
        f"A model was fitted to {kind} images of {height} x {width} pixels: a formula that says how probable any such "
        f"image is, and that can draw new ones. This page judges it on {count(len(s.images), 'image')} that were held "
        f"out. The model would store such an image in {plus_minus(mean, error)} bits for each of its "
        f"{whole(s.images[0].numel())} numbers (the mean and its standard error; lower is better).{bound}"
    )
    facts = [("Held-out images", f"{len(s.images):,}", ""), ("Bits per dimension", plus_minus(mean, error), "")]
    facts.append(("The same in nats", number(float(s.log_prob[s.log_prob.isfinite()].mean())), "log P of an image"))
    facts += [(label, plain(value), "") for label, value in s.summary.items()]
    numbers = {"images": len(s.images), "bits_per_dim": mean, "standard_error": error, "not_finite": missing}
    return Section("overview", "In short", [Text(says), Facts(facts), findings.all_findings(s)], numbers)


def data(s: ImageEvidence) -> Section:
    """Some of the held-out images."""
    n, (channels, height, width) = len(s.images), s.images.shape[1:]
    says = (
        f"{count(n, 'held-out image')} of {height} x {width} pixels, {count(channels, 'channel')}, with whole numbers "
        f"from 0 to {s.density.levels - 1}."
    )
    blocks: list[Any] = [Text(says)]
    some = s.images[: shown(s.images, 36)]
    blocks.append(_picture(s, some, "Held-out images.", "The first of them.", _across(s, 12)))
    return Section("data", "The images", blocks)


def training(s: ImageEvidence) -> Section | None:
    """The curves, in bits per dimension."""
    scale = 1 / (math.log(2) * s.images[0].numel())
    losses = ("train_loss", "validation_loss")
    history = [{**row, **{key: row[key] * scale for key in losses if is_number(row.get(key))}} for row in s.history]
    unit = "bits per dimension"
    return common.curves(history, "Lower is better.", "images", unit, "best_bits_per_dim", f" {unit}")


def likelihood(s: ImageEvidence) -> Section:
    """Bits per dimension of held-out images, training images, the model's own, and independent pixels."""
    mean, error, missing = s.mean_bits
    own, own_error = mean_and_error(s.density.bits(s.sample_log_prob))
    rows = [common.mean_row("held-out images", mean, error, len(s.images) - missing)]
    numbers: dict[str, Any] = {"held_out": mean, "held_out_error": error, "own_samples": own}
    if s.train_log_prob is not None:
        known, known_error = mean_and_error(s.density.bits(s.train_log_prob))
        rows.append(common.mean_row("images it was trained on", known, known_error, len(s.train_log_prob)))
        numbers |= {"train": known, "train_error": known_error}
    rows.append(common.mean_row("its own samples", own, own_error, len(s.samples)))
    for name, label in (
        ("bits_per_dim", "at the fit: held-out images"),
        ("independent_bits_per_dim", "at the fit: the same by independent pixels"),
        ("gain", "at the fit: gain, image by image"),
    ):
        value = (s.baseline or {}).get(name)
        if s.baseline is not None and value is not None:
            rows.append(common.mean_row(label, value, s.baseline[f"{name}_standard_error"], s.baseline["images"]))
            numbers[f"fit_{name}"] = value
    heads = [Column("images", False), Column("bits per dimension"), Column("how many")]
    blocks: list[Any] = [
        Text(words.BITS if s.density.exact else f"{words.BITS} {words.BOUND}"),
        Table("bits", "Mean bits per dimension ± its standard error; lower is better.", heads, rows, sortable=False),
    ]
    finite, theirs = s.bits[s.bits.isfinite()], s.density.bits(s.sample_log_prob)
    theirs = theirs[theirs.isfinite()]
    if len(finite) and len(theirs):
        alt = f"Histogram of bits per dimension: held-out images average {number(mean)}, its own {number(own)}."
        blocks.append(Figure(to_svg(plot.bits(finite, theirs), "bits", alt), words.HISTOGRAM))
    return Section("likelihood", "How well it fits", blocks, numbers)


def samples(s: ImageEvidence) -> Section:
    """The model's own images, as drawn."""
    classes = ""
    if s.classes:
        classes = f" Their classes come in turn, row by row from the left: {', '.join(s.classes[:20])}."
    columns = len(s.classes) if 4 <= len(s.classes) <= 16 else _across(s, 12)
    blocks: list[Any] = [Text(f"Images that the model drew from noise, not chosen.{classes}")]
    blocks.append(_picture(s, s.samples, "Images drawn from the model.", "Samples of the model itself.", columns))
    if s.cool is not None:
        caption = "The same noise at a temperature of 0.7: closer to what the model finds typical, and less varied."
        blocks.append(_picture(s, s.cool, "Images drawn at a lower temperature.", caption, columns))
    return Section("samples", "Images it invents", blocks)


def reconstructions(s: ImageEvidence) -> Section | None:
    """Round trips, and reconstructions from the coarsest latents."""
    trip = s.round_trip
    if trip is None:
        return None
    lines, stacks = ["held-out images", "the same after the map and its inverse"], [trip.images, trip.back]
    says = words.ROUND_TRIP
    if trip.coarse is not None:
        lines.append("what is left when only the latents of the coarsest scale are kept and the others set to 0")
        stacks.append(trip.coarse)
        says += f" {words.COARSE}"
    verdict = findings.came_back(trip)
    caption = "; ".join(f"Row {k + 1}: {line}" for k, line in enumerate(lines)) + "."
    picture = _picture(s, torch.cat(stacks), "Images, and the same from their latents.", caption, len(trip.images))
    blocks = [Text(says), [verdict] if verdict else [], picture]
    numbers = {"same": trip.same, "furthest": trip.furthest}
    return Section("reconstructions", "There and back", blocks, numbers)


def completions(s: ImageEvidence) -> Section | None:
    """Other lower halves for held-out images, by a model without latents."""
    if s.completions is None:
        return None
    ends = s.completions.shape[1] - 1
    caption = f"Row 1: held-out images. The {ends} rows below: their upper halves, each with a lower half of the model."
    stacked = s.completions.transpose(0, 1).flatten(0, 1)
    picture = _picture(s, stacked, "Images with lower halves drawn anew.", caption, len(s.completions))
    return Section("completions", "Other endings", [Text(words.COMPLETIONS), picture])


def interpolations(s: ImageEvidence) -> Section | None:
    """From image to image through the latents."""
    if s.interpolations is None:
        return None
    pairs, steps = s.interpolations.shape[:2]
    caption = f"{pairs} pairs of held-out images at the left and right ends, and {steps - 2} images between each."
    picture = _picture(s, s.interpolations.flatten(0, 1), "Images on the way from one to another.", caption, steps)
    given = " The class goes over from one to the other as well." if s.classes else ""
    return Section("interpolations", "From one image to another", [Text(words.BETWEEN + given), picture])


def by_class(s: ImageEvidence) -> Section | None:
    """Bits per dimension for each class."""
    if s.labels is None or not 2 <= len(set(s.labels)) <= 100:
        return None
    counts, bits = Counter(s.labels), s.bits
    rows, numbers = [], {}
    for name in sorted(counts, key=lambda label: (len(label), label)):
        chosen = bits[torch.tensor([label == name for label in s.labels]) & bits.isfinite()]
        mean, error = mean_and_error(chosen) if len(chosen) else (math.nan, math.nan)
        rows.append([Cell(name, name), Cell(plus_minus(mean, error), mean), Cell(f"{counts[name]:,}", counts[name])])
        numbers[name] = mean
    heads = [Column("class", False), Column("bits per dimension"), Column("held-out images")]
    told = "The model is told the class." if s.classes else "The model is not told the class."
    table = Table("classes", "Mean ± standard error by class; the headings sort.", heads, rows)
    return Section("classes", "Class by class", [Text(told), table], numbers)


def unlikely(s: ImageEvidence) -> Section:
    """The least likely held-out images and, for contrast, the likeliest."""
    order = s.log_prob.argsort(stable=True)
    worst, best = order[:UNLIKELY].tolist(), order.flip(0)[:UNLIKELY].tolist()
    heads = [Column("place"), Column("image", False), *([Column("class", False)] if s.labels else [])]
    heads += [Column("log P, nats"), Column("bits per dimension"), *([Column("percentile")] if s.percentile else [])]
    percentiles = [] if s.percentile is None else s.percentile(s.log_prob[worst].numpy())
    rows, numbers = [], []
    for place, index in enumerate(worst):
        value, bits = float(s.log_prob[index]), float(s.bits[index])
        cells = [Cell(str(place + 1), place + 1), Cell(s.names[index], s.names[index])]
        cells += [Cell(s.labels[index], s.labels[index])] if s.labels else []
        cells += [Cell(fixed(value, 1), value), Cell(fixed(bits, 3), bits)]
        if s.percentile is not None:
            cells.append(Cell(f"{percentiles[place]:.2f}", float(percentiles[place])))
        rows.append(cells)
        numbers.append({"image": s.names[index], "log_density": value, "bits_per_dim": bits})
    across = _across(s, UNLIKELY)
    blocks = [
        Text(words.UNLIKELY),
        _picture(s, s.images[worst], "The least likely images.", "The least likely, from the least on.", across),
        Table("unlikely-images", "The same images, in the same order; the headings sort.", heads, rows),
        _picture(s, s.images[best], "The likeliest images.", "For contrast, the likeliest of all.", across),
    ]
    return Section("unlikely", "The least likely images", blocks, {"images": numbers})


def values(s: ImageEvidence) -> Section:
    """How often each value occurs, and the mean image."""
    figure = plot.levels(s.images.numpy(), s.samples.numpy(), s.density.levels)
    alt = "How often every value of a pixel occurs, in held-out images and in images of the model."
    means = [images.double().mean(0, keepdim=True).round().to(torch.uint8) for images in (s.images, s.samples)]
    caption = f"The mean of the held-out images, and of {count(len(s.samples), 'sample')}."
    blocks = [
        Text("What the eye does not see: do pixels take each value as often as they should, and in the right places?"),
        Figure(to_svg(figure, "levels", alt), "Filled: held-out images. Outline: images drawn from the model."),
        _picture(s, torch.cat(means), "Mean images.", caption, 2),
    ]
    return Section("values", "Pixel by pixel", blocks)


def cost(s: ImageEvidence) -> Section:
    """What it cost, and how to reproduce it."""
    timings = []
    if s.timings:
        score, draw = s.seconds
        timings.append(("Scoring", seconds(score), f"for {len(s.images):,} images"))
        timings.append(("Drawing", seconds(draw), f"for {len(s.samples):,} images"))
    return cost_section(s.density.flow, s.history, timings, s.seed, s.command)


def limits(s: ImageEvidence) -> Section:
    """What the reader should not conclude from the report."""
    return Section("limits", "What these numbers do not say", [Text(text) for text in words.LIMITS])


def _picture(s: ImageEvidence, images: Tensor, alt: str, caption: str, columns: int) -> Picture:
    """Images in a grid of complete rows, enlarged without blur if they are small."""
    columns = min(columns, len(images))
    images = images[: len(images) // columns * columns]
    full = (images.float() * (255 / (s.density.levels - 1))).round().byte()
    zoom = max(1, SIDE // max(images.shape[-2:]))
    address = "data:image/png;base64," + base64.b64encode(png(full, columns=columns)).decode()
    return Picture(address, alt, caption, zoom * (columns * (images.shape[-1] + 1) + 1))


def _across(s: ImageEvidence, most: int) -> int:
    """The number of images in a row of the page."""
    side = max(s.images.shape[-2:])
    return max(2, min(most, 900 // max(side, SIDE)))
