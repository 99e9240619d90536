"""Training of any-order models: random subsets are revealed, and everything hidden is predicted at once."""

from __future__ import annotations

import torch
from torch import Tensor

from ..distributions.base import Density
from ..distributions.guided import AnyOrder
from ..distributions.guided.normal_conditionals import LEARNT
from ..numerics.partly_known import partly_known
from .divergences import ForwardKL, Objective, weighted_mean

SHARING = 32  # rows per random order, which differ in how many of its entries are revealed


class AnyOrderLikelihood(Objective):
    r"""The negative log-likelihood averaged over all orders, estimated from one random subset of each row.

    .. math:: \mathcal{L} = -\mathbb{E}_{t \sim U\{0, \dots, s-1\}}\, \mathbb{E}_{|K| = t}\,
              \frac{s}{s-t} \sum_{j \notin K} \log p(x_j \mid x_K)

    for the s observed entries of a row. Sizes of subsets are stratified over the batch.

    Args:
        flow: The any-order model to train.

    Raises:
        TypeError: ``flow`` is a density of another kind.

    Reference:
        Uria, Murray, Larochelle (2014), arXiv:1310.1757; Hoogeboom et al. (2022), arXiv:2110.02037, equation 5.
    """

    flow: AnyOrder
    first_rows = LEARNT  # a covariance from few rows says little about conditionals

    def __init__(self, flow: AnyOrder) -> None:
        if not isinstance(flow, AnyOrder):
            raise TypeError(f"flow must be an any-order model (pf.anyorder), got {type(flow).__name__}")
        super().__init__(flow)

    def forward(self, x: Tensor, context: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """The mean loss in nats, a scalar."""
        return weighted_mean(self.held_out(x, context), weights)

    def held_out(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """An unbiased estimate of every row's loss, ``(*batch,)``, in nats."""
        seen = ~x.isnan() | partly_known(x)
        known, weight, orders = _subsets(seen)
        alike = self.flow.normal is not None and not bool(x.isnan().any())
        return -self.flow.entries(x, known, context, orders=orders if alike else None).sum(-1) * weight


def likelihood(density: Density) -> Objective:
    """The objective that maximises the likelihood of rows under a density."""
    return AnyOrderLikelihood(density) if isinstance(density, AnyOrder) else ForwardKL(density)


def _subsets(seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which of the observed entries are revealed; the weights of their losses, s / (s - t); and the random orders
    ``(orders, features)`` whose first entries they are, assigned in turn."""
    count = seen.sum(-1)
    n = max(count.numel(), 1)
    rows = torch.arange(n, device=seen.device).view(count.shape)
    size = ((rows + torch.rand(count.shape, device=seen.device)) / n * count).floor()
    size = size.clamp(max=count - 1)  # -1 of an empty row shows nothing
    chance = torch.rand(-(-n // SHARING), seen.shape[-1], device=seen.device)
    known = seen & (chance[rows % len(chance)].masked_fill(~seen, 2.0).argsort(-1).argsort(-1) < size[..., None])
    return known, count / (count - size).clamp_min(1), chance.argsort(-1)
