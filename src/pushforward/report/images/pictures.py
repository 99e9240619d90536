"""The sections that show images as they are: held-out ones, the model's own, and their pixels."""

from __future__ import annotations

import base64

import torch
from torch import Tensor

from ... import plot
from ...images.formats import png
from ...images.labelled import full_range
from ..blocks import Figure, Picture, Text
from ..section import Blocks, section
from ..svg import to_svg
from ..words import count
from .evidence import ImageEvidence, shown

SIDE = 64  # the least side of an image on the page, in pixels


@section("data", "The images", ImageEvidence)
def pictures(e: ImageEvidence) -> Blocks:
    """Some of the held-out images."""
    n, (channels, height, width) = len(e.data), e.data.shape[1:]
    yield Text(
        f"{count(n, 'held-out image')} of {height} x {width} pixels, {count(channels, 'channel')}, with whole numbers "
        f"from 0 to {e.model.levels - 1}."
    )
    yield picture(e, e.data[: shown(e.data, 36)], "Held-out images.", "The first of them.", across(e))


@section("samples", "Images it invents", ImageEvidence)
def sampled_images(e: ImageEvidence) -> Blocks:
    """The model's own images, as drawn."""
    classes = ""
    if e.classes:
        classes = f" Their classes come in turn, row by row from the left: {', '.join(e.classes[:20])}."
    columns = len(e.classes) if 4 <= len(e.classes) <= 16 else across(e)
    yield Text(f"Images that the model drew from noise, not chosen.{classes}")
    yield picture(e, e.own.data, "Images drawn from the model.", "Samples of the model itself.", columns)
    if not e.model.exact:
        caption = "The same noise at a temperature of 0.7: closer to what the model finds typical, and less varied."
        yield picture(e, e.sampled(temperature=0.7), "Images drawn at a lower temperature.", caption, columns)


@section("values", "Pixel by pixel", ImageEvidence)
def pixel_values(e: ImageEvidence) -> Blocks:
    """How often each value occurs, and the mean image."""
    yield Text("What the eye does not see: do pixels take each value as often as they should, and in the right places?")
    figure = plot.levels(e.data.numpy(), e.own.data.numpy(), e.model.levels)
    alt = "How often every value of a pixel occurs, in held-out images and in images of the model."
    yield Figure(to_svg(figure, "levels", alt), "Filled: held-out images. Outline: images drawn from the model.")
    means = [images.double().mean(0, keepdim=True).round().to(torch.uint8) for images in (e.data, e.own.data)]
    caption = f"The mean of the held-out images, and of {count(len(e.own.data), 'sample')}."
    yield picture(e, torch.cat(means), "Mean images.", caption, 2)


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
