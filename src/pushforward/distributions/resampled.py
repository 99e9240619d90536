"""Learned accept/reject sampling: a base shaped by a network, for targets into which a normal must be torn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import at_least_one
from ..nets.mlp import MLP
from ..numerics.logs import HALF_LOG_2PI
from .base import Density, Generator


class Resampled(Density):
    r"""A normal whose draws a network accepts or rejects; the T-th is always accepted.

    .. math:: p(z \mid c) = N(z)\, \Bigl(\alpha + (1 - \alpha) \frac{a(z, c)}{Z(c)}\Bigr),\quad
              Z = \mathbb{E}_N[a],\quad \alpha = (1 - Z)^{T - 1}

    Z is the mean of a over a fixed set of quasi-random points of the normal, so that the density is a deterministic
    function of its weights, independent of the batch and without a running average. The error of this mean is the
    relative error of the density's integral; it falls about as 1 / ``points`` in few features (below 1e-3 in two, with
    the default) and as one over its square root in many. Best suited to few features.

    Args:
        features: Features of a row.
        context: Features of the context, 0 for none; Z is then computed for each row, at the cost of ``points`` passes.
        hidden: Widths of the hidden layers of the network.
        draws: T, the maximal number of normal draws for each draw of this density.
        points: Points in the mean.

    Raises:
        ValueError: a size is not positive, or there are more features than Sobol sequences support.

    Reference:
        Bauer, Mnih (2019), Resampled priors for variational autoencoders, arXiv:1810.11428; Stimper, Schölkopf,
        Hernández-Lobato (2022), Resampling base distributions of normalizing flows, arXiv:2110.15828.
    """

    nodes: Tensor

    def __init__(
        self,
        features: int,
        *,
        context: int = 0,
        hidden: Sequence[int] = (64, 64),
        draws: int = 50,
        points: int = 4096,
    ) -> None:
        super().__init__()
        at_least_one(features=features, draws=draws, points=points)
        self.event_shape, self.context_features = torch.Size((features,)), context
        self.net = MLP(features, 1, 1, context=context, hidden=hidden, activation="silu")
        self.draws, self.points = draws, points
        sobol = torch.quasirandom.SobolEngine(features, scramble=True, seed=0).draw(points, dtype=torch.float64)
        nodes = torch.special.ndtri(sobol.clamp(1e-9, 1 - 1e-9)).to(torch.get_default_dtype())
        self.register_buffer("nodes", nodes, persistent=False)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x, context = self._check(x, context)
        log_normal = -0.5 * x.square().sum(-1) - HALF_LOG_2PI * x.shape[-1]
        log_z = self.log_accepted(context)
        all_rejected = (1 - log_z.exp()).clamp_min(0).pow(self.draws - 1)  # alpha
        accepted = (F.logsigmoid(self._logit(x, context)) - log_z).exp()
        return log_normal + (all_rejected + (1 - all_rejected) * accepted).log()

    def log_accepted(self, context: Tensor | None = None) -> Tensor:
        """log Z, the logarithm of the acceptance probability, of the shape of the context's batch."""
        dims = 0 if context is None else context.dim() - 1
        nodes = self.nodes.view(self.points, *[1] * dims, -1)
        return F.logsigmoid(self._logit(nodes, context)).logsumexp(0) - math.log(self.points)

    def _logit(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.net(x, context)[0, ..., 0]  # type: ignore[no-any-return]

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        """``temperature`` scales the accepted draws. Not differentiable."""
        nodes = self.nodes
        z = nodes.new_zeros(*batch, nodes.shape[1])
        waits = torch.ones(batch, dtype=torch.bool, device=nodes.device)
        for _ in range(self.draws):
            fresh = torch.randn(z.shape, generator=generator, dtype=nodes.dtype, device=nodes.device)
            u = torch.rand(batch, generator=generator, dtype=nodes.dtype, device=nodes.device)
            z = torch.where(waits[..., None], fresh, z)
            waits = waits & (u >= self._logit(fresh, context).sigmoid().detach())
        return z * temperature
