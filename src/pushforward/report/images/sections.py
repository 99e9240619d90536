"""The sections that only images have: pictures of them, what the model makes of them, and their scores."""

from __future__ import annotations

import base64
from collections import Counter
from functools import partial

import torch
from torch import Tensor

from ... import plot
from ...errors import counted
from ...images.formats import SIDE, png
from ...images.labelled import full_range
from ..blocks import Blocks, Figure, Findings, Heading, Listing, Picture, section
from ..evidence import Mean
from ..svg import to_svg
from ..words import fixed
from .evidence import ImageEvidence, shown

UNLIKELY = 12
COARSE = (
    " Half of the latents leave at each scale. What the last scale alone remembers of an image shows what the others "
    "were for: texture and exact edges, if all is well."
)


@section("data", "The images", ImageEvidence)
def pictures(e: ImageEvidence) -> Blocks:
    """Some of the held-out images."""
    n, (channels, height, width) = len(e.data), e.data.shape[1:]
    yield (
        f"{counted(n, 'held-out image')} of {height} x {width} pixels, {counted(channels, 'channel')}, with whole "
        f"numbers from 0 to {e.model.levels - 1}."
    )
    yield picture(e, e.data[: shown(e.data, 36)], "Held-out images.", "The first of them.", across(e))


@section("samples", "Images it invents", ImageEvidence)
def sampled_images(e: ImageEvidence) -> Blocks:
    """The model's own images, as drawn."""
    classes = ""
    if e.classes:
        classes = f" Their classes come in turn, row by row from the left: {', '.join(e.classes[:20])}."
    columns = len(e.classes) if 4 <= len(e.classes) <= 16 else across(e)
    yield f"Images that the model drew from noise, not chosen.{classes}"
    yield picture(e, e.own.data, "Images drawn from the model.", "Samples of the model itself.", columns)
    if not e.model.exact:
        caption = "The same noise at a temperature of 0.7: closer to what the model finds typical, and less varied."
        yield picture(e, e.sampled(temperature=0.7), "Images drawn at a lower temperature.", caption, columns)


@section("values", "Pixel by pixel", ImageEvidence)
def pixel_values(e: ImageEvidence) -> Blocks:
    """How often each value occurs, and the mean image."""
    yield "What the eye does not see: do pixels take each value as often as they should, and in the right places?"
    figure = plot.levels(e.data.numpy(), e.own.data.numpy(), e.model.levels)
    alt = "How often every value of a pixel occurs, in held-out images and in images of the model."
    yield Figure(to_svg(figure, "levels", alt), "Filled: held-out images. Outline: images drawn from the model.")
    means = [images.double().mean(0, keepdim=True).round().to(torch.uint8) for images in (e.data, e.own.data)]
    caption = f"The mean of the held-out images, and of {counted(len(e.own.data), 'sample')}."
    yield picture(e, torch.cat(means), "Mean images.", caption, 2)


@section("reconstructions", "There and back", ImageEvidence)
def reconstructions(e: ImageEvidence) -> Blocks:
    """Round trips, and reconstructions from the coarsest latents."""
    trip = e.round_trip
    if trip is None:
        return
    lines = {"held-out images": trip.images, "the same after the map and its inverse": trip.back}
    if trip.coarse is not None:
        lines["what is left when only the latents of the coarsest scale are kept and the others set to 0"] = trip.coarse
    yield (
        "A flow is invertible: every image has one latent, and the latent gives back the image, to the last level of "
        f"every pixel. Nothing is compressed away.{'' if trip.coarse is None else COARSE}"
    )
    yield Findings([trip.finding])
    caption = ". ".join(f"Row {k}: {line}" for k, line in enumerate(lines, 1)) + "."
    stacked = torch.cat(list(lines.values()))
    yield picture(e, stacked, "Images, and the same from their latents.", caption, len(trip.images))
    yield {"same": trip.same, "furthest": trip.furthest}


@section("completions", "Other endings", ImageEvidence)
def completions(e: ImageEvidence) -> Blocks:
    """Other lower halves for held-out images, by a model without latents."""
    if e.completions is None:
        return
    yield (
        "This model has no latents: it goes through an image pixel by pixel, each given all before it. So it can keep "
        "the upper half of an image and draw the rest."
    )
    ends = e.completions.shape[1] - 1
    caption = f"Row 1: held-out images. The {ends} rows below: their upper halves, each with a lower half of the model."
    stacked = e.completions.transpose(0, 1).flatten(0, 1)
    yield picture(e, stacked, "Images with lower halves drawn anew.", caption, len(e.completions))


