"""Options for images: how their pixels are read, and which flow is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..models.options import TrainingOptions


@dataclass(frozen=True)
class ImageOptions:
    """The choices of :class:`~pushforward.ImageDensity`; the shell's ``fit`` has a flag for each.

    Args:
        flow: ``glow``, ``realnvp``, ``pixelcnn`` or ``tarflow``; ``auto`` chooses by the images' size.
        layers, hidden: The flow's layers, on each scale for glow, and the width of its hidden layers.
        scales: For glow, how often the image is halved.
        patch: For tarflow, the side of a patch.
        noise: For tarflow, Gaussian noise on images in [-1, 1], which is removed from samples.
        given: ``("class",)`` to condition on the images' classes.
        resize: The height and width that each image is resized to.
        levels: Pixels hold whole numbers from 0 to this, less one.
        bits: Keep only this many leading bits of every number's 8.
        training: How to train.
    """

    flow: str = "auto"
    layers: int | None = None
    hidden: Sequence[int] | None = None
    scales: int | None = None
    patch: int | None = None
    noise: float | None = None
    given: Sequence[str] = ()
    resize: tuple[int, int] | None = None
    levels: int | None = None
    bits: int | None = None
    training: TrainingOptions = field(default_factory=TrainingOptions)
