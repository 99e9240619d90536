"""Autoregressive models, and their conditionals: the density of one feature given ``num_params`` numbers.

Parameters come first: ``params`` is ``(num_params, *x.shape)``. ``encode`` gives the network's inputs for a feature.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from ..errors import at_least_one
from ..nets.made import MADE
from ..numerics.affine import soft_clamp
from ..numerics.logs import HALF_LOG_2PI
from ..numerics.torch_internals import fake_tensors, transformed
from ..saving.config import Configurable
from ..transforms.seam import generate
from .base import Density, Generator


class Conditional(Configurable):
    """log p(x_j | params) in nats, and draws of x_j."""

    num_params: int
    inputs: int = 1  # network inputs per feature

    @property
    def support(self) -> constraints.Constraint:
        """The support of x_j."""
        return constraints.real

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """log p, of the shape of x."""
        raise NotImplementedError

    def sample(self, params: Tensor, generator: torch.Generator | None, temperature: float) -> Tensor:
        """Draws of the shape of one parameter."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        """``(inputs, *x.shape)``."""
        return x[None]

    def check(self, x: Tensor) -> None:
        """Rejects values outside the support."""


class Gaussian(Conditional):
    r"""N(mu, sigma²) with a softly clamped log sigma, symmetric about 0; all-zero parameters give N(0, 1).

    Args:
        limit: The bound on the log-scale.

    Reference:
        Lecture: "Gaussian autoregressive model".
    """

    num_params = 2

    def __init__(self, limit: float = 7.0) -> None:
        super().__init__()
        self.limit = limit

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        return log_normal(x, params[0], soft_clamp(params[1], self.limit))

    def sample(self, params: Tensor, generator: torch.Generator | None, temperature: float) -> Tensor:
        noise = noise_like(params[0], generator)
        return params[0] + temperature * noise * soft_clamp(params[1], self.limit).exp()


class Mixture(Conditional):
    r"""A mixture of Gaussians, :math:`\sum_k w_k N(\mu_k, \sigma_k^2)`; all-zero parameters spread means over [-2, 2].

    Args:
        components: K, at least 1.
        limit: The bound on the log-scales.

    Raises:
        ValueError: ``components`` is below 1.

    Reference:
        Uria, Murray, Larochelle (2013), RNADE, arXiv:1306.0186.
    """

    spread: Tensor

    def __init__(self, components: int = 8, limit: float = 7.0) -> None:
        super().__init__()
        at_least_one(components=components)
        self.components, self.limit, self.num_params = components, limit, 3 * components
        self.register_buffer("spread", torch.linspace(-2, 2, components) if components > 1 else torch.zeros(1))

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        log_weight, mu, log_sigma = self._read(params)
        return (log_weight + log_normal(x, mu, log_sigma)).logsumexp(0)

    def sample(self, params: Tensor, generator: torch.Generator | None, temperature: float) -> Tensor:
        log_weight, mu, log_sigma = self._read(params)
        which = draw_index(log_weight, generator)[None]
        mu, log_sigma = mu.gather(0, which)[0], log_sigma.gather(0, which)[0]
        return mu + temperature * noise_like(mu, generator) * log_sigma.exp()

    def _read(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, mu, raw = params.chunk(3)
        spread = self.spread.view(-1, *[1] * (params.dim() - 1))
        return logits.log_softmax(0), mu + spread, soft_clamp(raw, self.limit)


class Bernoulli(Conditional):
    """x in {0, 1} with logit params[0]; log 0 = -inf elsewhere.

    Reference:
        Germain et al. (2015), MADE, arXiv:1502.03509.
    """

    num_params = 1

    @property
    def support(self) -> constraints.Constraint:
        return constraints.boolean

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        inside = (x == 0) | (x == 1)
        return torch.where(inside, x.where(inside, 0) * params[0] - F.softplus(params[0]), -math.inf)

    def sample(self, params: Tensor, generator: torch.Generator | None, temperature: float) -> Tensor:
        probability = (params[0] / temperature).sigmoid()
        return torch.bernoulli(probability, generator=generator)

    def check(self, x: Tensor) -> None:
        if not bool(((x == 0) | (x == 1)).all()):
            raise ValueError(f"x must be 0 or 1 for a Bernoulli conditional, got values from {x.min()} to {x.max()}")


class Categorical(Conditional):
    """x in {0, …, classes - 1} with one logit for each class, log 0 = -inf elsewhere; the network reads it one-hot.

    Args:
        classes: Number of classes, at least 2.

    Raises:
        ValueError: ``classes`` is below 2.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes must be at least 2, got classes={classes}")
        self.classes = self.num_params = self.inputs = classes

    @property
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(0, self.classes - 1)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        return category_log_prob(x, params)

    def sample(self, params: Tensor, generator: torch.Generator | None, temperature: float) -> Tensor:
        return draw_index(params / temperature, generator).to(params.dtype)

    def encode(self, x: Tensor) -> Tensor:
        classes = torch.arange(self.classes, device=x.device).view(-1, *[1] * x.dim())
        return (x[None] == classes).to(x.dtype if x.is_floating_point() else torch.get_default_dtype())

    def check(self, x: Tensor) -> None:
        check_levels(x, self.classes, "classes")


