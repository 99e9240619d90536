"""Image models by name, with suitable sizes, as used by the command line."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..distributions.base import Density
from ..transforms.multiscale import possible_squeezes
from . import images as zoo_images
from . import tables as zoo
from .tarflow import tarflow

IMAGE_FLOWS = {"glow": (8, 64), "realnvp": (6, 32), "pixelcnn": (6, 32), "tarflow": (4, 96)}
"""For images: default number of layers and their width."""


def image_flow_by_name(
    name: str,
    shape: Sequence[int],
    *,
    levels: int = 256,
    context: int = 0,
    scales: int | None = None,
    layers: int | None = None,
    hidden: Sequence[int] | None = None,
    patch: int | None = None,
    noise: float | None = None,
    seed: int = 0,
) -> Density:
    """A new model of images of whole numbers from 0 to levels - 1; leaves the global random state unchanged.

    Args:
        name: One of ``IMAGE_FLOWS``.
        shape: (C, H, W).
        levels: Number of values of each number.
        context: Features of the context, 0 for none.
        scales: How many times Glow halves the image; by default up to three, as long as a side keeps 4 pixels.
        layers: Glow's steps on each scale, RealNVP's layers, PixelCNN's residual blocks, TarFlow's blocks.
        hidden: The width of the networks.
        patch: The side of TarFlow's patches; by default up to 4, as long as there are 16 of them.
        noise: For TarFlow, the standard deviation of Gaussian noise on images in [-1, 1]; by default uniform noise.
        seed: Seed of the weights.

    Raises:
        ValueError: the name is unknown, or a size does not fit.
    """
    if name not in IMAGE_FLOWS:
        raise ValueError(f"there is no image flow {name!r}; choose one of {', '.join(IMAGE_FLOWS)}")
    if scales is not None and name != "glow":
        raise ValueError(f"scales apply to glow only, but the flow is {name}")
    if name != "tarflow" and (patch is not None or noise is not None):
        raise ValueError(f"patch and noise apply to tarflow only, but the flow is {name}")
    if hidden is not None and len(hidden) != 1:
        raise ValueError(f"image flows have one width, as in hidden=64, got {','.join(map(str, hidden))}")
    depth, width = IMAGE_FLOWS[name]
    depth, width = layers or depth, hidden[0] if hidden else width
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "pixelcnn":
            return zoo_images.pixelcnn(shape, levels=levels, context=context, hidden=width, layers=depth)
        if name == "realnvp":
            return zoo_images.pixels(
                zoo.realnvp(shape, context=context, layers=depth, hidden=(width, width)), levels=levels
            )
        if name == "tarflow":
            patch = default_patch(shape) if patch is None else patch
            flow = tarflow(
                shape,
                patch=patch,
                blocks=depth,
                width=width,
                heads=default_heads(width),
                context=context,
                noise=noise or 0.0,
                bins=0 if noise else 8,
                inner=0 if noise else width,
            )
            return zoo_images.pixels(flow, levels=levels)
        scales = default_scales(shape) if scales is None else scales
        flow = zoo_images.glow(shape, context=context, levels=scales, steps=depth, hidden=width)
        return zoo_images.pixels(flow, levels=levels)


def default_image_flow(shape: Sequence[int]) -> str:
    """Glow if the image can be halved, RealNVP if a side is odd."""
    return "glow" if possible_squeezes(shape) else "realnvp"


def default_scales(shape: Sequence[int]) -> int:
    """How many times Glow halves an image by default."""
    roomy = [times for times in (1, 2, 3) if times <= possible_squeezes(shape) and min(shape[1:]) >= 4 * 2**times]
    return max(roomy, default=1)


def default_patch(shape: Sequence[int]) -> int:
    """The side of a patch by default: up to 4, as long as there are 16 patches."""
    _, height, width = shape
    return max(p for p in (1, 2, 4) if not (height % p or width % p) and (p == 1 or height * width >= 16 * p * p))


def default_heads(width: int) -> int:
    """The number of attention heads, of about 32 units each."""
    return max(heads for heads in range(1, max(width // 32, 1) + 1) if width % heads == 0)
