"""The sections about what a model makes of images: there and back, from one to another, other endings."""

from __future__ import annotations

import torch

from ..blocks import Findings, Text
from ..section import Blocks, Numbers, section
from .evidence import ImageEvidence
from .pictures import picture

COARSE = (
    " Half of the latents leave at each scale. What the last scale alone remembers of an image shows what the others "
    "were for: texture and exact edges, if all is well."
)


@section("reconstructions", "There and back", ImageEvidence)
def reconstructions(e: ImageEvidence) -> Blocks:
    """Round trips, and reconstructions from the coarsest latents."""
    trip = e.round_trip
    if trip is None:
        return
    lines = {"held-out images": trip.images, "the same after the map and its inverse": trip.back}
    if trip.coarse is not None:
        only = "what is left when only the latents of the coarsest scale are kept and the others set to 0"
        lines[only] = trip.coarse
    yield Text(
        "A flow is invertible: every image has one latent, and the latent gives back the image, to the last level of "
        f"every pixel. Nothing is compressed away.{'' if trip.coarse is None else COARSE}"
    )
    yield Findings([trip.finding])
    caption = "; ".join(f"Row {k}: {line}" for k, line in enumerate(lines, 1)) + "."
    stacked = torch.cat(list(lines.values()))
    yield picture(e, stacked, "Images, and the same from their latents.", caption, len(trip.images))
    yield Numbers({"same": trip.same, "furthest": trip.furthest})


@section("completions", "Other endings", ImageEvidence)
def completions(e: ImageEvidence) -> Blocks:
    """Other lower halves for held-out images, by a model without latents."""
    if e.completions is None:
        return
    yield Text(
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
    yield Text(
        "Two images are carried to their latents, and points between the latents are carried back. Where the model has "
        "learnt shapes, the images between are plausible; where it has learnt pixels, one fades into the other."
        f"{given}"
    )
    pairs, steps = e.interpolations.shape[:2]
    caption = f"{pairs} pairs of held-out images at the left and right ends, and {steps - 2} images between each."
    yield picture(e, e.interpolations.flatten(0, 1), "Images on the way from one to another.", caption, steps)