@section("interpolations", "From one image to another", ImageEvidence)
def interpolations(e: ImageEvidence) -> Blocks:
    """From image to image through the latents."""
    if e.interpolations is None:
        return
    given = " The class goes over from one to the other as well." if e.classes else ""
    yield (
        "Two images are carried to their latents, and points between the latents are carried back. Where the model has "
        "learnt shapes, the images between are plausible; where it has learnt pixels, one fades into the other."
        f"{given}"
    )
    pairs, steps = e.interpolations.shape[:2]
    caption = f"{pairs} pairs of held-out images at the left and right ends, and {steps - 2} images between each."
    yield picture(e, e.interpolations.flatten(0, 1), "Images on the way from one to another.", caption, steps)


@section("classes", "Class by class", ImageEvidence)
def by_class(e: ImageEvidence) -> Blocks:
    """Bits per dimension for each class."""
    if e.labels is None or not 2 <= len(set(e.labels)) <= 100:
        return
    yield "The model is told the class." if e.classes else "The model is not told the class."
    counts = Counter(e.labels)
    means = {
        name: Mean.over(e.measured[torch.tensor([label == name for label in e.labels])])
        for name in sorted(counts, key=lambda label: (len(label), label))
    }
    rows = [(name, mean, counts[name]) for name, mean in means.items()]
    heads = [Heading("class"), Heading("bits per dimension", str), Heading("held-out images", "{:,}".format)]
    yield Listing("classes", "Mean ± standard error by class; the headings sort.", heads, rows)
    yield {name: mean.value for name, mean in means.items()}


@section("unlikely", "The least likely images", ImageEvidence)
def unlikely_images(e: ImageEvidence) -> Blocks:
    """The least likely held-out images and, for contrast, the likeliest."""
    order = e.log_prob.argsort(stable=True)
    worst, best = order[:UNLIKELY].tolist(), order.flip(0)[:UNLIKELY].tolist()
    percentiles = e.percentile(e.log_prob[worst].numpy()).tolist()
    yield (
        "These held-out images have the lowest probability. Busy images are always less probable than plain ones, so "
        "unlikely need not mean odd: look, before you conclude. The percentile says how many in a hundred of "
        f"{e.others} are less likely still."
    )
    yield picture(e, e.data[worst], "The least likely images.", "The least likely, from the least on.", across(e))
    rows, numbers = [], []
    for place, (index, percentile) in enumerate(zip(worst, percentiles, strict=True), 1):
        value, bits = float(e.log_prob[index]), float(e.measured[index])
        rows.append([place, e.names[index], *([e.labels[index]] if e.labels else []), value, bits, percentile])
        numbers.append({"image": e.names[index], "log_density": value, "bits_per_dim": bits})
    heads = [Heading("place", str), Heading("image"), *([Heading("class")] if e.labels else [])]
    heads += [Heading("log P, nats", partial(fixed, decimals=1))]
    heads += [Heading("bits per dimension", partial(fixed, decimals=3)), Heading("percentile", "{:.2f}".format)]
    yield Listing("unlikely-images", "The same images, in the same order; the headings sort.", heads, rows)
    yield picture(e, e.data[best], "The likeliest images.", "For contrast, the likeliest of all.", across(e))
    yield {"images": numbers}


def picture(e: ImageEvidence, images: Tensor, alt: str, caption: str, columns: int) -> Picture:
    """Images in a grid of complete rows, enlarged without blur if they are small."""
    columns = min(columns, len(images))
    images = images[: len(images) // columns * columns]
    zoom = max(1, SIDE // max(images.shape[-2:]))
    content = base64.b64encode(png(full_range(images, e.model.levels), columns=columns)).decode()
    return Picture(f"data:image/png;base64,{content}", alt, caption, zoom * (columns * (images.shape[-1] + 1) + 1))


def across(e: ImageEvidence) -> int:
    """The number of images in a row of the page."""
    return max(2, min(12, 900 // max(*e.data.shape[-2:], SIDE)))
