"""Everything that fitted images offer: probabilities, draws, missing numbers, explanations, comparisons, a report.

The class is a list of verbs; each is implemented in its own file beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..distributions.flow import Flow
from ..errors import InputError
from ..models.compare import compare
from ..models.console import Console
from ..report.write import write
from .explain import Explanation, explain
from .impute import CANDIDATES, impute, impute_file
from .missing import read_with_holes
from .model import ImageModel
from .sample import check_draws, check_guidance, sample_file
from .score import score_file


class FittedImages(ImageModel):
    """The verbs of :class:`~pushforward.ImageDensity` once it is fitted."""

    verbs: ClassVar[Mapping[str, Any]] = {"score": score_file, "sample": sample_file, "impute": impute_file}
    of_others: ClassVar[str] = "applies to tables, but these are images"

    def score_samples(self, images: Any, labels: Any = None, draws: int = 1) -> NDArray[np.float64]:
        """log P of every image in nats, ``(n,)``: exact for a PixelCNN, for a flow the lower bound from ``draws``
        draws of the noise within levels.

        Raises:
            InputError: the images do not fit the model.
        """
        return self.log_prob(self.read(images, labels), samples=check_draws(draws))

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
        self._require_fit()
        if n < 1:
            raise InputError(f"n={n}: expected at least 1 image")
        seed = self.seed if random_state is None else random_state
        context = self.context(self.classes_of(n, dict(given or {})))
        return self.pixels(seed).sample(n, context, guidance=check_guidance(self, guidance)).numpy()

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
        self._require_fit()
        if not isinstance(self.density, Flow):
            raise InputError(f"encode: a {self.summary_['flow']} has no latents; fit glow, realnvp or tarflow")
        read = self.read(images, labels)
        points, slopes = self.pixels().points(read.images, self.context(read.labels), check_draws(draws))
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
        self._require_fit()
        read, hole = read_with_holes(self, images, labels, mask, Console(quiet=True))
        seed = self.seed if random_state is None else random_state
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
        self._require_fit()
        return explain(self, self.read(images, labels), patch, self.seed)

    def compare(self, other: FittedImages, images: Any, labels: Any = None) -> dict[str, Any]:
        """Which of two models codes the same images in fewer bits: the paired difference with its standard error, over
        images on which neither was trained.

        Raises:
            InputError: the models are for different images, or the images do not fit them.
        """
        self._require_fit()
        return compare((self, other), self.raw(images, labels), Console(quiet=True))

    def report(
        self,
        path: str | Path,
        images: Any = None,
        labels: Any = None,
        against: Sequence[FittedImages] | None = None,
    ) -> None:
        """Writes what was learnt, and how well, as one HTML file.

        Args:
            path: The file.
            images: Images to report on: if they are those of the fit, only the held-out ones are used; if None, those
                saved with the model.
            labels: Their classes.
            against: Other models of such images, to be compared on them.
        """
        self._require_fit()
        read = None if images is None else self.raw(images, labels)
        write(self, read, Path(path), Console(quiet=True), seed=self.seed, against=list(against or ()))
