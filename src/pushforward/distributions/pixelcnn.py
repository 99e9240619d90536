"""The autoregressive CNN: the exact probability of images with a few hundred levels, and sampling pixel by pixel.

Conditionals of one number with the levels 0 … K-1 are given parameters of shape ``(num_params, *x.shape)``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from ..errors import at_least_one, positive
from ..nets.pixelcnn import PixelNet, as_batch
from ..transforms.seam import pixel_steps
from .base import Density, Generator
from .conditional import Conditional, check_levels


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
        self, x: Tensor, context: Tensor | None, generator: Generator, temperature: float, known: int = 0
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


class Levels(Conditional):
    """Of 0 … levels - 1; x and draws are int64, and all-zero parameters are the initial state."""

    levels: int

    def entropy(self, params: Tensor) -> Tensor:
        """:math:`-\\sum_k P(k) \\log P(k)` in nats, of shape ``params.shape[1:]``."""
        total = torch.zeros_like(params[0])
        for level in range(self.levels):
            log_p = self.log_prob(torch.full_like(params[0], level, dtype=torch.long), params)
            total = total - log_p.exp() * log_p.clamp_min(-1e30)  # 0 log 0 = 0
        return total


class CategoricalLevels(Levels):
    """One logit per level; starts uniform. ``temperature`` divides the logits.

    Args:
        levels: K, from 2 to 256.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = self.num_params = levels

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        logits = params.movedim(0, 2).flatten(0, 1)  # (n · C, K, H, W): a view, if params is the network's output
        return -F.cross_entropy(logits, x.flatten(0, 1), reduction="none").view(x.shape)

    def sample(self, params: Tensor, generator: torch.Generator | None, temperature: float) -> Tensor:
        return _draw(params, generator, temperature)

    def entropy(self, params: Tensor) -> Tensor:
        log_p = params.log_softmax(0)
        return -(log_p.exp() * log_p).sum(0)


class LogisticLevels(Levels):
    r"""A mixture of logistic distributions cut into K bins; the outermost bins include the tails. The number of
    parameters does not grow with K, and neighbouring levels have similar probabilities.

    .. math:: P(x) = \sum_k w_k \left[ \sigma\!\left(\tfrac{x^+ - \mu_k}{s_k}\right) -
              \sigma\!\left(\tfrac{x^- - \mu_k}{s_k}\right) \right]

    with 0 … K-1 scaled to [-1, 1], where :math:`x^\pm` are the edges of the bin of x. Initially the components are
    evenly spread.

    Args:
        levels: K, from 2 to 256.
        mixtures: Components.

    Reference:
        Salimans, Karpathy, Chen, Kingma (2017), PixelCNN++, arXiv:1701.05517.
    """

    centres: Tensor

    def __init__(self, levels: int, mixtures: int = 10) -> None:
        super().__init__()
        at_least_one(mixtures=mixtures)
        self.levels, self.num_params = levels, 3 * mixtures
        self.register_buffer("centres", torch.linspace(-1, 1, mixtures + 2)[1:-1], persistent=False)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        log_weights, mean, log_scale = self._components(params)
        centred = x * (2 / (self.levels - 1)) - 1 - mean
        half, precision = 1 / (self.levels - 1), (-log_scale).exp()
        upper, lower = (centred + half) * precision, (centred - half) * precision
        inside = _log_difference(upper, lower)
        log_bin = torch.where(
            x == 0, F.logsigmoid(upper), torch.where(x == self.levels - 1, F.logsigmoid(-lower), inside)
        )
        return torch.logsumexp(log_weights + log_bin, 0)

    def sample(self, params: Tensor, generator: torch.Generator | None, temperature: float) -> Tensor:
        log_weights, mean, log_scale = self._components(params)
        which = _draw(log_weights, generator, temperature)[None]
        mean, log_scale = mean.gather(0, which)[0], log_scale.gather(0, which)[0]
        u = torch.rand(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device).clamp(1e-5, 1 - 1e-5)
        x = mean + temperature * log_scale.exp() * u.logit()
        return ((x + 1) * ((self.levels - 1) / 2)).round().clamp(0, self.levels - 1).long()

    def _components(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weights, mean, log_scale = params.chunk(3)
        centres = self.centres.view(-1, *[1] * (params.dim() - 1))
        return weights.log_softmax(0), mean + centres, (log_scale - 1).clamp(-7.0, 3.0)


def _log_difference(upper: Tensor, lower: Tensor) -> Tensor:
    """log(sigmoid(u) - sigmoid(l)) for u > l, as a product, to avoid cancellation."""
    return F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(lower - upper))


def _draw(logits: Tensor, generator: torch.Generator | None, temperature: float) -> Tensor:
    probabilities = (logits / temperature).softmax(0).movedim(0, -1)
    return torch.multinomial(probabilities.flatten(0, -2), 1, generator=generator).view(logits.shape[1:])
