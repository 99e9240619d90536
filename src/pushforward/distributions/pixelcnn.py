"""The autoregressive CNN: the exact probability of images with a few hundred levels, and sampling pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ..errors import positive
from ..nets.pixelcnn import PixelNet, as_batch
from ..transforms.seam import pixel_steps
from .base import Density, Generator
from .conditional import check_levels
from .levels import CategoricalLevels, Levels, LogisticLevels


class PixelCNN(Density):
    r"""A distribution over images of whole numbers, each given all before it in raster order (red, green, blue).

    .. math:: \log P(x \mid c) = \sum_j \log P(x_j \mid x_{1:j-1}, c)

    ``log_prob`` takes one pass. Sampling goes number by number and recomputes only what each new one affects.

    Args:
        shape: (C, H, W) of the images.
        levels: Numbers run from 0 to levels - 1; 2 to 256.
        hidden: Channels of the network's two stacks.
        layers: Residual blocks.
        context: Features of the context, 0 for none.
        conditional: ``"categorical"``, or ``"logistic"`` for a discretised mixture of logistic distributions.

    Raises:
        ValueError: a size is out of range, or the conditional is unknown.

    Reference:
        van den Oord et al. (2016), arXiv:1606.05328. Lecture: "Autoregressive CNN".
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        levels: int = 256,
        hidden: int = 64,
        layers: int = 8,
        context: int = 0,
        conditional: str = "categorical",
        encoder: nn.Module | None = None,
    ) -> None:
        super().__init__(encoder)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape must be (channels, height, width), got {tuple(shape)}")
        if not 2 <= levels <= 256:
            raise ValueError(f"levels must be from 2 to 256, got levels={levels}")
        if conditional not in ("categorical", "logistic"):
            raise ValueError(f"conditional must be 'categorical' or 'logistic', got conditional={conditional!r}")
        self.event_shape = torch.Size(shape)
        self.context_features = context
        self.conditional: Levels = (CategoricalLevels if conditional == "categorical" else LogisticLevels)(levels)
        self.net = PixelNet(shape[0], self.conditional.num_params, hidden=hidden, layers=layers, context=context)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.integer_interval(0, self.conditional.levels - 1), 3)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log P(x | context) in nats; x holds whole numbers from 0 to levels - 1, in any dtype.

        Raises:
            ValueError: shapes do not fit, or x holds other numbers (tried on a CPU).
        """
        x, context = self._check(x, context)
        if x.device.type == "cpu":  # elsewhere the check would synchronise
            check_levels(x, self.conditional.levels)
        x, context, batch = as_batch(x, context)
        log_prob = self.conditional.log_prob(x.long(), self.net(self._scaled(x), context))
        return log_prob.flatten(1).sum(1).view(batch)

    def terms(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """log P of every number given those before it, and the entropy of that conditional, ``(*batch, C, H, W)``.

        The former sum to ``log_prob``; for images drawn from the model, their mean is minus that of the latter.

        Raises:
            ValueError: shapes do not fit.
        """
        x, context = self._check(x, context)
        shape = x.shape
        x, context, _ = as_batch(x, context)
        params = self.net(self._scaled(x), context)
        return self.conditional.log_prob(x.long(), params).view(shape), self.conditional.entropy(params).view(shape)

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        """Whole numbers in the model's dtype; ``temperature`` divides logits."""
        x = self.net.head.weight.new_zeros(*batch, *self.event_shape)
        images, context, _ = as_batch(x, context)
        return self._fill(images, context, generator, temperature).view(x.shape)

    @torch.no_grad()
    def complete(
        self,
        x: Tensor,
        rows: int,
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """x with everything below its first ``rows`` rows drawn anew, given these: ``(*batch, C, H, W)``.

        Raises:
            ValueError: ``rows`` is not from 0 to H, the temperature is not positive, or shapes do not fit.
        """
        positive(temperature=temperature)
        if not 0 <= rows <= self.event_shape[1]:
            raise ValueError(f"rows must be from 0 to {self.event_shape[1]}, got rows={rows}")
        x, context = self._check(x, context)
        images, context, _ = as_batch(x.to(self.net.head.weight.dtype), context)
        return self._fill(images.clone(), context, generator, temperature, rows).view(x.shape)

    def _fill(
        self,
        x: Tensor,
        context: Tensor | None,
        generator: Generator,
        temperature: float,
        known: int = 0,
    ) -> Tensor:
        """Fills x below its first ``known`` rows."""
        steps = pixel_steps(self.net, self._scaled(x), context)
        channels, height, width = self.event_shape
        for i in range(height):
            steps.begin_row(i)
            for j in range(width if i >= known else 0):
                for channel in range(channels):
                    params = steps.params(i, j)[..., channel]
                    value = self.conditional.sample(params, generator, temperature).to(x.dtype)
                    x[:, channel, i, j] = value
                    steps.fill(i, j, channel, self._scaled(value))
                steps.begin_pixel()
        return x

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Checks that x holds whole numbers in range; there are no parameters to set.

        Raises:
            ValueError: a number is below 0, above levels - 1, or not whole.
        """
        check_levels(x, self.conditional.levels)

    def _scaled(self, x: Tensor) -> Tensor:
        return x.to(self.net.head.weight.dtype) * (2 / (self.conditional.levels - 1)) - 1
