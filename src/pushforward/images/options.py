"""The options for images: how their pixels are read, and which density is fitted."""

from __future__ import annotations

from dataclasses import dataclass

from cyclopts import Parameter

from ..errors import InputError
from ..models.options import FittingOptions
from ..models.typed import Size, Whole


@Parameter(name="*", group="Images")
@dataclass(frozen=True)
class PixelOptions:
    """What only images take.

    Args:
        resize: The side that each image is brought to, or height,width.
        levels: Pixels hold whole numbers from 0 to one less than this [default: 256].
        bits: Keep only this many of the 8 bits of every number, the first ones.
        scales: For glow: how many times the image is halved [default: up to 3 times, from its size].
        patch: For tarflow: the side of its patches [default: up to 4, as long as there are 16].
        noise: For tarflow: learn images with Gaussian noise of this standard deviation, where black is -1 and white 1:
            0.05 costs bits and makes better samples, which are freed of it.
    """

    resize: Size = None
    levels: Whole | None = None
    bits: Whole | None = None
    scales: Whole | None = None
    patch: Whole | None = None
    noise: float | None = None


@dataclass(frozen=True)
class ImageOptions(PixelOptions, FittingOptions):
    """All options of :class:`~pushforward.ImageDensity` and of the shell's ``fit`` of images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.resize, int):
            object.__setattr__(self, "resize", (self.resize, self.resize))
        if self.resize is not None and min(self.resize) < 1:
            raise InputError("expected at least 1 pixel", "resize", self.resize)
