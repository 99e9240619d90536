"""Opens saved models of tables or images by their folders."""

from __future__ import annotations

from pathlib import Path

from ..models.base import FittedDensity
from ..models.device import device_named
from ..models.saved import kind_of


def open_model(path: Path, device: str = "cpu") -> FittedDensity:
    """The model in a folder.

    Raises:
        InputError: there is none, it is damaged, or the device does not exist.
    """
    from ..images.density import ImageDensity
    from ..tables.density import TableDensity

    kind: type[FittedDensity] = ImageDensity if kind_of(path) == ImageDensity.kind else TableDensity
    return kind.load(path, device_named(device))
