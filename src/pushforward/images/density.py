"""Images as an object, beside :class:`~pushforward.TableDensity` and with the same verbs.

Fitting is implemented here; what can be asked afterwards is in ``fitted.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

from ..models.console import Console
from .fit import fit_images
from .fitted import FittedImages
from .labelled import LabelledImages, read_any
from .options import ImageOptions


class ImageDensity(FittedImages):
    """The probability of images, learnt by a normalizing flow or a PixelCNN; log-probabilities are of whole images.

    Images are a uint8 array (n, H, W), (n, H, W, 3) or (n, 3, H, W), or a path: a folder of pictures, a NumPy file, or
    an MNIST-style idx file. Models are saved in the shell's format, and each can read the other's.

    Args:
        model: ``glow``, ``realnvp``, ``pixelcnn`` or ``tarflow``; ``auto`` takes glow if the images can be halved.
        levels: Pixels hold whole numbers from 0 to this, less one; 256 if None.
        bits: Keep only this many leading bits of every number's 8.
        resize: The height and width that each image is resized to; one number for both.
        given: ``("class",)`` to condition on the images' classes.
        scales: For glow, how often the image is halved.
        patch, noise: For tarflow, the side of a patch, and the standard deviation of Gaussian noise on images in
            [-1, 1], which is removed from samples: they become better, at the cost of bits.
        layers, hidden: The model's layers, and the width of its hidden layers.
        steps, epochs, budget: How long to train: batches, passes over the images or seconds,
            the last also as in ``"2m"``; at most one of them.
        batch_size, lr, patience, device: As in :func:`pushforward.fit`.
        random_state: Seed of everything random.

    Attributes:
        density: The fitted density.
        summary_: Held-out figures and a record of the training.
        notes_: Decisions made about the images, in sentences.
    """

    def __init__(
        self,
        model: str = "auto",
        *,
        levels: int | None = None,
        bits: int | None = None,
        resize: int | tuple[int, int] | None = None,
        given: Sequence[str] = (),
        scales: int | None = None,
        patch: int | None = None,
        noise: float | None = None,
        layers: int | None = None,
        hidden: Sequence[int] | None = None,
        steps: int | None = None,
        epochs: int | None = None,
        budget: float | str | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        patience: int | None = None,
        device: str = "auto",
        random_state: int = 0,
    ) -> None:
        self._keep(locals(), ImageOptions)

    def fit(self, images: Any, labels: Any = None, *, more: float | str | None = None, progress: bool = False) -> Self:
        """Fits the probability of the images.

        Args:
            images: An array or a path.
            labels: The class of each, if ``images`` is an array.
            more: Train the fitted model for this much longer, in seconds or as in ``"2m"``.
            progress: Print what the shell would print.

        Raises:
            InputError: the images or an argument cannot be used; says why.
        """
        if more is not None:
            self._require_fit()
            self.options = dataclasses.replace(self.options, training=self.options.training.for_more(more))
        resize = self.options.resize if more is None else self.facts.get("resize")
        read = read_any(images, labels, resize)
        command = f"pf.{self.expression}.fit({read.path})"
        self.fit_read(read, Console(quiet=not progress), command, further=more is not None)
        return self

    def fit_read(self, images: LabelledImages, console: Console, command: str, *, further: bool = False) -> None:
        """Fits images already read, or continues training on them, and records the command; used by the shell.

        Raises:
            InputError: the images or an option cannot be used; says why.
        """
        fitted = fit_images(images, self.options, console, self if further else None)
        self.notes_ = console.notes
        if fitted is not None:
            density, facts = fitted
            self._hold(density, {**facts, "command": command})