def check_levels(x: Tensor, levels: int, name: str = "levels") -> None:
    """Checks that x holds whole numbers from 0 to levels - 1, unless the call is traced or its tensors hold none.

    Raises:
        ValueError: it does not; the message says what was found, and of what ``name`` is the number of levels.
    """
    if torch.compiler.is_compiling() or transformed() or fake_tensors() or not x.numel():
        return
    low, high = (float(v) for v in x.aminmax())
    if not (low >= 0 and high <= levels - 1):
        raise ValueError(f"x holds numbers from {low:g} to {high:g}, but {name}={levels} allows 0 to {levels - 1}")
    if x.is_floating_point() and not bool((x == x.floor()).all()):
        raise ValueError("x holds numbers that are not whole: give codes, or images as uint8, not scaled to [0, 1]")


def log_normal(x: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    r""":math:`\log N(x; \mu, \sigma^2)` of every number, in nats."""
    return -0.5 * ((x - loc) * (-log_scale).exp()).square() - log_scale - HALF_LOG_2PI


def category_log_prob(code: Tensor, logits: Tensor) -> Tensor:
    """log-probabilities of codes, of their shape, for logits ``(classes, *shape)``; -inf for one outside the range."""
    known = (code >= 0) & (code < len(logits)) & (code == code.floor())
    found = logits.log_softmax(0).gather(0, code.where(known, 0).long()[None])[0]
    return found.masked_fill(~known, -math.inf)


def noise_like(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def draw_index(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """A draw of the index along dimension 0 (Gumbel 1954): argmax of logits + Gumbel noise."""
    uniform = torch.rand(logits.shape, generator=generator, dtype=logits.dtype, device=logits.device)
    tiny = torch.finfo(logits.dtype).tiny
    return (logits - (-uniform.clamp_min(tiny).log()).log()).argmax(0)


class AutoregressiveModel(Density):
    r"""p(x | c) as a product of conditionals.

    .. math:: \log p(x \mid c) = \sum_j \log p(x_j \mid x_{1:j-1}, c)

    The density takes one pass of the network; sampling goes feature by feature and computes each hidden unit once.

    Args:
        net: The masked network; it reads ``conditional.inputs`` numbers per feature.
        conditional: The density of one feature given its parameters.
        context: Features of the context, 0 for none.
        encoder: Maps contexts of any shape to ``context`` features.

    Raises:
        ValueError: the network and the conditional do not fit.

    Reference:
        Germain et al. (2015), MADE, arXiv:1502.03509. Lecture: "Autoregressive MLP".
    """

    def __init__(
        self, net: MADE, conditional: Conditional, *, context: int = 0, encoder: nn.Module | None = None
    ) -> None:
        super().__init__(encoder)
        if (net.num_params, net.inputs) != (conditional.num_params, conditional.inputs):
            raise ValueError(
                f"net reads {net.inputs} and gives {net.num_params} numbers per feature, but the conditional gives "
                f"{conditional.inputs} and takes {conditional.num_params}"
            )
        self.net, self.conditional = net, conditional
        self.event_shape, self.context_features = torch.Size((net.features,)), context

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(self.conditional.support, 1)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(x | context) in nats; for discrete conditionals the logarithm of a probability.

        Raises:
            ValueError: shapes do not fit, or, on the CPU, a value is outside the conditional's support; on other
                devices, and in compiled calls, its probability is 0.
        """
        x, context = self._check(x, context)
        if x.device.type == "cpu" and not torch.compiler.is_compiling():  # elsewhere the check would synchronise
            self.conditional.check(x)
        read = self.conditional.encode(x).movedim(0, -1).flatten(-2)
        return self.conditional.log_prob(x, self.net(read, context)).sum(-1)

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        """``temperature`` scales the spread of Gaussians and divides logits."""
        drawn: list[Tensor] = []

        def feature(j: int, params: Tensor) -> Tensor:
            drawn.append(self.conditional.sample(params, generator, temperature))
            return self.conditional.encode(drawn[-1])

        generate(self.net, batch, feature, context)
        return torch.stack(drawn, -1).view(*batch, self.net.features)
