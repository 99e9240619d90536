"""What can be asked of fitted images: probabilities, draws, missing numbers, explanations, comparisons, a report.

The class is a list of verbs; each is done in a file of its own next to this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..distributions.flow import Flow
from ..models.base import FittedDensity
from ..models.compare import compare
from ..models.console import Console
from ..models.report import check_page, write
from ..report.images.density import ImageModel
from ..tables.errors import InputError, arguments_not_flags
from ..tables.formats.source import Location
from .explain import Explanation, explain
from .held_out import fitting
from .impute import CANDIDATES, impute, impute_file
from .labelled import LabelledImages, one_hot, read_any
from .missing import read_with_holes
from .sample import check_draws, check_guidance, classes_of, sample_file
from .score import score_file
from .subject import ImageSubject


class FittedImages(FittedDensity):
    """The verbs of :class:`~pushforward.ImageDensity` once it is fitted."""

    kind: ClassVar[str] = "image"

    @arguments_not_flags()
    def score_samples(self, images: Any, labels: Any = None, draws: int = 1) -> NDArray[np.float64]:
        """log P of every image in nats, ``(n,)``: exact for a PixelCNN, for a flow the lower bound of so many draws of
        the noise within levels.

        Raises:
            InputError: the images do not fit the model.
        """
        return self.log_prob(self.read(images, Console(quiet=True), labels), samples=check_draws(draws))

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
    def encode(
        self, images: Any, labels: Any = None, draws: int = 1
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        r"""The noise of every image, as the flow sees it with K draws of the noise within levels, and log-slopes.

        A density q of the points z has, with log-slopes :math:`\ell`, the bound of log P(x) that
        :meth:`score_samples` gives for the flow's own base: :math:`\log \frac1K \sum_k q(z_k)\, e^{\ell_k}`.

        Args:
            images: An array or a path.
            labels: The class of each, where ``images`` is an array and the model conditioned on classes.
            draws: K.

        Returns:
            Points ``(K, n, d)``, d the numbers of an image, and log-slopes ``(K, n)``, both float64.

        Raises:
            InputError: the model has no latents, or the images do not fit it.
        """
        self._require_fit()
        if not isinstance(self.density, Flow):
            raise InputError(f"encode: a {self.summary_['flow']} has no latents; fit glow, realnvp or tarflow")
        read = self.read(images, Console(quiet=True), labels)
        points, slopes = self.model().points(read.images, self.context(read.labels), check_draws(draws))
        return points.numpy(), slopes.numpy()

    @arguments_not_flags()
    def impute(
        self,
        images: Any,
        labels: Any = None,
        *,
        mask: Any = None,
        draws: int = 1,
        random_state: int | None = None,
        candidates: int = CANDIDATES,
        effective: bool = False,
    ) -> Any:
        """The images with their missing numbers drawn given the others, ``draws`` times one after another.

        The draws are exact in the limit of many candidates, and at once where a PixelCNN misses the last numbers of an
        image. Noise that a model was fitted with is taken away from what is drawn.

        Args:
            images: An array or a path, as for :meth:`fit`; or floats in which NaN is missing.
            labels: The class of each, where ``images`` is an array and the model conditioned on classes.
            mask: Not 0 where pixels are missing: ``(H, W)`` for all images, ``(n, H, W)`` or ``(n, C, H, W)``; or the
                path of a picture or a ``.npy`` of it.
            draws: How many filled images follow each other in what is returned, for multiple imputation.
            random_state: Of the draws.
            candidates: Of a PixelCNN, particles of the filter for each draw; of a flow, steps of each Markov chain, as
                many before that do not count.
            effective: Whether to return the effective numbers of candidates, too: of the particles, or of all chains of
                an image. Where they are small, draws are not yet those of the conditional.

        Returns:
            uint8 ``(draws · n, C, H, W)``, or a pair of it and ``(n,)`` float64.

        Raises:
            InputError: nothing is missing, the mask has another shape, or the images do not fit the model.
        """
        self._require_fit()
        read, hole = read_with_holes(self, images, labels, mask, Console(quiet=True))
        seed = self.seed if random_state is None else random_state
        filled, counts = impute(self, read, hole, draws, seed, candidates)
        whole = filled.flatten(0, 1).numpy()
        return (whole, counts.numpy()) if effective else whole

    @arguments_not_flags()
    def explain(self, images: Any, labels: Any = None, patch: int | None = None) -> Explanation:
        r"""Which pixels of every image are odd: by how many nats less likely they are than the model expects there.

        Of a PixelCNN pixel by pixel, given those before: :math:`-\log P(x_j \mid x_{1:j-1})` less its expectation, the
        entropy of that conditional. Of a flow patch by patch, given all the rest:
        :math:`\mathbb{E} \log p(y'_b, y_{\mathrm{rest}}) - \log p(y_b, y_{\mathrm{rest}})`, the patch drawn anew by a
        short Markov chain. Either is 0 on average over images of the model's own.

        Args:
            images: An array or a path.
            labels: The class of each, where ``images`` is an array and the model conditioned on classes.
            patch: Of a flow, the side of a patch in pixels; a quarter of the smaller side where it is None.

        Returns:
            ``excess``, ``(n, H, W)``, in nats, those of a patch divided evenly between its pixels; and ``log_prob``,
            ``(n, C, H, W)``: of a PixelCNN, log P of every number given those before, whose sum is that of the image.

        Raises:
            InputError: the images do not fit the model, or ``patch`` not the images.
        """
        self._require_fit()
        return explain(self, self.read(images, Console(quiet=True), labels), patch, self.seed)

    @arguments_not_flags()
    def compare(self, other: FittedImages, images: Any, labels: Any = None) -> dict[str, Any]:
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
        drop_missing, keep = choices.pop("drop_missing", False), bool(choices.pop("keep", ()))
        given = bool(choices.pop("given", ()))
        refuse_table_flags({"--drop-missing": drop_missing, "--keep": keep, "--given": given})
        return score_file(self, data, output, console, **choices)

    def sample_file(
        self, n: int, output: Location, given: dict[str, str], console: Console, **choices: Any
    ) -> dict[str, Any]:
        if choices.pop("check", None) or choices.pop("private", False):
            raise InputError("--check: is for tables; of images, look at the samples in the report")
        return sample_file(self, n, Path(str(output)), given, console, **choices)

    def impute_file(self, data: Location, output: Location, console: Console, **choices: Any) -> dict[str, Any]:
        return impute_file(self, data, output, console, **choices)

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
        return read_any(images, labels, None if resize is None else tuple(resize)).with_bits(self.facts["bits"])

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
