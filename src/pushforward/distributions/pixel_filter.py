"""Inpainting with an autoregressive CNN: draws unknown numbers of images by a particle filter in raster order."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..numerics.sequential import effective, resampled
from ..transforms.seam import pixel_steps
from .pixelcnn import PixelCNN

WHOLE = 64  # images per pass of the whole network


@torch.no_grad()
def fill_pixels(
    model: PixelCNN,
    x: Tensor,
    hole: Tensor,
    context: Tensor | None = None,
    *,
    particles: int = 64,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Draws the unknown numbers of each image given all of its known ones, before and after them.

    Each image has K particles. An unknown number is drawn given all before it; a known one updates the weights,

    .. math:: w \leftarrow w\, P(x_j \mid x_{1:j-1}),

    and the particles are resampled if fewer than half are effective. One of the final particles is chosen in proportion
    to w. If the unknown numbers come last the draw is exact; otherwise it is in the limit of many particles.

    Args:
        x: ``(n, C, H, W)``; values in the holes are ignored.
        hole: Which numbers are unknown, bool, ``(n, C, H, W)``.
        context: ``(n, features)`` or None.
        particles: K.
        generator: Source of the randomness.

    Returns:
        The filled images, in the model's dtype; and the effective number of particles of each, ``(n,)``: K if weights
        are equal, infinity for an image without holes.

    Reference:
        Gordon, Salmond, Smith (1993), Novel approach to nonlinear/non-Gaussian Bayesian state estimation; Doucet,
        Johansen (2009), A tutorial on particle filtering and smoothing.
    """
    _, context = model._check(x, context)
    cloud = _Cloud(model, x.to(model.net.head.weight.dtype), hole, context, particles, generator)
    with_holes = hole.flatten(0, 1).any(0).any(-1).nonzero()[:, 0].tolist()  # rows of the images
    first, last = (with_holes[0], with_holes[-1]) if with_holes else (0, -1)
    for i in range(last + 1):
        cloud.steps.begin_row(i)
        for j in range(hole.shape[-1] if i >= first else 0):
            cloud.pixel(i, j)
    cloud.weigh_below(last)
    return cloud.one(), cloud.effective.masked_fill(~hole.flatten(1).any(1), math.inf)


class _Cloud:
    """The particles of all images: the k-th of image i is row k · n + i of every tensor."""

    def __init__(
        self,
        model: PixelCNN,
        x: Tensor,
        hole: Tensor,
        context: Tensor | None,
        particles: int,
        generator: torch.Generator | None,
    ) -> None:
        self.model, self.n, self.particles, self.generator = model, len(x), particles, generator
        self.x, self.hole = x.repeat(particles, 1, 1, 1), hole.repeat(particles, 1, 1, 1)
        self.x[self.hole] = 0  # a network would propagate NaN
        self.context = None if context is None else context.expand(self.n, -1).repeat(particles, 1)
        self.steps = pixel_steps(model.net, model._scaled(self.x), self.context)
        self.log_w = torch.zeros(particles, self.n, dtype=torch.float64, device=x.device)
        self.variance = torch.zeros(self.n, dtype=torch.float64, device=x.device)

    def pixel(self, i: int, j: int) -> None:
        """Draws the unknown colours of pixel (i, j), reweights by the known ones, and resamples if necessary."""
        for channel in range(self.x.shape[1]):
            params = self.steps.params(i, j)[..., channel]
            hole = self.hole[:, channel, i, j]
            drawn = self.model.conditional.sample(params, self.generator, 1.0).to(self.x.dtype)
            value = torch.where(hole, drawn, self.x[:, channel, i, j])
            log_p = self.model.conditional.log_prob(value.long().view(-1, 1, 1, 1), params[..., None, None, None])
            self.log_w += log_p.double().view(-1).masked_fill(hole, 0.0).view(self.log_w.shape)
            self.x[:, channel, i, j] = value
            self.steps.fill(i, j, channel, self.model._scaled(value))
        self.steps.begin_pixel()
        poor = effective(self.log_w) < 0.5 * self.particles
        if poor.any():
            self._resample(poor)

    def weigh_below(self, row: int) -> None:
        """Updates the weights by all rows below ``row``, which are known, with one pass of the whole network."""
        if row + 1 < self.x.shape[2]:
            log_p = []
            for some in torch.arange(len(self.x), device=self.x.device).split(WHOLE):
                given = None if self.context is None else self.context[some]
                params = self.model.net(self.model._scaled(self.x[some]), given)
                log_p.append(self.model.conditional.log_prob(self.x[some].long(), params))
            self.log_w += torch.cat(log_p)[:, :, row + 1 :].double().flatten(1).sum(1).view(self.log_w.shape)
        self.variance += self._loss()

    @property
    def effective(self) -> Tensor:
        """The number of independent draws whose mean weight is as uncertain, ``(n,)``."""
        return 1 / (self.variance + 1 / self.particles)

    def one(self) -> Tensor:
        """One particle of every image."""
        return self.x[self._places(1)[0]]

    def _resample(self, poor: Tensor) -> None:
        self.variance += self._loss().masked_fill(~poor, 0.0)
        own = torch.arange(len(self.x), device=self.x.device).view(self.log_w.shape)
        taken = torch.where(poor, self._places(self.particles), own).flatten()
        self.x = self.x[taken]
        self.steps.take(taken)
        self.log_w = self.log_w.masked_fill(poor, 0.0)

    def _places(self, draws: int) -> Tensor:
        """Indices of particles in proportion to their weights, ``(draws, n)``."""
        start = torch.rand(self.n, generator=self.generator, dtype=torch.float64, device=self.x.device)
        return resampled(self.log_w, start, draws) * self.n + torch.arange(self.n, device=self.x.device)

    def _loss(self) -> Tensor:
        """The squared relative error of the mean weight since the last resampling, ``(n,)``."""
        return (1 / effective(self.log_w).clamp_min(1.0) - 1 / self.particles).clamp_min(0.0)
