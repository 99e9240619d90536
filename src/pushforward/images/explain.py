r"""Which pixels of an image are odd: how many nats less likely they are than the model expects.

For a PixelCNN, pixel by pixel, each given those before it:

.. math:: e_j(x) = \mathbb{E} \log P(x'_j \mid x_{1:j-1}) - \log P(x_j \mid x_{1:j-1}),\quad
          x'_j \sim P(\cdot \mid x_{1:j-1})

For a flow, patch by patch, each given all other pixels, with y real numbers in the cells of the whole ones
(:mod:`.unknown_pixels`):

.. math:: e_b(x) = \mathbb{E}\left[\log p(y'_b, y_{\mathrm{rest}}) - \log p(y_b, y_{\mathrm{rest}})\right],\quad
          y'_b \sim p(\cdot \mid y_{\mathrm{rest}})

by short Markov chains from the image itself. Either is 0 on average over the model's own images.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..distributions.pixelcnn import PixelCNN
from ..errors import InputError
from ..posterior.hmc import hmc
from ..training.batches import Rows
from .impute import CHAINS
from .labelled import LabelledImages
from .model import ImageModel
from .unknown_pixels import unknown_pixels

STEPS = 32  # of a chain, after as many that are discarded
EVERY = 2  # one in how many steps of a chain is evaluated


class Explanation(NamedTuple):
    """The result of :meth:`ImageDensity.explain`.

    Attributes:
        excess: Nats of every pixel, ``(n, H, W)``: how much less likely it is than expected. The excess of a patch is
            divided evenly among its pixels.
        log_prob: For a PixelCNN, log P of every number given those before it, ``(n, C, H, W)``, which sum to that of
            the image; None for a flow.
    """

    excess: NDArray[np.float64]
    log_prob: NDArray[np.float64] | None


def explain(model: ImageModel, pictures: LabelledImages, patch: int | None, seed: int) -> Explanation:
    """The excess of every pixel, for images that fit the model."""
    side = patch_of(model, patch)
    rows = pictures.rows(model.classes)
    if isinstance(model.density, PixelCNN):
        log_p, entropy = model.pixels(seed).terms(rows.x, rows.context)
        return Explanation((-entropy - log_p).sum(1).numpy(), log_p.numpy())
    patches = _patches(model.shape[1:], side)
    generator = torch.Generator(model.device).manual_seed(seed)
    found = []
    for some in torch.arange(len(pictures) * len(patches)).split(CHAINS // 2):
        part, moves = rows[some // len(patches)], patches[some % len(patches)]  # image by image
        found.append(_of_patches(model.density, part.to(model.device), moves.to(model.device), generator).cpu())
    even = patches.double() / patches.flatten(1).sum(1)[:, None, None]
    return Explanation(torch.einsum("np,phw->nhw", torch.cat(found).view(-1, len(patches)), even).numpy(), None)


def _of_patches(density: Any, rows: Rows, patch: Tensor, generator: torch.Generator) -> Tensor:
    """The excess of a patch of each image, ``(n,)``, of images ``(n, C, H, W)`` and masks ``(n, H, W)``: chains with
    the patch unknown, and chains in which only its noise within levels moves, with the same numbers around it."""
    both = Rows.stacked([rows, rows])
    moves = patch[:, None].expand(rows.x.shape).repeat(2, 1, 1, 1)
    unknown = moves.clone()
    unknown[len(rows) :] = False
    points = unknown_pixels(density, both, unknown)
    free, own = points.here(generator).chunk(2)
    start = torch.cat([free, torch.where(moves[: len(rows)], own, free)])
    latent = points.target()
    y, _ = hmc(lambda a: latent(torch.where(moves, a, start)), start, STEPS, STEPS, generator)  # the others are held
    value = torch.stack([points.log_density(y[:, k]).detach() for k in range(0, STEPS, EVERY)]).double().mean(0)
    drawn, kept = value.chunk(2)
    return drawn - kept


def patch_of(model: ImageModel, patch: int | None) -> int:
    """The side of a patch: by default a quarter of the smaller side of the images."""
    _, height, width = model.shape
    if patch is not None and not 1 <= patch <= min(height, width):
        raise InputError(f"expected 1 to {min(height, width)}, for images of {height} x {width}", "patch", patch)
    return patch or max(min(height, width) // 4, 1)


def _patches(size: tuple[int, int], side: int) -> Tensor:
    """Masks of the patches, ``(p, H, W)``, bool, row by row; those at the right and lower ends may be smaller."""
    down, across = (torch.arange(length) // side for length in size)
    place = down[:, None] * (across[-1] + 1) + across  # the number of each pixel's patch
    return place == torch.arange(int(place[-1, -1]) + 1)[:, None, None]


def oddest(excess: NDArray[np.float64], side: int) -> tuple[list[str], list[float]]:
    """The patch of each image with the largest excess, in words, and that excess in nats."""
    patches = _patches(excess.shape[1:], side)
    sums = torch.einsum("nhw,phw->np", torch.from_numpy(excess), patches.double())
    places = [mask.nonzero() for mask in patches[sums.argmax(1)]]
    names = [f"rows {int(at[0, 0])} to {int(at[-1, 0])}, columns {int(at[0, 1])} to {int(at[-1, 1])}" for at in places]
    return names, sums.amax(1).tolist()
