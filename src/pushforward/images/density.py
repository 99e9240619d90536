"""Images as an object, beside :class:`~pushforward.TableDensity` and with the same verbs.

The class is a list of verbs; each is done in a file of its own next to this one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.base import FittedDensity
from ..models.compare import compare
from ..models.console import Console
from ..models.notebook import called
from ..models.options import TrainingOptions, seconds
from ..models.report import check_page, write
from ..report.images.density import ImageModel
from ..tables.errors import InputError, arguments_not_flags
from ..tables.formats.source import Location, Source
from .fit import fit_images
from .formats import channels_first, resized
from .held_out import fitting
from .labelled import LabelledImages, numbered, one_hot, read_pictures
from .options import ImageOptions
from .sample import check_guidance, classes_of, sample_file
from .score import score_file
from .subject import ImageSubject


class ImageDensity(FittedDensity):
    """The probability of images, learnt by a normalizing flow or a PixelCNN; log-probabilities are of whole images.

    Images are a uint8 array (n, H, W), (n, H, W, 3) or (n, 3, H, W), or a path: a folder of pictures, a NumPy file, or
    an MNIST-style idx file. Models are saved as those of the shell, which read each other's.

    Args:
        model: ``glow``, ``realnvp``, ``pixelcnn`` or ``tarflow``; ``auto`` takes glow where the images can be halved.
        levels: Pixels hold whole numbers from 0 to this, less one; 256 where it is None.
        bits: Keep the first so many of the 8 bits of every number.
        resize: The height and width that each image is brought to.
        given: ``("class",)`` to condition on the images' classes.
        scales: For glow, how often the image is halved.
        patch, noise: For tarflow, the side of a patch, and the standard deviation of Gaussian noise on images in
            [-1, 1]: for better samples, which are freed of it, at the cost of bits.
        layers, hidden: The model's layers, and the width of its hidden layers.
        steps, epochs, budget: How long to train: batches, passes over the images or seconds,
            also as in ``"2m"``; at most one of them.
        batch_size, lr, patience, device: As in :func:`pushforward.fit`.
        random_state: Fixes everything that is drawn at random.

    Attributes:
        density: The fitted density.
        summary_: Held-out figures and how the training went.
        notes_: What was decided about the images, in sentences.
    """

    kind: ClassVar[str] = "image"

    def __init__(
        self,
        model: str = "auto",
        *,
        levels: int | None = None,
        bits: int | None = None,
        resize: tuple[int, int] | None = None,
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
        self.options = ImageOptions(
            flow=model,
            layers=layers,
            hidden=hidden,
            scales=scales,
            patch=patch,
            noise=noise,
            given=tuple(given),
            resize=resize,
            levels=levels,
            bits=bits,
            training=TrainingOptions(
                steps=steps,
                epochs=epochs,
                budget=seconds(budget, "budget"),
                batch_size=batch_size,
                lr=lr,
                patience=patience,
                device=device,
                seed=random_state,
            ),
        )
        self.notes_: list[str] = []

    @classmethod
    def with_options(cls, options: ImageOptions) -> Self:
        """An object with all the choices that the shell has, too."""
        model = cls()
        model.options = options
        return model

    @arguments_not_flags()
    def fit(self, images: Any, labels: Any = None, *, more: float | str | None = None, progress: bool = False) -> Self:
        """Fits the probability of the images.

        Args:
            images: An array or a path.
            labels: The class of each, where ``images`` is an array.
            more: Train the fitted model further for so long, in seconds or as in ``"2m"``.
            progress: Print what the shell would print.

        Raises:
            InputError: the images or an argument cannot be used; says why.
        """
        if more is not None:
            self._require_fit()
            self.options = dataclasses.replace(self.options, training=self.options.training.for_more(more))
        resize = self.options.resize if more is None else self.facts.get("resize")
        read = _read(images, labels, resize)
        command = f"pf.{called(self)}.fit({read.path})"
        self.fit_read(read, Console(quiet=not progress), command, further=more is not None)
        return self

    def fit_read(self, images: LabelledImages, console: Console, command: str, *, further: bool = False) -> None:
        """Fits images that were read, or trains further on them, and keeps the command; the shell's way in.

        Raises:
            InputError: the images or an option cannot be used; says why.
        """
        fitted = fit_images(images, self.options, console, self if further else None)
        self.notes_ = console.notes
        if fitted is not None:
            density, facts = fitted
            self._hold(density, {**facts, "command": command})

    @arguments_not_flags()
    def score_samples(self, images: Any, labels: Any = None, draws: int = 1) -> NDArray[np.float64]:
        """log P of every image in nats, ``(n,)``: exact for a PixelCNN, for a flow the lower bound of so many draws of
        the noise within levels.

        Raises:
            InputError: the images do not fit the model.
        """
        return self.log_prob(self.read(images, Console(quiet=True), labels), samples=draws)

    def score(self, images: Any, labels: Any = None) -> float:
        """The mean log-probability of the images in nats."""
        return float(self.score_samples(images, labels).mean())

    @arguments_not_flags()
    def sample(
        self, n: int = 1, given: Any = None, random_state: int | None = None, guidance: float = 0.0
    ) -> NDArray[np.uint8]:
        """New images, uint8 of shape ``(n, C, H, W)``; of the classes in turn where ``given`` does not name one.

        Noise that a model was fitted with is taken away. With ``guidance``, images of a tarflow go beyond what their
        class says, away from what all images say.

        Raises:
            InputError: ``n`` is below 1, the model does not know the class, or was not fitted for guidance.
        """
        self._require_fit()
        if n < 1:
            raise InputError(f"n={n}: expected at least 1 image")
        seed = self.seed if random_state is None else random_state
        context = self.context(classes_of(self, n, dict(given or {})))
        return self.model(seed).sample(n, context, guidance=check_guidance(self, guidance)).numpy()

    @arguments_not_flags()
    def compare(self, other: ImageDensity, images: Any, labels: Any = None) -> dict[str, Any]:
        """Which of two models codes the same images in fewer bits: the paired difference with its standard error, over
        the images that neither was trained on.

        Raises:
            InputError: the models are not of the same images, or the images do not fit them.
        """
        self._require_fit()
        return compare((self, other), self.raw(images, labels), Console(quiet=True))

    @arguments_not_flags()
    def report(self, path: str | Path, images: Any = None, labels: Any = None) -> None:
        """Writes what was learnt, and how well, as one HTML file.

        Args:
            path: The file.
            images: Images to report on: of those that were fitted, the held-out ones; those that were saved with the
                model where it is None.
            labels: Their classes.
        """
        self._require_fit()
        check_page(Path(path))
        read = None if images is None else self.raw(images, labels)
        write(self, read, Path(path), Console(quiet=True), seed=self.seed)

    def score_file(self, data: Location, output: Location, console: Console, **choices: Any) -> dict[str, Any]:
        explain_below, drop_missing = choices.pop("explain_below", None), choices.pop("drop_missing", False)
        keep = bool(choices.pop("keep", ()))
        refuse_table_flags({"--explain": explain_below is not None, "--drop-missing": drop_missing, "--keep": keep})
        return score_file(self, data, output, console, **choices)

    def sample_file(
        self, n: int, output: Location, given: dict[str, str], console: Console, **choices: Any
    ) -> dict[str, Any]:
        if choices.pop("check", None) or choices.pop("private", False):
            raise InputError("--check: is for tables; of images, look at the samples in the report")
        return sample_file(self, n, Path(str(output)), given, console, **choices)

    def report_file(self, data: Location | None, output: Path, console: Console, **choices: Any) -> dict[str, Any]:
        if choices.get("against"):
            raise InputError("--against: is for tables; of images, use: pushforward compare MODEL MODEL DATA")
        return super().report_file(data, output, console, **choices)

    @property
    def subject(self) -> ImageSubject:
        return ImageSubject(self)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.density.event_shape
        return channels, height, width

    @property
    def levels(self) -> int:
        """Numbers run from 0 to levels - 1."""
        return int(self.facts["levels"])

    @property
    def classes(self) -> list[str]:
        """What it is conditioned on; empty where it is not."""
        return list(self.facts["classes"])

    def raw(self, images: Any, labels: Any = None) -> LabelledImages:
        """Images brought to the size and the bits of those that were fitted."""
        self._require_fit()
        resize = self.facts["resize"]
        return _read(images, labels, None if resize is None else tuple(resize)).with_bits(self.facts["bits"])

    def read(self, images: Any, console: Console, labels: Any = None) -> LabelledImages:
        """Images for this model, treated as those that it was fitted to.

        Raises:
            InputError: they cannot be read, or are not of the model's size, levels or classes.
        """
        return fitting(self, self.raw(images, labels), console)

    def context(self, labels: Sequence[str] | None) -> Tensor | None:
        """Classes as one-hot rows (n, classes); None where the model has no classes."""
        return one_hot(labels, self.classes)

    def model(self, seed: int = 0) -> ImageModel:
        """The density with the seed of what it draws."""
        return ImageModel(self.density, self.levels, seed)

    def bits(self, log_prob: np.ndarray) -> np.ndarray:
        """Bits per dimension of log-probabilities."""
        return self.model().bits(torch.from_numpy(log_prob)).numpy()

    def log_prob(self, images: LabelledImages, *, samples: int = 1, seed: int = 0) -> np.ndarray:
        """log P of every image in nats; for a flow the lower bound that ``samples`` draws of the noise give."""
        return self.model(seed).log_prob(images.images, self.context(images.labels), samples).numpy()


def refuse_table_flags(flags: dict[str, Any]) -> None:
    """Refuses what belongs to a table.

    Raises:
        InputError: one of the flags is set.
    """
    for flag, value in flags.items():
        if value:
            raise InputError(f"{flag}: belongs to a table, and this is about images")


def _read(images: Any, labels: Any, resize: tuple[int, int] | None) -> LabelledImages:
    """Images of a path, or an array with its labels."""
    if isinstance(images, str | Path | Source):
        return read_pictures(images, resize=resize)
    where = Path("images")
    array = images.numpy() if isinstance(images, Tensor) else np.asarray(images)
    return numbered(
        where, resized(channels_first(array, where), resize), None if labels is None else np.asarray(labels)
    )
