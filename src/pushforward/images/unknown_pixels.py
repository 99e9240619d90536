r"""Unknown numbers of images given the others under a flow: a density of points for Markov chains.

A flow of whole numbers is a density p of real-valued images y, under which x has the probability

.. math:: P(x) = \int p(y)\, P(x \mid y)\, dy,

where P(x | y) is 1 in the cell of x, or is given by the remaining Gaussian noise. So y given the known numbers of x
has the density :math:`p(y) \prod_{j\ \mathrm{known}} P(x_j \mid y_j)` up to a constant, and the unknown numbers are
those of such a y.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..distributions.flow import Flow
from ..distributions.guidance import opened
from ..posterior.hmc import Latent
from ..training.batches import Rows
from ..transforms.compose import Compose
from ..transforms.dequantise import FromLevels, GaussianNoise

EDGE = 1e-4  # margin between starts and the ends of the range of y


class UnknownPixels(ABC):
    """Images with unknown numbers, as points moved by one chain for each.

    Args:
        first: The transform from whole numbers to y.
        density: The flow of y.
        rows: Images ``(n, C, H, W)``, and their contexts.
        hole: Which numbers are unknown, bool, of the same shape.
    """

    def __init__(self, first: FromLevels, density: Flow, rows: Rows, hole: Tensor) -> None:
        self.first, self.density, self.hole, self.context = first, density, hole, rows.context
        self.levels, self.x = int(first.levels), rows.x.to(first.like.dtype)

    def _drawn(self, generator: torch.Generator) -> Tensor:
        shape = () if self.context is not None else (len(self.x),)
        return self.density.sample(shape, self.context, generator=generator)

    @abstractmethod
    def draws(self, generator: torch.Generator) -> Tensor:
        """Points of the model's own images, as starts for chains that have a long way to go."""

    @abstractmethod
    def here(self, generator: torch.Generator) -> Tensor:
        """Points of the images themselves, unknown numbers included."""

    @abstractmethod
    def target(self, share: float = 1.0) -> Latent:
        """Maps points to y in units of levels and to the log-density of the points: the model's own at 0, and at 1 that
        given the known numbers."""

    @abstractmethod
    def numbers(self, y: Tensor) -> Tensor:
        """The whole numbers of y, without the noise with which the model was fitted."""

    @abstractmethod
    def log_density(self, y: Tensor) -> Tensor:
        """log p(y) in nats, in units of levels."""


def unknown_pixels(flow: Flow, rows: Rows, hole: Tensor) -> UnknownPixels:
    """Images ``(n, C, H, W)`` with unknown numbers, one for each chain."""
    first, *rest = opened(flow.transform)
    sizes = {"event_shape": flow.event_shape, "context": flow.context_features}
    density = Flow(Compose(rest), flow.base, **sizes, encoder=flow.encoder)  # type: ignore[arg-type]
    kind: Any = UnknownUnderNoise if isinstance(first, GaussianNoise) else UnknownInCells
    return kind(first, density, rows, hole)


class UnknownInCells(UnknownPixels):
    r"""For a flow with noise within the levels, y in (0, 1). The points a are real numbers:

    .. math:: y_j = l_j + w_j\, \mathrm{sigmoid}(a_j),

    in the cell of a known number (l = x / levels, w = 1 / levels), and between 0 and 1 for an unknown one. Along the
    path the cells shrink: :math:`w = \mathrm{levels}^{-t}`.
    """

    def draws(self, generator: torch.Generator) -> Tensor:
        return self._drawn(generator).clamp(EDGE, 1 - EDGE).logit()

    def here(self, generator: torch.Generator) -> Tensor:
        u = torch.rand(self.x.shape, generator=generator, dtype=self.x.dtype, device=self.x.device)
        return torch.where(self.hole, (self.x + u) / self.levels, u).clamp(EDGE / self.levels, 1 - EDGE).logit()

    def target(self, share: float = 1.0) -> Latent:
        width = torch.where(self.hole, 1.0, self.levels**-share)
        low = (1 - width) * self.x / (self.levels - 1)

        def latent(a: Tensor) -> tuple[Tensor, Tensor]:
            y = low + width * a.sigmoid()
            slope = (F.logsigmoid(a) + F.logsigmoid(-a)).flatten(1).sum(1)
            return self.levels * y.detach(), self.density.log_prob(y, self.context) + slope

        return latent

    def numbers(self, y: Tensor) -> Tensor:
        return y.floor().clamp(0, self.levels - 1)

    def log_density(self, y: Tensor) -> Tensor:
        return self.density.log_prob(y / self.levels, self.context) - math.log(self.levels) * self.x[0].numel()


class UnknownUnderNoise(UnknownPixels):
    """For a flow of images with Gaussian noise; the points are y itself, in which 0 to levels - 1 is -1 to 1. Along the
    path the known numbers gain weight."""

    first: GaussianNoise  # type: ignore[assignment]

    def draws(self, generator: torch.Generator) -> Tensor:
        return self._drawn(generator)

    def here(self, generator: torch.Generator) -> Tensor:
        noise = torch.randn(self.x.shape, generator=generator, dtype=self.x.dtype, device=self.x.device)
        return self.first.centre(self.x) + self.first.noise * noise

    def target(self, share: float = 1.0) -> Latent:
        def latent(y: Tensor) -> tuple[Tensor, Tensor]:
            known = self.first.log_level(self.x, y).masked_fill(self.hole, 0.0).flatten(1).sum(1)
            return self._in_levels(y.detach()), self.density.log_prob(y, self.context) + share * known

        return latent

    def numbers(self, y: Tensor) -> Tensor:
        """The numbers of the mean image without noise given y, by Tweedie's formula."""
        with torch.enable_grad():
            here = (2 * y / (self.levels - 1) - 1).requires_grad_()
            (score,) = torch.autograd.grad(self.density.log_prob(here, self.context).sum(), here)
        mean = here.detach() + self.first.noise**2 * score
        return self._in_levels(mean).round().clamp(0, self.levels - 1)

    def log_density(self, y: Tensor) -> Tensor:
        scale = math.log((self.levels - 1) / 2) * self.x[0].numel()
        return self.density.log_prob(2 * y / (self.levels - 1) - 1, self.context) - scale

    def _in_levels(self, y: Tensor) -> Tensor:
        return (y + 1) * ((self.levels - 1) / 2)
