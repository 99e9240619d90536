"""Autoregressive models: a product of conditionals whose parameters come from one masked network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ..nets.made import MADE
from ..transforms.seam import generate
from .base import Density, Generator
from .conditional import Conditional


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
