"""Images as an object, beside :class:`~pushforward.TableDensity` and with the same verbs, each a call."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..distributions.flow import Flow
from ..errors import InputError, positive_integers
from ..models.compare import compare
from ..models.console import Console
from ..models.options import check_seed
from ..report.write import write
from .explain import Explanation, explain
from .files import impute_file, sample_file, score_file
from .fit import fit_images
from .impute import CANDIDATES, impute, read_with_holes
from .labelled import LabelledImages, read_any
from .model import ImageModel
from .options import ImageOptions


class ImageDensity(ImageModel):
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

    verbs: ClassVar[Mapping[str, Any]] = {"score": score_file, "sample": sample_file, "impute": impute_file}
    of_others: ClassVar[str] = "applies to tables, but these are images"

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
        resize = self.options.resize if more is None else self.facts.get("resize")
        if more is not None:
            self.options = dataclasses.replace(self.options, training=self.options.training.for_more(more))
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

    def score_samples(self, images: Any, labels: Any = None, draws: int = 1) -> NDArray[np.float64]:
        """log P of every image in nats, ``(n,)``: exact for a PixelCNN, for a flow the lower bound from ``draws``
        draws of the noise within levels.

        Raises:
            InputError: the images do not fit the model.
        """
        positive_integers(draws=draws)
        return self.log_prob(self.read(images, labels), samples=draws)

    def score(self, images: Any, labels: Any = None) -> float:
        """The mean log-probability of the images in nats."""
        return float(self.score_samples(images, labels).mean())

    def sample(
        self, n: int = 1, given: Any = None, random_state: int | None = None, guidance: float = 0.0
    ) -> NDArray[np.uint8]:
        """New images, uint8 of shape ``(n, C, H, W)``; of the classes in turn unless ``given`` names one.

        The noise with which a model was fitted is removed. With ``guidance``, images of a tarflow are pushed beyond
        what their class implies, away from what all images have in common.

        Raises:
            InputError: ``n`` is below 1, the model does not know the class, or was not fitted for guidance.
        """
        positive_integers(n=n)
        seed = self.seed if random_state is None else check_seed(random_state)
        return self.draw(n, dict(given or {}), seed, guidance=guidance)[0].numpy()

    def encode(
        self, images: Any, labels: Any = None, draws: int = 1
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        r"""The latents of every image, for K draws of the noise within levels, and log-slopes.

        A density q of the points z has, with log-slopes :math:`\ell`, the bound on log P(x) that
        :meth:`score_samples` gives for the flow's own base: :math:`\log \frac1K \sum_k q(z_k)\, e^{\ell_k}`.

        Args:
            images: An array or a path.
            labels: The class of each, if ``images`` is an array and the model is conditioned on classes.
            draws: K.

        Returns:
            Points ``(K, n, d)``, d being the size of an image, and log-slopes ``(K, n)``, both float64.

        Raises:
            InputError: the model has no latents, or the images do not fit it.
        """
        positive_integers(draws=draws)
        if not isinstance(self.density, Flow):
            raise InputError(f"encode: a {self.summary_['flow']} has no latents; fit glow, realnvp or tarflow")
        read = self.read(images, labels)
        rows = read.rows(self.classes)
        points, slopes = self.pixels().points(rows.x, rows.context, draws)
        return points.numpy(), slopes.numpy()

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

        The draws are exact in the limit of many candidates, and always if a PixelCNN lacks only the last numbers of an
        image. The noise with which a model was fitted is removed from the draws.

        Args:
            images: An array or a path, as for :meth:`fit`; or floats in which NaN is missing.
            labels: The class of each, if ``images`` is an array and the model is conditioned on classes.
            mask: Nonzero where pixels are missing: ``(H, W)`` for all images, ``(n, H, W)`` or ``(n, C, H, W)``; or the
                path of such a picture or ``.npy``.
            draws: How many sets of filled images are returned one after another, for multiple imputation.
            random_state: Seed of the draws.
            candidates: For a PixelCNN, particles of the filter for each draw; for a flow, steps of each Markov chain,
                after as many that are discarded.
            effective: Whether to return also the effective sample sizes of the candidates: of the particles, or of all
                chains of an image. If they are small, draws do not yet follow the conditional.

        Returns:
            uint8 ``(draws · n, C, H, W)``, or a pair of it and ``(n,)`` float64.

        Raises:
            InputError: nothing is missing, the mask has another shape, or the images do not fit the model.
        """
        read, hole = read_with_holes(self, images, labels, mask, Console(quiet=True))
        seed = self.seed if random_state is None else check_seed(random_state)
        filled, counts = impute(self, read, hole, draws, seed, candidates)
        whole = filled.flatten(0, 1).numpy()
        return (whole, counts.numpy()) if effective else whole

    def explain(self, images: Any, labels: Any = None, patch: int | None = None) -> Explanation:
        r"""Which pixels of every image are odd: how many nats less likely they are than the model expects there.

        For a PixelCNN pixel by pixel, given those before: :math:`-\log P(x_j \mid x_{1:j-1})` less its expectation, the
        entropy of that conditional. For a flow patch by patch, given all the rest:
        :math:`\mathbb{E} \log p(y'_b, y_{\mathrm{rest}}) - \log p(y_b, y_{\mathrm{rest}})`, the patch drawn anew by a
        short Markov chain. Either is 0 on average over the model's own images.

        Args:
            images: An array or a path.
            labels: The class of each, if ``images`` is an array and the model is conditioned on classes.
            patch: For a flow, the side of a patch in pixels; a quarter of the smaller side if None.

        Returns:
            ``excess``, ``(n, H, W)``, in nats, that of a patch divided evenly among its pixels; and ``log_prob``,
            ``(n, C, H, W)``: for a PixelCNN, log P of every number given those before, which sum to that of the image.

        Raises:
            InputError: the images do not fit the model, or ``patch`` does not fit the images.
        """
        return explain(self, self.read(images, labels), patch, self.seed)

    def compare(self, other: ImageDensity, images: Any, labels: Any = None) -> dict[str, Any]:
        """Which of two models codes the same images in fewer bits: the paired difference with its standard error, over
        images on which neither was trained.

        Raises:
            InputError: the models are for different images, or the images do not fit them.
        """
        return compare((self, other), self.raw(images, labels), Console(quiet=True))

    def report(
        self,
        path: str | Path,
        images: Any = None,
        labels: Any = None,
        against: Sequence[ImageDensity] | None = None,
    ) -> None:
        """Writes what was learnt, and how well, as one HTML file.

        Args:
            path: The file.
            images: Images to report on: if they are those of the fit, only the held-out ones are used; if None, those
                saved with the model.
            labels: Their classes.
            against: Other models of such images, to be compared on them.
        """
        read = None if images is None else self.raw(images, labels)
        write(self, read, Path(path), Console(quiet=True), seed=self.seed, against=list(against or ()))
